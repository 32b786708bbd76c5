"""Public sets from a server on this machine, with files of the publisher's format."""

import csv
import hashlib
import json
import re
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import nibabel
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from studies import run_dvc, set_params

from benchmarks.studies.medmnist import main as rows_of_the_table
from medimg.border.locate import locate
from medimg.border.pipeline import import_from
from medimg.border.table import is_class
from medimg.cli import main as command_line
from medimg.errors import DataError, MedimgError
from medimg.fetch import catalog, fetch
from medimg.fetch.catalog import PublicSet
from medimg.records import PREDICTIONS, read_predictions

PARTS = {"train": 6, "val": 4, "test": 4}


def archive(path, shape, labels):
    """A file as the publisher's: images (N, …) uint8, labels (N, K)."""
    arrays, rng = {}, np.random.default_rng(5)
    for part, count in PARTS.items():
        arrays[f"{part}_images"] = rng.integers(0, 256, (count, *shape), np.uint8)
        arrays[f"{part}_labels"] = labels(count)
    np.savez_compressed(path, **arrays)
    return arrays


def turns(count):
    return (np.arange(count) % 2).astype(np.uint8)[:, None]


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A server for ``tmp_path/theirs`` that goes on in the middle, and breaks off after ``cut`` bytes if asked to."""
    folder = tmp_path / "theirs"
    folder.mkdir()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.server.asked.append(self.headers.get("Range"))
            path = folder / self.path.lstrip("/")
            if not path.is_file():
                self.send_error(404)
                return
            data, start = path.read_bytes(), 0
            if self.server.ranges and (found := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")):
                start = int(found[1])
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(data) - start))
            self.end_headers()
            self.wfile.write(data[start : start + self.server.cut] if self.server.cut else data[start:])

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.asked, running.cut, running.ranges, running.folder = [], 0, True, folder
        threading.Thread(target=running.serve_forever, daemon=True).start()
        monkeypatch.setattr(catalog, "URL", f"http://127.0.0.1:{running.server_port}")
        monkeypatch.setenv("MEDIMG_CACHE", str(tmp_path / "cache"))
        yield running
        running.shutdown()


@pytest.fixture
def offer(server, monkeypatch):
    """Publish a set, by default called ``toy``, of which ``seen`` may change the images; its arrays."""

    def put(shape, labels=turns, name="toy", seen=None, **facts):
        path = server.folder / f"{name}.npz"
        arrays = archive(path, shape, labels)
        if seen:
            seen(arrays)
            np.savez_compressed(path, **arrays)
        md5 = hashlib.md5(path.read_bytes()).hexdigest()
        monkeypatch.setattr(catalog, "SETS", {name: PublicSet("a toy", ("normal", "ill"), {28: md5}, **facts)})
        return arrays

    return put


def bright(arrays):
    """The ill are brighter on one side."""
    for part in PARTS:
        arrays[f"{part}_images"][:, :, :14] //= np.where(arrays[f"{part}_labels"] > 0, 1, 3).astype(np.uint8)[
            :, :, None
        ]


def rows(folder):
    with (folder / "labels.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("shape", [(28, 28), (28, 28, 3)], ids=["grey", "colour"])
def test_images_are_the_publishers_and_cross_the_border_with_their_parts(offer, tmp_path, shape):
    arrays = offer(shape)
    out = tmp_path / "toy"
    assert "CC BY 4.0" in fetch("toy", 28, out) and "CC BY 4.0" in (out / "ABOUT.txt").read_text()
    said = rows(out)
    assert [row["set"] for row in said] == ["train"] * 6 + ["validation"] * 4 + ["test"] * 4
    assert [row["label"] for row in said[:3]] == ["normal", "ill", "normal"]
    images = np.concatenate([arrays[f"{part}_images"] for part in PARTS])
    for row, image in zip(said, images, strict=True):
        assert np.array_equal(np.asarray(Image.open(out / row["path"])), image)
    data = tmp_path / "study" / "data"
    import_from(locate(str(out), data), out / "labels.csv", data, each_image_is_a_patient=True, processes=1)
    crossed = rows(data)
    assert sorted((row["set"], row["label"]) for row in crossed) == sorted((row["set"], row["label"]) for row in said)


def test_volumes_are_nifti_and_findings_are_columns(offer, tmp_path):
    arrays = offer((28, 28, 28), volumes=True)
    fetch("toy", 28, tmp_path / "solid")
    volume = nibabel.load(tmp_path / "solid" / rows(tmp_path / "solid")[6]["path"])
    assert np.array_equal(np.asarray(volume.dataobj), arrays["val_images"][0])
    rng = np.random.default_rng(6)
    arrays = offer((28, 28), lambda count: rng.integers(0, 2, (count, 2)), multilabel=True)
    fetch("toy", 28, tmp_path / "many")
    said = [[int(row["normal"]), int(row["ill"])] for row in rows(tmp_path / "many")]
    assert said == np.concatenate([arrays[f"{part}_labels"] for part in PARTS]).tolist()


@pytest.mark.parametrize("ranges", [True, False], ids=["goes on", "starts again"])
def test_a_download_that_was_cut_off_is_finished_by_the_next(offer, server, tmp_path, ranges):
    offer((128, 128))  # 229 kB that do not compress
    server.cut, server.ranges = 100_000, ranges
    with pytest.raises(MedimgError, match="What has come stays"):
        fetch("toy", 28, tmp_path / "toy")
    assert not (tmp_path / "toy").exists()
    server.cut = 0
    fetch("toy", 28, tmp_path / "toy")
    assert server.asked == [None, "bytes=65536-"]
    assert len(rows(tmp_path / "toy")) == 14
    fetch("toy", 28, tmp_path / "again")
    assert len(server.asked) == 2  # from the cache
    assert (tmp_path / "again/labels.csv").read_bytes() == (tmp_path / "toy/labels.csv").read_bytes()


def test_what_is_not_the_publishers_is_refused_and_not_kept(offer, server, tmp_path, monkeypatch):
    offer((28, 28))
    (server.folder / "toy.npz").write_bytes(b"something else")
    with pytest.raises(DataError, match="has not the MD5"):
        fetch("toy", 28, tmp_path / "toy")
    assert not (tmp_path / "toy").exists()
    assert [path.name for path in (tmp_path / "cache/public").iterdir()] == ["toy.npz.lock"]
    offer((28, 28), lambda count: np.full((count, 1), 2))
    with pytest.raises(DataError, match="other labels"):
        fetch("toy", 28, tmp_path / "toy")
    assert not (tmp_path / "toy").exists()


def test_mistakes_are_sentences(offer, tmp_path):
    offer((28, 28))
    with pytest.raises(DataError, match="There are: toy"):
        fetch("nothing", 28, tmp_path / "toy")
    with pytest.raises(DataError, match="published at 28 pixels, not at 64"):
        fetch("toy", 64, tmp_path / "toy")
    with pytest.raises(DataError, match="is there already"):
        fetch("toy", 28, tmp_path)
    with pytest.raises(MedimgError, match="--mirror"):
        fetch("toy", 28, tmp_path / "toy", mirror=f"{catalog.URL}/nowhere")


def test_the_catalogue_is_whole_and_its_classes_cross_an_import():
    assert len(catalog.SETS) == 18 and sum(entry.volumes for entry in catalog.SETS.values()) == 6
    hashes = [md5 for entry in catalog.SETS.values() for md5 in entry.md5.values()]
    assert len(set(hashes)) == 60 and all(re.fullmatch("[0-9a-f]{32}", md5) for md5 in hashes)
    for name, entry in catalog.SETS.items():
        assert len(set(entry.labels)) == len(entry.labels) >= 2
        assert all(is_class(label) for label in entry.labels)
        assert entry.file(name, 28) == f"{name}.npz" and entry.file(name, 64) == f"{name}_64.npz"


@pytest.mark.slow
def test_a_set_becomes_a_study_with_the_publishers_parts_and_a_row_of_the_table(offer, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys.modules[__name__], "PARTS", {"train": 40, "val": 12, "test": 12})
    offer((28, 28), name="breastmnist", seen=bright)
    monkeypatch.chdir(tmp_path)
    for words in (
        ["fetch", "breastmnist", "--size", "28", "--out", "breast"],
        [
            "new",
            "breastmnist",
            "--images",
            "breast",
            "--label",
            "label",
            "--positive",
            "ill",
            "--each-image-is-a-patient",
        ],
    ):
        monkeypatch.setattr("sys.argv", ["medimg", *words])
        with pytest.raises(SystemExit, match="0"):
            command_line()
    study = tmp_path / "breastmnist"
    small = {"preprocess": {"size": 28}, "model": {"name": "perceptron"}, "train": {"max_epochs": 20, "batch_size": 20}}
    set_params(study, **small, saliency={"cases": 0})
    done = run_dvc(study, "repro")
    assert done.returncode == 0, done.stdout + done.stderr
    parts = pd.read_parquet(study / "artifacts/parts.parquet").merge(pd.read_parquet(study / "artifacts/index.parquet"))
    theirs = {(row["set"], row["path"].rpartition("/")[2]) for row in rows(study / "data")}
    assert {(part, path.rpartition("/")[2]) for part, path in zip(parts["part"], parts["path"], strict=True)} == theirs
    assert parts["part"].value_counts().to_dict() == {"train": 40, "validation": 12, "test": 12}
    assert "<html" in (study / "artifacts/evaluation/report.html").read_text()
    capsys.readouterr()
    rows_of_the_table([str(study)])
    *_, published, accuracy, auc, right, how, _ = capsys.readouterr().out.splitlines()[-1].split(" | ".strip())
    assert (published.strip(), accuracy.strip()) == ("0.901", "0.863")
    metrics = json.loads((study / "artifacts/evaluation/metrics.json").read_text())
    assert float(auc) == pytest.approx(metrics["headline"]["value"], abs=5e-4) and float(auc) > 0.9
    found = read_predictions(study / PREDICTIONS).part("test")
    assert float(right) == pytest.approx(((found.probabilities > 0.5) == found.truth).mean(), abs=5e-4)
    assert "perceptron, 28 pixels, 12 test images, publisher's parts, 0 left out" in how
