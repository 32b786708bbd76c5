"""What stands around a night: its clone, who is told, schedules, drift, what is kept. Whole nights: campaigns."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from medimg.border.account import Summary
from medimg.errors import AwayError, NightError, ParamsError, RegistryError
from medimg.files import lock
from medimg.params import Params, Retrain, load
from medimg.params.night import Drift
from medimg.promote import Bundle, Champion, append, materialise, read_history, show
from medimg.retrain import bring, retrain
from medimg.retrain.byhand import rollback
from medimg.retrain.clone import Clone
from medimg.retrain.data import note_stop
from medimg.retrain.drift import _of_means, _of_words, level
from medimg.retrain.driftpage import bind, page
from medimg.retrain.journal import Journal
from medimg.retrain.outcome import Outcome, Status
from medimg.retrain.pipeline import Budget, repro
from medimg.retrain.register import check_grown
from medimg.retrain.repository import ROOM, TRAILER, Moved
from medimg.retrain.schedule import HARMLESS, KINDS, schedule
from medimg.retrain.state import Night, aftermath
from medimg.retrain.tell import message, tell, write_textfile
from medimg.retrain.tidy import _at, _named_by, superfluous, sweep, unnamed

STUDY = "study: {question: q, label: finding, positive: '1'}\n"
PARAMS = f"{STUDY}retrain: {{free_gib: 0}}\n"


def git(folder, *words):
    done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def study(tmp_path):
    """A Git repository with a remote; no DVC, which these tests do not need."""
    folder = tmp_path / "study"
    folder.mkdir()
    git(tmp_path, "init", "-q", "--bare", "-b", "main", "there.git")
    git(folder, "init", "-q", "-b", "main")
    git(folder, "config", "user.name", "A Person")
    git(folder, "config", "user.email", "person@example.org")
    (folder / ".dvc").mkdir()
    (folder / ".dvc/config").write_text("[core]\n    remote = store\n['remote \"store\"']\n    url = ../../store\n")
    (folder / ".dvc/.gitignore").write_text("/config.local\n")
    (folder / ".gitignore").write_text("/.medimg/\n")
    (folder / "params.yaml").write_text(PARAMS)
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "A study")
    git(folder, "remote", "add", "origin", "../there.git")
    git(folder, "push", "-q", "-u", "origin", "main")
    return folder


def decided(clone, text="one"):
    """What a night leaves when it is cut off between its commit and its push."""
    (clone.place / "registry").mkdir(exist_ok=True)
    (clone.place / "registry/history.jsonl").write_text(text)
    return clone.commit("Keep the champion")


def ready(study):
    clone = Clone.of(study)
    clone.fetch()
    clone.reset()
    return clone


def test_a_night_that_was_cut_off_is_undone(study):
    clone = ready(study)
    (clone.place / "params.yaml").write_text("half")
    (clone.place / "registry").mkdir()
    (clone.root / ".git/index.lock").write_text("")
    again = ready(study)
    assert again.git("status", "--porcelain") == ""
    assert not (again.place / "registry").exists()
    assert git(study, "status", "--porcelain") == ""


def test_a_commit_that_was_not_pushed_is_published_by_the_next_night_and_the_study_follows(study):
    commit = decided(ready(study))
    clone = Clone.of(study)
    clone.fetch()
    assert clone.unpublished()
    clone.publish()
    assert git(study.parent / "there.git", "rev-parse", "main") == commit
    assert clone.follow() == ""
    assert git(study, "rev-parse", "HEAD") == commit
    assert f"{TRAILER}: 1" in git(study, "log", "-1", "--format=%B")
    clone.fetch()
    assert not clone.unpublished()


def test_a_person_s_decision_stands_on_the_one_that_a_night_could_not_push(study):
    clone = ready(study)
    (clone.place / ".dvc/config").write_text("")  # no remote of DVC
    (study / ".dvc/config").write_text("")
    made = decided(clone, "")
    with pytest.raises(RegistryError, match="no champion to roll back from"):
        rollback(study, "The readers do not trust it")
    assert git(study.parent / "there.git", "rev-parse", "main") == made


def test_a_history_whose_end_a_person_took_away_ends_the_night(study):
    """What is left of it holds together, so the chain of hashes does not tell; neither does one that is gone whole."""

    def seen():
        clone = Clone.of(study)
        clone.fetch()
        clone.reset()
        check_grown(clone)

    history = study / "registry/history.jsonl"
    for number in range(2):
        append(study, {"event": "kept", "champion": None, "number": number})
        git(study, "add", "registry")
        git(study, "commit", "-qm", "A night")
    git(study, "push", "-q")
    seen()
    history.write_text(history.read_text().splitlines(keepends=True)[0])
    git(study, "commit", "-qam", "Tidy up")
    git(study, "push", "-q")
    with pytest.raises(RegistryError, match=git(study, "rev-parse", "HEAD")[:12]):
        seen()
    git(study, "revert", "--no-edit", "HEAD")
    git(study, "push", "-q")
    seen()
    git(study, "rm", "-rq", "registry")
    git(study, "commit", "-qm", "Begin anew")
    git(study, "push", "-q")
    with pytest.raises(RegistryError, match="medimg retrain --anew"):
        seen()


def test_nothing_is_forced_when_the_branch_moved(study):
    clone = ready(study)
    decided(clone)
    (study / "note.txt").write_text("A person's")
    git(study, "add", ".")
    git(study, "commit", "-qm", "A note")
    git(study, "push", "-q")
    with pytest.raises(Moved):
        clone.publish()
    assert not clone.unpublished()
    assert git(study.parent / "there.git", "log", "-1", "--format=%s", "main") == "A note"


def test_a_study_with_changes_of_its_own_does_not_follow_and_loses_nothing(study):
    clone = ready(study)
    (study / "registry").mkdir()
    (study / "registry/history.jsonl").write_text("mine")
    decided(clone)
    clone.publish()
    assert "git pull" in clone.follow()
    assert (study / "registry/history.jsonl").read_text() == "mine"


def test_data_that_the_night_published_as_the_study_had_them_hinder_nobody(study):
    (study / "data.dvc").write_text("first")
    git(study, "add", ".")
    git(study, "commit", "-qm", "Data")
    git(study, "push", "-q")
    (study / "data.dvc").write_text("second")
    clone = ready(study)
    shutil.copy(study / "data.dvc", clone.place)
    decided(clone)
    clone.publish()
    assert clone.follow() == ""
    assert git(study, "status", "--porcelain") == ""


def published_by_another(study, data):
    """Somebody else pushes other data; the study's folder does not know of it yet."""
    other = study.parent / f"other-{data}"
    git(study.parent, "clone", "-q", "there.git", str(other))
    (other / "data.dvc").write_text(data)
    git(other, "add", ".")
    git(other, "-c", "user.name=B", "-c", "user.email=b@example.org", "commit", "-qm", "Other data")
    git(other, "push", "-q")


