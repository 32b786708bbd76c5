"""What is known of inputs before they are read: files of a study keep the names that the study gave them."""

import json
from pathlib import Path

import numpy as np
import pytest

from medimg.border.identity import SiteKey
from medimg.border.locate import Options
from medimg.border.spool import spool
from medimg.errors import BusyError, DataError
from medimg.familiar import INTENSITIES, KINDS, SIZES, Familiar
from medimg.files import sha256_file
from medimg.predict.account import COPY, Account
from medimg.predict.inputs import locate_inputs
from medimg.predict.look import Look
from medimg.predict.written import writing
from medimg.store import Geometry

PATHS = ("images/one/a.png", "images/one/b.png", "images/two/c.png")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The data of a study with three files, as an import leaves them."""
    folder = tmp_path / "study/data"
    for path in PATHS:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(path)
    (folder / "labels.csv").write_text("path,patient\n" + "".join(f"{path},{path.split('/')[1]}\n" for path in PATHS))
    manifest = folder / "imports/0001.csv"
    manifest.parent.mkdir()
    manifest.write_text("path,sha256\n" + "".join(f"{path},{sha256_file(folder / path)}\n" for path in PATHS))
    statement = {"batch": 1, "manifest_sha256": sha256_file(manifest), "labels_sha256": "", "settings": {}}
    manifest.with_suffix(".json").write_text(json.dumps(statement))
    return folder


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (["."], set(PATHS)),
        (["images"], set(PATHS)),
        (["images/one"], set(PATHS[:2])),
        (["images/one/b.png", "images/two"], {PATHS[1], PATHS[2]}),
    ],
)
def test_a_part_of_a_study_s_data_keeps_its_names(typed: list[str], expected: set[str], data: Path) -> None:
    inputs = locate_inputs([str(data / path) for path in typed], data.parent / "out", Options())
    found = [job.known for job in inputs.jobs(data.parent)]
    assert {one.path if one else None for one in found} == expected and inputs.deidentified()
    assert all(
        one and one.patient == one.path.split("/")[1] and sha256_file(data / one.path) == one.sha256 for one in found
    )


def test_a_folder_beside_imports_of_another_kind_is_no_study(tmp_path: Path) -> None:
    (tmp_path / "imports").mkdir()
    (tmp_path / "imports/goods.json").write_text("{}")
    (tmp_path / "images/one").mkdir(parents=True)
    (tmp_path / "images/one/a.png").write_text("a")
    inputs = locate_inputs([str(tmp_path / "images/one")], tmp_path / "out", Options())
    assert [job.known for job in inputs.jobs(tmp_path)] == [None] and not inputs.deidentified()


@pytest.mark.parametrize("how", ["another file under a known name", "a file that no import wrote", "a file elsewhere"])
def test_only_what_imports_wrote_byte_for_byte_may_go_to_other_nodes(how: str, data: Path) -> None:
    typed = [str(data)]
    if how == "another file under a known name":
        (data / PATHS[1]).write_text("as it came from the hospital")
    elif how == "a file that no import wrote":
        (data / "images/two/raw.png").write_text("as it came from the hospital")
    else:
        (data.parent / "raw.png").write_text("as it came from the hospital")
        typed.append(str(data.parent / "raw.png"))
    assert not locate_inputs(typed, data.parent / "out", Options()).deidentified()


def test_the_same_bytes_under_two_names_are_scored_once_and_told(data: Path) -> None:
    (data / PATHS[2]).write_bytes((data / PATHS[0]).read_bytes())
    jobs = list(locate_inputs([str(data)], data.parent / "out", Options()).jobs(data.parent))
    about = {"kinds": {name: {"": 3} for name in KINDS}, "ranges": {}, "unknown": dict.fromkeys(SIZES, 0)}
    about |= {"intensities": {name: [0, 1] for name in INTENSITIES}, "distance": None}
    facts, numbers = dict.fromkeys((*KINDS, *SIZES)), dict.fromkeys(INTENSITIES, 0.5)
    image, geometry = np.zeros((1, 8, 8), np.uint8), Geometry((8, 8), None, None, None)
    names = ["a" * 16, "b" * 16, "a" * 16]
    looks = [Look(name, "patient", None, None, image, geometry, facts, numbers) for name in names]
    account = Account(Familiar(about, None), False, SiteKey(b"0" * 32))
    scored = list(account.looks(iter([(job, [look]) for job, look in zip(jobs, looks, strict=True)])))
    assert [one.sample for one in scored] == names[:2]
    assert [(file, code) for file, code, *_ in account.refused] == [(PATHS[2], COPY)]
    assert account.codes == {"copy": 1}


def test_two_runs_do_not_write_into_one_folder(tmp_path: Path) -> None:
    out, named = tmp_path / "out", tmp_path / "named"
    with spool(out):
        with writing(out, named, "bundle") as first:
            (first.out / "predictions.csv").write_text("of the first run")
            for mine, whose in ((tmp_path / "." / "out", None), (tmp_path / "other", named)):
                with pytest.raises(BusyError, match="already running"), writing(mine, whose, "bundle"):
                    pass
            assert (first.out / "predictions.csv").exists()
        with pytest.raises(DataError, match="holds something already"), writing(out, None, "bundle"):
            pass  # it was empty when this run began
    assert (out / "predictions.csv").read_text() == "of the first run"
