"""A night that trains on a Ray cluster, for real: job API, token, DVC remote; and one that is killed while it waits."""

import pytest
from nights import Invariants, make, night, say, start
from studies import set_params, wait_for

from cluster.local import local_cluster


@pytest.fixture
def study(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDIMG_SITE_KEY", str(tmp_path / "site.key"))
    return make(tmp_path)


def told(study, **keys):
    """Commit and push another block ``retrain``."""
    set_params(study, retrain=keys)
    say(study, "git", "commit", "-qam", "Another place to train")
    say(study, "git", "push", "-q")


@pytest.mark.slow
def test_a_night_trains_on_a_cluster_and_one_that_was_killed_meanwhile_finds_its_job(study, monkeypatch):
    monkeypatch.setenv("MEDIMG_RETRIES", "0 1")
    clone, invariants = study / ".medimg/retrain/clone", Invariants(study)
    with local_cluster(1, cpus=2) as cluster:
        for key, value in cluster.environment.items():
            monkeypatch.setenv(key, value)
        told(study, submit=cluster.dashboard)
        first = start(study)
        wait_for(lambda: list(cluster.jobs.glob("medimg-*/.medimg/train")), 900)
        first.kill()
        first.wait()
        assert invariants.check() == ""
        found = night(study)
        assert found["status"] == "promoted", found
        assert found["healed"] == "undid a night that was cut off in step train"
        (job,) = cluster.jobs.iterdir()
        assert (clone / "dvc.lock").read_bytes() == (job / "dvc.lock").read_bytes()
    assert invariants.check().startswith(found["champion"])
    assert not (clone / ".medimg/train").exists()
    subjects = say(study, "git", "log", "--format=%s").splitlines()
    assert len(subjects) == 3
    assert subjects[0].startswith("Promote")