def test_a_folder_that_lags_behind_does_not_undo_the_data_that_others_published(study):
    (study / "data.dvc").write_text("first")
    git(study, "add", ".")
    git(study, "commit", "-qm", "Data")
    git(study, "push", "-q")
    published_by_another(study, "second")
    clone = ready(study)
    clone.take()
    assert (clone.place / "data.dvc").read_text() == "second"
    (study / "data.dvc").write_text("third")
    with pytest.raises(NightError, match="git pull") as caught:
        clone.take()
    assert caught.value.status == Status.USAGE
    git(study, "stash", "-q")
    git(study, "pull", "-q")
    (study / "data.dvc").write_text("third")
    clone.take()
    assert (clone.place / "data.dvc").read_text() == "third"


def test_a_commit_alone_does_not_say_that_the_images_of_the_clone_are_those_that_it_names(study):
    (study / "data.dvc").write_text("taken back by a person")
    git(study, "add", ".")
    git(study, "commit", "-qm", "Data")
    git(study, "push", "-q")
    decided(ready(study))  # as medimg rollback does, which checks no image out
    assert not (study / ROOM / "ready").exists()


def test_a_clone_that_a_person_removed_is_not_taken_for_one_that_holds_the_images(study):
    clone = ready(study)
    clone.ready(clone.state())
    shutil.rmtree(clone.root)
    ready(study)
    assert not (study / ROOM / "ready").exists()


def test_a_push_whose_answer_was_lost_counts(study):
    clone = ready(study)
    commit = decided(clone)
    hook = study.parent / "there.git/hooks/post-receive"
    hook.write_text("#!/bin/sh\nkill -9 $PPID\n")
    hook.chmod(0o755)
    clone.publish()
    assert git(study.parent / "there.git", "rev-parse", "main") == commit


def test_what_fails_after_the_push_is_a_warning(study):
    outcome = Outcome(status=Status.PROMOTED)
    night = Night(
        ready(study), load(study / "params.yaml"), Budget(1, 0, study), outcome, Journal(study / "n", outcome)
    )
    for error in (OSError(errno.ENOSPC, "No space left"), NightError(Status.POSTPONED, "The night took longer")):
        with aftermath(night):
            raise error
    assert (outcome.status, len(outcome.warnings)) == (Status.PROMOTED, 2)
    with pytest.raises(Moved), aftermath(night):
        raise Moved


def test_a_remote_that_does_not_answer_postpones_the_night(study):
    clone = ready(study)
    (study.parent / "there.git").rename(study.parent / "away.git")
    with pytest.raises(NightError) as caught:
        clone.fetch()
    assert caught.value.status == Status.POSTPONED


