"""medimg.demo: the same bytes everywhere, files that others can read, and nothing that gives the label away."""

import os
import subprocess
import sys
from collections import Counter

import numpy as np
import pandas as pd
import pydicom
import pytest
from PIL import Image
from scipy.ndimage import uniform_filter
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from medimg import demo
from medimg.border.statement import read_imports
from medimg.errors import DataError, MedimgError
from medimg.files import sha256_file


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    out = tmp_path_factory.mktemp("demo") / "data"
    assert demo.write(out)
    return out


@pytest.fixture(scope="session")
def labels(data):
    return pd.read_csv(data / "labels.csv", dtype=str)


def brightness(sample):
    """The image as a reader shows it, 0 to 1, bright where much tissue absorbs."""
    full = (1 << sample.bits) - 1
    stored = demo.pixels(sample).astype(float)
    return (full - stored if sample.photometric == "MONOCHROME1" else stored) / full


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONHASHSEED": "1", "LC_ALL": "C", "TZ": "Pacific/Kiritimati"},
        {"PYTHONHASHSEED": "2", "LC_ALL": "tr_TR.UTF-8", "TZ": "America/St_Johns", "PYTHONUTF8": "1"},
    ],
)
def test_bytes_do_not_depend_on_the_process(tmp_path, environment):
    program = "import sys, pathlib, medimg.demo as d; d.write(pathlib.Path(sys.argv[1]))"  # raises on another hash
    subprocess.run([sys.executable, "-c", program, tmp_path / "data"], env=os.environ | environment, check=True)
    assert demo.fingerprint(tmp_path / "data") == demo.HASH


def test_again_does_nothing(data):
    before = {path: path.stat().st_mtime_ns for path in data.rglob("*")}
    assert not demo.write(data)
    assert {path: path.stat().st_mtime_ns for path in data.rglob("*")} == before


def test_an_empty_folder_is_filled(tmp_path):
    assert demo.write(tmp_path)
    assert demo.fingerprint(tmp_path) == demo.HASH


@pytest.mark.parametrize("name", ["images/mine.dcm", ".hidden", "labels.csv"])
def test_refuses_what_is_not_the_demo(tmp_path, name):
    file = tmp_path / "data" / name
    file.parent.mkdir(parents=True)
    file.write_text("mine")
    with pytest.raises(DataError, match="Move it away"):
        demo.write(tmp_path / "data")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [file]
    assert file.read_text() == "mine"


def test_refuses_a_demo_that_was_changed(tmp_path, data):
    changed = tmp_path / "data"
    changed.mkdir()
    for path in ("labels.csv", "imports/0001.json"):
        (changed / path).parent.mkdir(exist_ok=True)
        (changed / path).write_bytes((data / path).read_bytes())
    with pytest.raises(DataError):
        demo.write(changed)


def test_refuses_a_file_in_the_way(tmp_path):
    (tmp_path / "data").write_text("mine")
    with pytest.raises(DataError):
        demo.write(tmp_path / "data")
    assert (tmp_path / "data").read_text() == "mine"


def test_another_hash_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "HASH", "0" * 64)
    with pytest.raises(MedimgError, match="defect"):
        demo.write(tmp_path / "data")
    assert not list(tmp_path.iterdir())


def test_size(data):
    assert sum(path.stat().st_size for path in data.rglob("*") if path.is_file()) < 12_000_000


def test_counts(labels):
    assert list(labels.columns) == demo.COLUMNS == ["path", "patient", "sex", "age", "site", "lesion"]
    assert labels.patient.nunique() == 300
    assert 420 <= len(labels) <= 480
    assert labels.patient.str.fullmatch("P[0-9a-f]{12}").all()
    assert labels.groupby("patient")[["sex", "age", "site", "lesion"]].nunique().eq(1).all(axis=None)
    assert labels.drop_duplicates("patient").lesion.value_counts().to_dict() == {"0": 150, "1": 150}


def test_every_file_is_labelled_and_vouched_for(data, labels):
    files = {path.relative_to(data).as_posix() for path in (data / "images").rglob("*") if path.is_file()}
    assert set(labels.path) == files
    imported = read_imports(data)
    assert imported.sha256 == {path: sha256_file(data / path) for path in [*files, "labels.csv"]}
    assert imported.statements[0]["profile"] == "synthetic"


def test_each_image_decodes_to_what_was_drawn(data):
    for sample in demo.samples():
        path = data / sample.path
        stored = np.asarray(Image.open(path)) if path.suffix == ".png" else pydicom.dcmread(path).pixel_array
        assert np.array_equal(stored, demo.pixels(sample)), sample


