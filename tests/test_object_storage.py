"""A study's data and results on object storage, for real: moto's S3 server on loopback, spoken to by DVC."""

import os
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from studies import ONLY_IN_CAMPAIGNS, free_port, run_dvc, run_stage, set_params, wait_for

from medimg.cluster import delivery
from medimg.cluster.commit import examine
from medimg.files import sha256_file
from medimg.store import Store

pytest.importorskip("dvc_s3")
pytest.importorskip("moto")


WEIGHTS = Path("artifacts/weights/weights.safetensors")


@contextmanager
def s3(folder):
    """An S3 of our own with a bucket; yields its address."""
    port = free_port()
    with (folder / "s3.log").open("w") as log:
        server = subprocess.Popen([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], stderr=log)
    try:
        import boto3

        client = boto3.client("s3", endpoint_url=f"http://127.0.0.1:{port}", region_name="us-east-1")
        end = time.monotonic() + 60
        while True:
            try:
                client.create_bucket(Bucket="hospital")
                break
            except Exception as error:
                early = isinstance(error, OSError) or "EndpointConnectionError" in type(error).__name__
                if not early or time.monotonic() > end or server.poll() is not None:
                    raise
            time.sleep(0.3)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()


@pytest.mark.slow
def test_data_lock_and_ledger_go_to_an_object_store_and_come_back(study, tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
    with s3(tmp_path) as address:
        for words in (
            ("remote", "add", "--default", "storage", "s3://hospital/study"),
            ("remote", "modify", "storage", "endpointurl", address),
            ("remote", "modify", "storage", "region", "us-east-1"),
            ("config", "core.no_scm", "true"),
            ("add", "data"),
        ):
            done = run_dvc(study, *words)
            assert done.returncode == 0, done.stderr
        assert "does not hold data/" in delivery.unsent()
        assert run_dvc(study, "push", "data.dvc").returncode == 0
        assert delivery.unsent() is None
        assert run_dvc(study, "repro", "ingest").returncode == 0
        assert run_dvc(study, "push").returncode == 0
        Path("splits.csv").write_text("patient,part,batch\n")
        delivery.leave("medimg-0")
        lock = Path("dvc.lock").read_bytes()
        git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org"]
        for words in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message", "a study"]):
            subprocess.run([*git, *words], check=True, capture_output=True)
        assert examine().carries_medimg  # an address of object storage is one that a cluster reaches

        for path in (study / "artifacts", study / "data", study / ".dvc/cache"):
            shutil.rmtree(path)
        Path("dvc.lock").unlink()
        delivery.bring(delivery.fetch("medimg-0"))
        assert Path("dvc.lock").read_bytes() == lock
        assert Path("artifacts/index.parquet").is_file()
        assert "up to date" in run_dvc(study, "status", "ingest").stdout
    assert os.environ["AWS_SECRET_ACCESS_KEY"] not in Path(".dvc/config").read_text()


@pytest.mark.slow
@pytest.mark.campaign
@ONLY_IN_CAMPAIGNS
def test_training_goes_on_from_object_storage_where_its_folder_is_gone(ready, tmp_path, monkeypatch):
    set_params(ready, model={"name": "lenet5"}, train={"max_epochs": 30, "patience": 30})
    assert run_stage("train").returncode == 0
    undisturbed = sha256_file(WEIGHTS)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
    with s3(tmp_path) as address:
        import s3fs

        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        set_params(ready, cluster={"checkpoints": "s3://hospital/checkpoints"})
        bucket = s3fs.S3FileSystem(endpoint_url=address, use_listings_cache=False)

        def kept():
            return bucket.glob("hospital/checkpoints/*/network/epoch-*.ckpt")

        with subprocess.Popen([sys.executable, "pipelines/train.py"], stderr=subprocess.DEVNULL) as run:
            wait_for(lambda: run.poll() is not None or len(kept()) >= 2)
            workers = psutil.Process(run.pid).children(recursive=True)
            run.kill()
        psutil.wait_procs(workers, timeout=60)  # they end what they have begun
        assert kept()
        shutil.rmtree(".medimg/train")
        done = run_stage("train")
        assert done.returncode == 0, done.stderr
        assert "which was kept at cluster.checkpoints" in done.stderr
        assert "epoch  1/30" not in done.stderr
        assert sha256_file(WEIGHTS) == undisturbed
        assert not kept()


NODE = """
from pathlib import Path
from medimg.store import Store, cache
store = Store.open(Path("artifacts/store"))
print(int(store.images[store.rows(store.samples["sample"])].sum()), *(copy.name for copy in cache.copies()))
"""


@pytest.mark.slow
def test_a_store_on_s3_is_fetched_once_by_each_of_two_nodes(ready, tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    here = Store.open(Path("artifacts/store"))
    expected = int(here.images[here.rows(here.samples["sample"])].sum())
    with s3(tmp_path) as address:
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        set_params(Path(), preprocess={"remote": "s3://hospital/stores"})
        done = run_stage("preprocess", MEDIMG_CACHE=str(tmp_path / "first"))
        assert done.returncode == 0, done.stderr
        assert "0 computed" in done.stdout
        assert not Path("artifacts/store/images.npy").exists()
        shutil.rmtree(tmp_path / "first")  # the two nodes are other machines than the one that built it

        def reader(node):
            environment = os.environ | {"MEDIMG_CACHE": str(tmp_path / node)}
            return subprocess.Popen([sys.executable, "-c", NODE], env=environment, stdout=subprocess.PIPE, text=True)

        readers = [reader(node) for node in ("one", "two") for _ in range(2)]
        answers = [each.communicate(timeout=120)[0].split() for each in readers]
        assert {int(total) for total, *_ in answers} == {expected}
        assert [len(names) for _, *names in answers] == [1] * 4
        fetched = [line for line in (tmp_path / "s3.log").read_text().splitlines() if "GET /hospital/stores" in line]
        assert len([line for line in fetched if "images.npy" in line]) == 2
        assert os.environ["AWS_SECRET_ACCESS_KEY"] not in Path("artifacts/store/remote.json").read_text()