def spoil_index(root):
    (root / ".git/index").write_bytes(b"DIRC")


def spoil_object(root, name="HEAD^{tree}", cut=True):
    held = git(root, "rev-parse", name)
    loose = root / f".git/objects/{held[:2]}/{held[2:]}"
    loose.unlink()  # it is one file with the remote's
    if cut:
        loose.write_bytes(b"")


@pytest.mark.parametrize("well", [True, False])
@pytest.mark.parametrize(
    "spoil",
    [
        lambda root: (root / ".git/HEAD").write_text(""),
        lambda root: (root / ".git/config").write_text("[core\n"),
        lambda root: shutil.rmtree(root / ".git/refs"),
        spoil_index,
        spoil_object,
        lambda root: spoil_object(root, "HEAD:params.yaml"),
        lambda root: spoil_object(root, "HEAD~1:params.yaml", cut=False),
    ],
    ids=["head", "config", "refs", "index", "tree", "file", "gone"],
)
def test_a_damaged_clone_is_made_anew_and_the_study_s_own_repository_is_left_alone(study, spoil, well):
    """Also when the night before ended well, after which the clone is looked at quickly."""
    (study / "params.yaml").write_text(PARAMS + "# later\n")
    git(study, "commit", "-qam", "Another commit")
    git(study, "push", "-q")
    clone = ready(study)
    assert clone.fetch() is False
    if well:
        clone.ended_well()
    clone.ready("what was checked out")
    (study / "params.yaml").write_text(PARAMS + "# of a person, not committed\n")
    spoil(clone.root)
    assert clone.fetch() is True
    clone.reset()
    assert clone.git("rev-parse", "HEAD") == git(study, "rev-parse", "HEAD")
    assert not (study / ROOM / "ready").exists()
    assert (study / "params.yaml").read_text().endswith("not committed\n")
    assert clone.fetch() is False


def test_files_of_old_commits_are_read_only_after_a_night_that_did_not_end_well(study):
    """It takes longer with every night; what is not read there is not needed, or the night that needs it fails."""
    (study / "params.yaml").write_text(PARAMS + "# later\n")
    git(study, "commit", "-qam", "Another commit")
    git(study, "push", "-q")
    clone = ready(study)
    spoil_object(clone.root, "HEAD~1:params.yaml")
    clone.ended_well()
    assert clone.fetch() is False
    assert clone.fetch() is True


def test_a_damaged_clone_is_kept_while_the_remote_does_not_answer(study):
    clone = ready(study)
    (clone.root / ".git/HEAD").write_text("")
    (study.parent / "there.git").rename(study.parent / "away.git")
    with pytest.raises(NightError) as caught:
        clone.fetch()
    assert caught.value.status == Status.POSTPONED and clone.root.exists()


def test_a_person_s_habits_of_git_hinder_no_night(study, monkeypatch, tmp_path):
    """Signing asks for a passphrase, and a remote may have another name."""
    (tmp_path / "gitconfig").write_text(
        "[commit]\n\tgpgsign = true\n[gpg]\n\tprogram = /bin/false\n[clone]\n\tdefaultRemoteName = there\n"
    )
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    clone = ready(study)
    made = decided(clone)
    clone.publish()
    assert git(study, "ls-remote", "origin", "main").startswith(made)


def test_a_champion_s_bundle_that_is_away_postpones_the_night(study, monkeypatch):
    bundle = Bundle("1" * 64, "2" * 64, "3" * 32 + ".dir", 1, 1)
    with pytest.raises(AwayError, match="neither in DVC's cache"):
        materialise(study, bundle)
    monkeypatch.setattr("medimg.retrain.night.play", lambda *_: materialise(study, bundle))
    assert retrain(study).status == Status.POSTPONED