def test_headers(data, labels):
    seen = Counter()
    rows = labels.set_index("path")
    for path in sorted(data.rglob("*.dcm")):
        header, row = pydicom.dcmread(path, stop_before_pixels=True), rows.loc[path.relative_to(data).as_posix()]
        seen[header.file_meta.TransferSyntaxUID.name, header.PhotometricInterpretation, header.BitsStored] += 1
        assert (header.PatientID, header.PatientSex) == (row.patient, row.sex)
        assert header.PatientAge == f"{int(row.age):03d}Y"
        assert header.PatientIdentityRemoved == "YES"
        assert not [element.keyword for element in header if element.VR in ("DA", "TM", "DT")]
    syntaxes, photometrics = ("Explicit VR Little Endian", "RLE Lossless"), ("MONOCHROME1", "MONOCHROME2")
    assert set(seen) == {(syntax, p, bits) for syntax in syntaxes for p in photometrics for bits in (12, 16)}
    assert min(seen.values()) >= 40
    assert {sample.shape for sample in demo.samples()} == {(96, 96), (128, 112)}
    assert sum(sample.container == "png" for sample in demo.samples()) == 50


def test_exactly_one_file_is_corrupt(data):
    def whole(path):
        dataset = pydicom.dcmread(path)
        compressed = dataset.file_meta.TransferSyntaxUID.is_compressed
        return compressed or len(dataset.PixelData) == dataset.Rows * dataset.Columns * 2

    cut = [path for path in data.rglob("*.dcm") if not whole(path)]
    assert len(cut) == 1
    with pytest.raises(ValueError, match="pixel data"):
        pydicom.dcmread(cut[0]).pixel_array  # noqa: B018


def test_exactly_one_file_is_a_duplicate(data):
    by_hash = {}
    for path in (data / "images").rglob("*.*"):
        by_hash.setdefault(sha256_file(path), []).append(path)
    (twins,) = (paths for paths in by_hash.values() if len(paths) > 1)
    assert len(twins) == 2
    assert len({path.parent for path in twins}) == 1


@pytest.mark.parametrize(
    "row",
    [b"\0" * 96, bytes(range(128)), b"a" * 128, b"aab", b"abbbc", b"aaabbb", b"z", b"ab" * 48 + b"ccc"],
)
def test_pack_bits_of_one_row(row):
    unpacked, packed = bytearray(), demo._pack_bits(row)
    while packed:
        if packed[0] < 128:
            unpacked, packed = unpacked + packed[1 : packed[0] + 2], packed[packed[0] + 2 :]
        else:
            unpacked, packed = unpacked + packed[1:2] * (257 - packed[0]), packed[2:]
    assert unpacked == row


def test_nothing_in_header_or_format_tells_the_label():
    table = pd.DataFrame([vars(sample) | {"size": sample.shape[0]} for sample in demo.samples()])
    for column in ("site", "sex", "container", "photometric", "bits", "size"):
        share = table.groupby(column).lesion.mean()
        assert share.between(0.42, 0.58).all(), share
    assert roc_auc_score(table.lesion, table.age) == pytest.approx(0.5, abs=0.06)


def statistics(image):
    return np.r_[image.mean(), image.std(), np.percentile(image, [0, 1, 5, 10, 25, 50, 75, 90, 95, 99, 100])]


def thumbnail(image):
    return np.asarray(Image.fromarray(image.astype(np.float32)).resize((16, 16), Image.Resampling.BOX)).ravel()


@pytest.mark.parametrize("features", [statistics, thumbnail])
@pytest.mark.parametrize("model", ["logistic regression", "boosted trees"])
def test_what_is_not_fine_structure_does_not_tell_the_label(features, model):
    plan = demo.samples()
    seen = np.stack([features(brightness(sample)) for sample in plan])
    lesion = np.array([sample.lesion for sample in plan])
    models = {
        "logistic regression": make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500)),
        "boosted trees": HistGradientBoostingClassifier(max_iter=50, random_state=0),
    }
    folds = StratifiedGroupKFold(5, shuffle=True, random_state=0)
    groups = [sample.patient for sample in plan]
    scores = cross_val_predict(models[model], seen, lesion, groups=groups, cv=folds, method="predict_proba")[:, 1]
    assert roc_auc_score(lesion, scores) == pytest.approx(0.5, abs=0.08)


def lines(image):
    """How much more the strongest fine lines run across than down: a patch's energy at half a period of 3 pixels."""

    def strongest(rows_first):
        bent = rows_first[3:-3] - (rows_first[:-6] + rows_first[6:]) / 2
        return uniform_filter(bent**2, 15).max()

    return strongest(image) - strongest(image.T)


def test_fine_structure_tells_the_label_but_for_wrong_readings():
    plan = demo.samples()
    score = roc_auc_score([sample.lesion for sample in plan], [lines(brightness(sample)) for sample in plan])
    assert 0.9 < score < 0.99