def test_stages_find_their_python_where_a_scheduler_s_path_does_not_lead_to_it(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    subprocess.run([sys.executable, "-m", "dvc", "init", "--quiet", "--no-scm"], cwd=tmp_path, check=True)
    (tmp_path / "dvc.yaml").write_text("stages: {one: {cmd: 'python -c \"import medimg, sys; print(sys.prefix)\"'}}")
    repro(tmp_path, tmp_path / "night.log", Budget(1, 0, tmp_path))
    assert f"\n{sys.prefix}\n" in (tmp_path / "night.log").read_text()


def test_another_medimg_than_the_study_s_is_no_fault_of_the_delivery(study):
    (study / "requirements.lock").write_text("# medimg 0.0.0, code 0123456789abcdef; written by: medimg lock\n")
    git(study, "add", ".")
    git(study, "commit", "-qm", "Lock")
    git(study, "push", "-q")
    outcome = retrain(study)
    assert outcome.status == Status.USAGE and "requirements.lock" in outcome.sentence and outcome.step == "sync"


def test_a_study_without_a_remote_is_told_how_to_get_one(study):
    git(study, "remote", "remove", "origin")
    with pytest.raises(ParamsError, match="git init --bare"):
        Clone.of(study)


def test_the_clone_shares_the_cache_and_finds_remotes_that_are_named_relative(study):
    clone = ready(study)
    assert clone.cache == study / ".dvc/cache"
    assert f"url = {study.parent}/store" in (clone.place / ".dvc/config.local").read_text()


def test_a_disk_or_a_clock_that_runs_out_postpones_the_night(tmp_path):
    Budget(1, 0, tmp_path).check()
    for spent in (Budget(1, 1e9, tmp_path), Budget(-1, 0, tmp_path)):
        with pytest.raises(NightError) as caught:
            spent.check()
        assert caught.value.status == Status.POSTPONED


def test_a_budget_that_is_spent_ends_whatever_the_night_is_doing(tmp_path):
    with Budget(1, 0, tmp_path).watched(every=0.01):
        time.sleep(0.05)
    began = time.monotonic()
    with pytest.raises(NightError, match="longer than"), Budget(1e-9, 0, tmp_path).watched(every=0.01):
        time.sleep(60)
    assert time.monotonic() - began < 30
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_a_source_that_looks_as_it_did_is_not_read_again(tmp_path):
    source, place = tmp_path / "hospital", tmp_path / "place"
    source.mkdir()
    place.mkdir()
    (place / "data.dvc").write_text("1")
    (source / "a").write_text("a")
    settings = Retrain(source=str(source))

    def seen():
        return bring.Seen(tmp_path, settings, place)

    assert not seen().unchanged()
    seen().remember()
    assert seen().unchanged()
    (source / "b").write_text("b")
    assert not seen().unchanged()
    seen().remember()
    (place / "data.dvc").write_text("2")  # a person took something back
    assert not seen().unchanged()
    (source / "c").symlink_to("nowhere")  # what cannot be looked at is left to the import
    seen().remember()
    assert not seen().unchanged()


def _imported(refused, imported=0):
    about = {"kept_columns": {}, "dropped_columns": [], "patients": 0, "labels_unmatched": 0, "images_unlabelled": 0}
    counts = {"already": 0, "copies": 0, "relabelled": 0, "not_images": 0}
    codes = dict.fromkeys(refused, "truncated")
    return Summary(
        batch=None, imported=imported, refused={"truncated": len(refused)}, refused_files=codes, **counts, **about
    )


def test_files_that_are_refused_anew_count_also_when_as_many_others_have_gone(tmp_path):
    settings = Retrain(source=str(tmp_path / "hospital"))

    def judge(refused, imported=0):
        bring._judge(_imported(refused, imported), 0.5, bring.Seen(tmp_path, settings, tmp_path))

    judge(["a", "b"], imported=2)
    judge(["a", "b"])
    judge(["b"])
    with pytest.raises(NightError, match=r"refused 1 of 1 new files \(1 truncated\)") as caught:
        judge(["b", "c"])
    assert caught.value.status == Status.REFUSED_DATA


def test_a_source_inside_the_study_is_refused_as_the_import_refuses_it(tmp_path):
    (tmp_path / "hospital").mkdir()
    settings = Retrain(source="hospital")
    with pytest.raises(NightError, match="inside the study") as caught:
        bring.bring(tmp_path / "clone", tmp_path, settings, bring.Seen(tmp_path, settings, tmp_path))
    assert caught.value.status == Status.USAGE


@pytest.mark.parametrize("name", ["labels", "credentials", "filters"])
def test_a_file_of_the_hospital_inside_the_study_is_refused(tmp_path, name):
    said = ("PatientID=@list.txt",) if name == "filters" else "list.txt"
    settings = Retrain.model_validate({"source": "https://pacs.invalid/dicom-web", name: said})
    with pytest.raises(NightError, match=f"retrain.{name} lies inside the study") as caught:
        bring.bring(tmp_path / "clone", tmp_path, settings, bring.Seen(tmp_path, settings, tmp_path))
    assert caught.value.status == Status.USAGE


def import_of(place, batch, patients, tool="x"):
    from medimg.border.statement import write_batch

    paths = [f"images/P{number:012x}/{batch:016x}.png" for number in patients]
    for path in paths:
        (place / "data" / path).parent.mkdir(parents=True, exist_ok=True)
        (place / "data" / path).write_text(f"{path} {tool}")
    write_batch(place / "data", batch, {"counts": {"relabelled": 0}, "tool": tool}, paths)


def test_news_are_the_imports_after_the_last_training_also_when_one_was_taken_back(tmp_path):
    import_of(tmp_path, 1, range(5))
    first = bring.news(tmp_path, [])
    history = [{"batch": first.batch, "imports": first.imports}]
    assert (first.patients, bring.news(tmp_path, history).patients) == (5, 0)
    import_of(tmp_path, 2, range(5, 8))
    second = bring.news(tmp_path, history)
    history.append({"batch": second.batch, "imports": second.imports})
    assert (second.patients, bring.news(tmp_path, history).patients) == (3, 0)
    import_of(tmp_path, 2, range(20, 24), "another")  # the second was taken back, and its number used again
    (tmp_path / "data/imports/0002.json").touch()
    assert bring.news(tmp_path, history).patients == 4
    bundle = Bundle("", "", "", 0, 0)
    champion = Champion("", 2, bundle, bundle, {}, {})
    assert bring.learned(tmp_path, history, champion) == 1  # so who came with the other second import is new to it
    assert bring.learned(tmp_path, history[:1], champion) == 1
    assert bring.learned(tmp_path, history, None) == 0


def test_a_delivery_that_drift_stopped_stands_in_the_history_once_and_nothing_of_it_is_published(study):
    for expected in (1, 1, 2):
        clone = ready(study)
        (clone.place / "data.dvc").write_text("the delivery\n")
        outcome = Outcome(drift=[{"name": "maker", "distance": 0.9, "level": "stop"}])
        night = Night(clone, load(study / "params.yaml"), Budget(1, 0, study), outcome, Journal(study / "n", outcome))
        night.came, night.base = bring.News(2, str(expected) * 64, 9, 4, 0), clone.upstream
        note_stop(night, "maker: 0.90")
        there = study.parent / "there.git"
        assert git(there, "ls-tree", "--name-only", "-r", "main", "data.dvc", "registry") == "registry/history.jsonl"
        assert git(study, "rev-parse", "HEAD") == git(there, "rev-parse", "main")
        lines = read_history(study)
        assert len(lines) == expected
    assert all((line["event"], line["champion"]) == ("stopped", None) for line in lines)
    assert next(show.lines(study)).endswith("maker: 0.90")


def test_a_stop_that_the_remote_does_not_take_is_a_warning_and_undone(study):
    clone, outcome = ready(study), Outcome()
    night = Night(clone, load(study / "params.yaml"), Budget(1, 0, study), outcome, Journal(study / "n", outcome))
    (study.parent / "there.git").rename(study.parent / "away.git")
    note_stop(night, "maker: 0.90")
    assert "does not stand in the history" in outcome.warnings[0]
    assert not clone.unpublished()


class Listener(BaseHTTPRequestHandler):
    """Takes what is posted; answers what the server's ``status`` says."""

    def do_POST(self):
        self.server.got.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *about):
        pass


@pytest.fixture
def server():
    listening = HTTPServer(("127.0.0.1", 0), Listener)
    listening.got, listening.status = [], 200
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    yield listening
    listening.shutdown()


def test_a_webhook_is_told_of_a_night_and_of_those_that_could_not_be_told(tmp_path, server, monkeypatch):
    monkeypatch.setattr("medimg.retrain.tell.PAUSE", 0)
    (tmp_path / "addresses").write_text(f"# ours\njson://127.0.0.1:{server.server_port}/hook\n")
    settings = Retrain(notify="addresses")
    server.status = 500
    assert "1 of 1 addresses could not be told" in tell(tmp_path, settings, Outcome(status=Status.KEPT))
    assert len(server.got) == 3
    server.status, server.got = 200, []
    assert tell(tmp_path, settings, Outcome(status=Status.PROMOTED)) == ""
    (posted,) = server.got
    assert "the champion stays" in posted
    assert "a new champion" in posted
    assert not (tmp_path / ROOM / "unsent.json").exists()
    server.got = []
    tell(tmp_path, settings, Outcome(status=Status.NOTHING_NEW))
    assert server.got == []


def test_an_address_that_does_not_answer_makes_no_other_hear_the_same_again(tmp_path, server, monkeypatch):
    monkeypatch.setattr("medimg.retrain.tell.PAUSE", 0)
    secret = "json://user:secret@127.0.0.1:9/hook"  # nobody listens there
    (tmp_path / "addresses").write_text(f"json://127.0.0.1:{server.server_port}/hook\n{secret}\n")
    for status in (Status.KEPT, Status.PROMOTED):
        assert "1 of 2 addresses" in tell(tmp_path, Retrain(notify="addresses"), Outcome(status=status))
    first, second = server.got
    assert "the champion stays" in first
    assert "a new champion" in second
    assert "the champion stays" not in second
    (waiting,) = json.loads((tmp_path / ROOM / "unsent.json").read_text()).values()
    assert len(waiting) == 2
    assert "secret" not in (tmp_path / ROOM / "unsent.json").read_text()


def test_no_sentence_of_an_import_or_a_stage_is_sent(tmp_path):
    outcome = Outcome(status=Status.REFUSED_DATA, sentence="DOE^JANE 1970-01-01", warnings=["/mnt/doe"])
    assert "DOE" not in message(tmp_path, outcome)
    assert "doe" not in message(tmp_path, outcome)


def test_figures_for_prometheus(tmp_path):
    from prometheus_client.parser import text_string_to_metric_families

    drift = [{"name": "maker", "distance": 0.4, "level": "warn"}]
    write_textfile(tmp_path / "night.prom", Outcome(status=Status.KEPT, patients=7, champion="ab", drift=drift))
    found = {
        family.name: family.samples[0]
        for family in text_string_to_metric_families((tmp_path / "night.prom").read_text())
    }
    assert found["medimg_night_exit_status"].value == 10
    assert found["medimg_night_new_patients"].value == 7
    assert found["medimg_night_drift_distance"].labels == {"of": "maker"}
    assert found["medimg_night_champion"].labels == {"seal": "ab"}


def model(number, cache, shared):
    """A night's dvc.lock that names a bundle of two files and a store that all nights share; their objects exist."""
    bundle, files = f"{number:032x}.dir", [f"{number + 16 * k:032x}" for k in (1, 2)]
    for name, text in {bundle: json.dumps([{"md5": one, "relpath": one} for one in files]), shared: ""}.items():
        _at(cache, name).parent.mkdir(parents=True, exist_ok=True)
        _at(cache, name).write_text(text)
    return f"- md5: {bundle}\n- md5: {shared}\n", {bundle, *files}


def test_only_refused_models_of_long_ago_leave_the_cache_and_nothing_that_anything_else_names(study):
    clone, shared = ready(study), "f" * 32
    cache, objects, seals = clone.cache / "files/md5", [], []
    for number, event in enumerate(["promoted", "kept", "kept", "kept"], start=1):
        lock, names = model(number, cache, shared)
        (clone.place / "dvc.lock").write_text(lock)
        bundle = {"seal": f"{number}" * 64, "md5": f"{number:032x}.dir"}
        seals.append(bundle["seal"])
        about = {"bundle": bundle} if event == "promoted" else {"challenger": bundle}
        append(clone.place, {"event": event, "champion": seals[0], **about})
        clone.commit(event)
        objects.append(names)
    assert superfluous(clone, cache, 5) == set()
    assert superfluous(clone, cache, 2) == objects[1]
    assert superfluous(clone, cache, 1) == objects[1] | objects[2]
    (study / "dvc.lock").write_text(f"- md5: {2:032x}.dir\n")  # a person looks at it again
    assert superfluous(clone, cache, 1) == objects[2]
    (clone.place / "dvc.lock").write_text(f"- md5: {3:032x}.dir\n")
    git(clone.place, "-c", "user.name=B", "-c", "user.email=b@example.org", "commit", "-qam", "A person's")
    assert superfluous(clone, cache, 1) == set()


def test_what_the_files_of_each_commit_named_is_found_in_folders_with_a_space_too(study):
    folder, commits = study / "a study", []
    folder.mkdir()
    for number in (1, 2):
        (folder / "dvc.lock").write_text(f"outs:\n- md5: {number:032x}.dir\n")
        git(study, "add", ".")
        git(study, "commit", "-qm", "A person's")
        commits.append(git(study, "rev-parse", "HEAD"))
    named = _named_by(study, [*commits, git(study, "rev-parse", "HEAD~2")], ["a study/dvc.lock", "a study/data.dvc"])
    assert list(named.values()) == [{f"{1:032x}.dir"}, {f"{2:032x}.dir"}, set()]


def test_what_nothing_names_leaves_the_cache_and_what_anything_names_stays(study):
    clone = ready(study)
    cache = clone.cache / "files/md5"
    objects = [model(number, cache, "e" * 32) for number in range(7)]
    published, own_branch, amended, lying, _, in_clone, of_failed = objects  # the fifth is named by the history
    (clone.place / "dvc.lock").write_text(published[0])
    append(clone.place, {"event": "kept", "champion": None, "challenger": {"md5": f"{4:032x}.dir"}})
    clone.commit("A night")
    clone.publish()
    (study / "deep").mkdir()
    for pointer, (text, _), branch in (("deep/x.dvc", own_branch, "try"), ("y.dvc", amended, "gone")):
        git(study, "checkout", "-q", "-b", branch, "main")
        (study / pointer).write_text(text)
        git(study, "add", pointer)
        git(study, "commit", "-qm", "A person tries something")
    git(study, "checkout", "-q", "main")
    git(study, "branch", "-qD", "gone")
    (study / "data.dvc").write_text(lying[0])
    (clone.place / "other.dvc").write_text(in_clone[0])
    for _, names in objects:
        for name in names:
            _at(cache, name).parent.mkdir(parents=True, exist_ok=True)
            _at(cache, name).touch()
    (cache / "00/not-an-object").touch()
    assert unnamed(clone, cache, 1) == set()  # somebody may be adding them just now
    assert unnamed(clone, cache, 0) == of_failed[1]
    sweep(clone, 0)
    assert {path.parent.name + path.name for path in cache.glob("??/*")} == {"00not-an-object", "e" * 32}.union(
        *(names for _, names in objects[:-1])
    )
    (clone.root / ".git/HEAD").write_text("")
    assert unnamed(clone, cache, -1) == set()


def test_drift_is_a_page_of_the_night_s_report(tmp_path):
    report = tmp_path / "promotion"
    report.mkdir()
    (report / "report.html").write_text("<body><header><h1>q</h1></header><main></main>")
    bind(tmp_path / "drift.html", report)  # of a first night there is none
    assert "drift" not in (report / "report.html").read_text()
    (tmp_path / "drift.html").write_text(page([], [], Drift()))
    bind(tmp_path / "drift.html", report)
    assert '<a href="drift.html">' in (report / "report.html").read_text()
    assert '<a href="report.html">' in (report / "drift.html").read_text()


@pytest.mark.parametrize("kind", KINDS)
def test_each_schedule_names_the_study_the_time_and_every_harmless_status(study, kind):
    text = schedule(kind, "3:05", study)
    codes = [str(int(status)) for status in HARMLESS]
    match kind:
        case "systemd":
            assert "OnCalendar=*-*-* 03:05:00 UTC" in text
            assert f"SuccessExitStatus={' '.join(codes)}" in text
            assert f"WorkingDirectory={study}" in text
        case "cron":
            assert f"\n5 3 * * * cd {study} && " in text
        case _:
            spec = yaml.safe_load(text)["spec"]
            assert spec["schedule"] == "5 3 * * *"
            assert "|".join(codes) in text


def test_the_command_of_a_container_passes_where_nobody_needs_to_be_called(study, tmp_path):
    spec = yaml.safe_load(schedule("kubernetes", "3:05", study))["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    command = spec["containers"][0]["command"]
    for status in Status:
        fake = tmp_path / "medimg"
        fake.write_text(f"#!/bin/sh\nexit {int(status)}\n")
        fake.chmod(0o755)
        done = subprocess.run(command, env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, check=False)
        assert (done.returncode == 0) == (status in (Status.PROMOTED, *HARMLESS))


def test_systemd_accepts_the_service_and_the_timer(study, tmp_path):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd is not installed here")
    units = {}
    for line in schedule("systemd", "03:05", study).splitlines():
        if line.startswith("# ~/"):
            units[(at := Path(line[2:]).name)] = []
        elif units:
            units[at].append(line)
    for name, lines in units.items():
        (tmp_path / name).write_text("\n".join(lines))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *(tmp_path / name for name in units)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert not [line for line in done.stderr.splitlines() if "medimg-study" in line], done.stderr


def test_systemd_takes_a_folder_with_a_space_as_it_is(study):
    study.rename(folder := study.with_name("my study"))
    assert f"\nWorkingDirectory={folder}\n" in schedule("systemd", "03:05", folder)


@pytest.mark.parametrize(("kind", "at"), [("systemd", "25:00"), ("windows", "02:30")])
def test_a_schedule_that_cannot_be_is_refused(study, kind, at):
    with pytest.raises(ParamsError):
        schedule(kind, at, study)


def test_the_distance_of_words_is_the_share_that_would_have_to_change():
    before, after = np.repeat(["a", "b"], [50, 50]), np.repeat(["a", "b", "c"], [10, 30, 60])
    distance, p, size = _of_words(before, after, 0)
    assert (distance, size) == (pytest.approx(0.6), 100)
    assert p < 0.001
    alike, chance, _ = _of_words(before, before[::2], 0)
    assert alike == 0
    assert chance == 1


def test_the_distance_of_calibration_is_how_far_the_mean_over_patients_moved():
    random = np.random.default_rng(0)
    before = pd.DataFrame({"patient": np.repeat(np.arange(100), 2)})
    after = pd.DataFrame({"patient": np.repeat(np.arange(40), [5] * 20 + [1] * 20)})
    gap, said = pd.Series(random.normal(0, 0.1, 200)), random.normal(0, 0.01, 120)
    moved, p, size = _of_means(before, after, gap, pd.Series(said + np.where(after["patient"] < 20, 0.4, 0.2)))
    assert (moved, size) == (pytest.approx(0.3, abs=0.03), 40)  # of patients: of images it would be 0.37
    assert p < 0.001
    assert _of_means(before, after, gap, pd.Series(said))[1] > 0.01
    assert _of_means(before, after, gap * 0, pd.Series(said * 0))[:2] == (0, 1)


def test_a_distance_counts_when_it_is_large_and_hardly_chance():
    limits = Drift(warn=0.2, stop=0.8, chance=0.01)
    assert [level(distance, 0.001, limits) for distance in (0.1, 0.3, 0.9)] == ["ok", "warn", "stop"]
    assert level(0.9, 0.02, limits) == "ok"
    assert level(0.9, 0.001, Drift(stop=None)) == "warn"


def test_the_page_shows_each_night_once():
    looks = [{"name": "maker", "distance": d, "p": 0.01, "level": "warn", "patients": 9} for d in (0.1, 0.5)]
    shown = page([{"drift": looks[:1]}, {"event": "rolled back"}], looks[1:], Params.model_validate(
        yaml.safe_load(PARAMS)).retrain.drift)  # fmt: skip
    assert shown.count("<rect") == 2
    assert "0.50 warn" in shown
    assert "<script" not in shown


def test_the_line_of_a_night_is_json_and_names_its_status():
    line = json.loads(Outcome(status=Status.REFUSED_DATA).line())
    assert (line["exit"], line["status"]) == (30, "refused data")


def test_of_two_nights_at_once_one_refuses_and_names_the_other(study):
    with lock(study / ROOM / "lock", "A night"):
        outcome = retrain(study)
    assert outcome.status == Status.BUSY
    assert f"process {os.getpid()}" in outcome.sentence


def test_a_study_that_keeps_nobody_apart_to_decide_is_told_what_to_set(study):
    outcome = retrain(study)
    assert outcome.status == Status.USAGE
    assert "split.promotion" in outcome.sentence


def test_that_a_study_needs_a_change_is_told_to_those_who_sleep(study, server):
    (study / "addresses").write_text(f"json://127.0.0.1:{server.server_port}/hook\n")
    (study / "params.yaml").write_text(f"{STUDY}retrain: {{free_gib: 0, notify: addresses, textfile: night.prom}}\n")
    assert retrain(study).status == Status.USAGE
    assert "the study needs a change (2)" in server.got[0]
    assert "medimg_night_exit_status 2.0" in (study / "night.prom").read_text()
    (study / "params.yaml").write_text("studi: 1\n")
    assert retrain(study).status == Status.USAGE


def test_a_file_of_addresses_that_is_damaged_changes_nothing_of_the_night(study):
    (study / "addresses").write_bytes(b"json://\xff\n")
    (study / "params.yaml").write_text(f"{STUDY}retrain: {{free_gib: 0, notify: addresses}}\n")
    outcome = retrain(study)
    assert outcome.status == Status.USAGE
    assert "perhaps not: UnicodeDecodeError" in outcome.warnings[0]


def test_a_defect_in_the_import_is_told_without_its_text_which_may_quote_a_patient(study, monkeypatch, capfd):
    def broken(*_):
        raise ValueError("DOE^JANE")

    monkeypatch.setattr("medimg.retrain.data.bring", broken)
    (study / "params.yaml").write_text(f"{PARAMS}split: {{promotion: 0.2}}\n")
    git(study, "commit", "-qam", "Ready")
    git(study, "push", "-q")
    outcome = retrain(study)
    said = capfd.readouterr().err
    assert (outcome.status, outcome.step) == (Status.FAILED, "import")
    assert said.startswith("Traceback")
    assert "in broken" in said
    assert said.rstrip().endswith("ValueError")
    assert "JANE" not in said.replace('raise ValueError("DOE^JANE")', "") + outcome.line()


def test_a_night_without_its_remote_ends_with_a_sentence_and_leaves_its_journal(study):
    (study.parent / "there.git").rename(study.parent / "away.git")
    outcome = retrain(study)
    assert (outcome.status, outcome.step) == (Status.POSTPONED, "sync")
    assert json.loads((study / ROOM / "night.json").read_text())["ended"] is True


def test_a_night_that_was_cut_off_is_told_of_by_the_next(study):
    journal = Journal(study / ROOM / "night.json", Outcome())
    journal.step("train")
    assert Journal(study / ROOM / "night.json", Outcome()).unfinished() == "train"
    journal.end()
    assert Journal(study / ROOM / "night.json", Outcome()).unfinished() == ""


def test_a_defect_is_told_of_too(study, capsys):
    (study / ROOM).mkdir(parents=True)
    (study / ROOM / "clone").write_text("a file where a folder should be")
    outcome = retrain(study)
    assert outcome.status == Status.FAILED
    assert "Traceback" in capsys.readouterr().err
