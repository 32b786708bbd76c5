"""The audit, the linkage table, labels by accession number, and the statement: what a data-protection officer asks."""

import io
import json
import os
import shutil
import subprocess
import sys
import tracemalloc
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pydicom
import pytest
from pictures import CANARY, ct, png, tree
from studies import import_folder

from medimg.border import examine as examine_module
from medimg.border import linkage
from medimg.border.audit import audit
from medimg.border.examine import examine
from medimg.border.options import Policy
from medimg.border.statement import Imported, read_imports, write_batch
from medimg.errors import BorderError, DataError
from medimg.files import sha256_file
from medimg.ingest import ingest
from medimg.params import Ingest
from medimg.records import INGEST

OFF = Policy(**dict.fromkeys(Policy.model_fields, False))


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hospital")
    for number in range(8):
        (folder / f"{CANARY}-{number}").write_bytes(ct(number, patient=number % 4, PatientSex="F", PatientAge="093Y"))
    return folder


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory, hospital: Path) -> Path:
    """Two folders up from the data: the table."""
    root = tmp_path_factory.mktemp("imported")
    lines = [f"{CANARY}{patient},{'ab'[patient % 2]}" for patient in range(4)]
    (root / "t.csv").write_text("\n".join(["mrn,finding", *lines]))
    import_folder(hospital, root / "t.csv", root / "study" / "data")
    return root


@pytest.fixture
def data(tmp_path: Path, imported: Path) -> Path:
    shutil.copytree(imported, tmp_path, dirs_exist_ok=True)
    return tmp_path / "study" / "data"


def reseal(data: Path) -> None:
    """Vouch for what is there: whoever writes a statement can vouch for anything, so the audit must look."""
    paths = [path.relative_to(data).as_posix() for path in data.rglob("*") if path.is_file()]
    paths = [path for path in paths if not path.startswith("imports/")]
    write_batch(data, 2, {"tool": "medimg import"}, paths)


def images(data: Path) -> list[Path]:
    return sorted((data / "images").rglob("*.dcm"))


def change(path: Path, **elements: object) -> None:
    dataset = pydicom.dcmread(path)
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    dataset.save_as(path)


def nested(keyword: str, value: object) -> pydicom.Sequence:
    item = pydicom.Dataset()
    setattr(item, keyword, value)
    return pydicom.Sequence([item])


def test_what_an_import_wrote_passes_the_audit(data: Path) -> None:
    found = examine(data)
    assert (found.files, found.synthetic, found.findings) == (9, 0, [])


IDENTIFYING = (
    {"PatientName": CANARY},
    {"PatientName": "REMOVED^X"},
    {"StudyDescription": f"CHEST {CANARY}"},
    {"PatientBirthDate": "19610302"},
    {"PatientAge": "093Y"},
    {"SeriesInstanceUID": "1.2.276.0.1"},
    {"BodyPartExamined": CANARY.upper()},
    {"InstitutionName": CANARY},
    {"PatientWeight": "80"},
    {"ReferencedSeriesSequence": nested("PatientID", CANARY)},
    {"ReferencedSeriesSequence": nested("SeriesDescription", CANARY)},
    {"AnatomicRegionSequence": nested("CodeMeaning", CANARY)},
    {"IconImageSequence": nested("Rows", 1)},
    {"PatientIdentityRemoved": "NO"},
    {"PatientID": "P000000000000"},
    {"ICCProfile": CANARY.encode() + b"\0"},
)


def test_the_audit_finds_what_the_profile_would_not_write(data: Path) -> None:
    path = images(data)[0]
    whole, name = path.read_bytes(), path.relative_to(data).as_posix()
    for elements in IDENTIFYING:
        path.write_bytes(whole)
        assert audit(data, [name]) == []
        with pydicom.config.disable_value_validation():
            change(path, **elements)
        (finding,) = audit(data, [name])
        assert CANARY.lower() not in finding.lower()


def test_the_audit_finds_bytes_beside_the_elements(data: Path) -> None:
    path = images(data)[0]
    whole, name = path.read_bytes(), path.relative_to(data).as_posix()
    behind = b"\xfc\xff\xfc\xffOB\0\0\x0a\0\0\0" + CANARY.encode() + b"\0"
    dataset = pydicom.dcmread(io.BytesIO(whole))
    dataset.private_block(0x99, CANARY, create=True).add_new(1, "LO", CANARY)
    dataset.save_as(private := io.BytesIO())
    dataset = pydicom.dcmread(io.BytesIO(whole))
    dataset.add_new(0x60003000, "OW", CANARY.encode() + b"\0")
    dataset.save_as(overlay := io.BytesIO())
    dataset = pydicom.dcmread(io.BytesIO(whole))
    dataset.file_meta.SourceApplicationEntityTitle = CANARY
    dataset.save_as(meta := io.BytesIO())
    changed = (CANARY.encode().ljust(128, b"\0") + whole[128:], whole + CANARY.encode(), whole + behind)
    for data_set in (*changed, private.getvalue(), overlay.getvalue(), meta.getvalue()):
        path.write_bytes(data_set)
        (finding,) = audit(data, [name])
        assert CANARY not in finding


def test_files_beside_the_import_and_changed_ones_are_found_without_their_names(data: Path) -> None:
    (data / "images" / f"{CANARY}.dcm").write_bytes(b"x")
    (data / "imports" / f"{CANARY}.txt").write_bytes(b"x")
    images(data)[0].unlink()
    images(data)[1].write_bytes(b"x")
    found = examine(data)
    assert len(found.findings) == 5  # the changed one is also none of this profile
    assert CANARY not in str(found)
    with pytest.raises(DataError, match="There is no folder"):
        examine(data / "absent")


def test_what_was_found_clean_is_not_audited_again(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    imported, memo, looked = read_imports(data), tmp_path / "memo", []
    audited = examine_module._audited

    def noted(data: Path, imported: Imported, paths: Iterable[str], processes: int | None) -> list[str]:
        looked.append(list(paths))
        return audited(data, imported, looked[-1], processes)

    monkeypatch.setattr(examine_module, "_audited", noted)
    examine_module.assure(data, imported, memo)
    assert looked[-1] == sorted(imported.sha256)
    examine_module.assure(data, imported, memo)
    assert looked[-1] == []
    for path in (*looked[0][:1], *looked[0][-1:], looked[0][4]):  # the memo is read beside the list, line by line
        memo.write_text(memo.read_text().replace(imported.sha256[path], "0" * 64))
        examine_module.assure(data, imported, memo)
        assert looked[-1] == [path]
    lines = memo.read_text().splitlines(keepends=True)
    memo.write_text("".join([*lines[:3], f"{lines[3].rstrip()}-that-is-gone\n", *lines[5:]]))
    examine_module.assure(data, imported, memo)
    assert looked[-1] == looked[0][2:4]
    assert memo.read_text() == "".join(lines)


def test_what_imports_vouch_for_is_not_held_in_memory(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "imports"
    folder.mkdir(parents=True)
    count = 30_000
    lines = "".join(f"images/P{number:012x}/{number:016x}.dcm,{number:064x}\n" for number in range(count))
    (folder / "0001.csv").write_text("path,sha256\n" + lines)
    sealed = sha256_file(folder / "0001.csv")
    (folder / "0001.json").write_text(json.dumps({"batch": 1, "manifest_sha256": sealed}))
    del lines
    tracemalloc.start()
    imported = read_imports(tmp_path / "data")
    assert len(imported.sha256) == count and sum(1 for _ in imported.rows()) == count
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    path = f"images/P{7:012x}/{7:016x}.dcm"
    assert (imported.sha256[path], imported.batch[path], imported.sha256.get("none")) == (f"{7:064x}", 1, None)
    assert peak < 100 * count  # bytes: the hashes alone are more


def test_the_audit_leaves_the_demo_study_alone(study: Path) -> None:
    found = examine(Path("data"))
    assert (found.files, found.findings) == (0, [])
    assert found.synthetic > 400


def test_ingest_refuses_what_the_audit_finds_although_an_import_vouches_for_it(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(data.parent)
    ingest("finding", Ingest())
    change(images(data)[0], PatientName=CANARY)
    reseal(data)
    with pytest.raises(DataError, match="The audit found 1 of 9 files") as caught:
        ingest("finding", Ingest())
    assert CANARY not in str(caught.value)


def test_one_file_that_came_past_the_import_does_not_switch_the_audit_of_the_others_off(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(data.parent)
    change(images(data)[0], PatientName=CANARY)
    reseal(data)
    (data / "images" / "more.dcm").write_bytes(ct(50, patient=9))
    with pytest.raises(DataError, match="The audit found 1 of 9 files"):
        ingest("finding", Ingest(allow_unverified=True, max_unlabelled=1))
    images(data)[0].write_bytes(ct(51, patient=9))  # another file than was vouched for: nobody vouches, nobody audits
    ingest("finding", Ingest(allow_unverified=True, max_unlabelled=1, max_quarantined=1))
    assert json.loads(INGEST.read_text())["unverified"] == 2


def test_images_that_name_nobody_are_told_of_in_the_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in").mkdir()
    for number in range(3):
        (tmp_path / "in" / f"{number}.png").write_bytes(png(number))
    import_folder(tmp_path / "in", None, tmp_path / "study" / "data", each_image_is_a_patient=True)
    monkeypatch.chdir(tmp_path / "study")
    ingest("finding", Ingest(labels="folders"))
    said = json.loads(INGEST.read_text())
    assert said["nobody"] == 3
    assert said["policies"] == [Policy().model_dump()]


def test_ingest_says_nothing_against_a_study_from_which_an_image_was_taken_out(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(data.parent)
    images(data)[0].unlink()
    ingest("finding", Ingest())
    assert json.loads(INGEST.read_text())["seen"] == 7


def test_audit_on_the_command_line(data: Path) -> None:
    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "medimg", "audit", str(data)], capture_output=True, text=True, check=False
        )

    assert (run().returncode, run().stdout) == (0, "9 files were read again, 0 findings\n")
    change(images(data)[0], PatientName=CANARY)
    reseal(data)
    done = run()
    assert done.returncode == 2
    assert "(0010,0010)" in done.stdout
    assert CANARY not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_labels_by_accession_number_cross_as_pseudonyms(tmp_path: Path, hospital: Path) -> None:
    rows = [f"{CANARY[:9]}{patient},{CANARY}{patient},{'ab'[patient % 2]}" for patient in range(4)]
    (tmp_path / "t.csv").write_text("\n".join(["AccessionNumber,patient,finding", *rows]))
    out = tmp_path / "study" / "data"
    summary = import_folder(hospital, tmp_path / "t.csv", out)
    assert (summary.imported, summary.labels_unmatched, summary.images_unlabelled) == (8, 0, 0)
    text = (out / "labels.csv").read_text()
    assert text.splitlines()[0] == "path,patient,sex,age,site,finding"
    assert text.count(",a\n") == text.count(",b\n") == 4
    assert not [name for name, written in tree(out).items() if CANARY.encode() in written]


@pytest.mark.parametrize("name", ["SOPInstanceUID", "SeriesInstanceUID", "study"])
def test_labels_by_a_uid_of_the_header_cross_to_the_files(tmp_path: Path, hospital: Path, name: str) -> None:
    keyword = "StudyInstanceUID" if name == "study" else name
    headers = [pydicom.dcmread(path) for path in sorted(hospital.iterdir())]
    uids = {str(header[keyword].value): header.PatientID for header in headers}
    rows = [f"{uid},{'ab'[int(patient[-1]) % 2]}" for uid, patient in uids.items()]
    (tmp_path / "t.csv").write_text("\n".join([f"{name},finding", *rows]))
    out = tmp_path / "study" / "data"
    summary = import_folder(hospital, tmp_path / "t.csv", out)
    assert (summary.imported, summary.labels_unmatched, summary.images_unlabelled) == (len(headers), 0, 0)
    text = (out / "labels.csv").read_text()
    assert text.splitlines()[0] == "path,patient,sex,age,site,finding"
    assert text.count(",a\n") == text.count(",b\n") == len(headers) / 2
    assert not [name for name, written in tree(out).items() if any(uid.encode() in written for uid in uids)]


def test_the_linkage_table_is_written_where_told_and_for_its_owner_alone(tmp_path: Path, hospital: Path) -> None:
    out, table = tmp_path / "study" / "data", tmp_path / "safe" / "links.csv"
    with pytest.raises(BorderError, match="no folder for the linkage table"):
        import_folder(hospital, None, out, linkage=table)
    table.parent.mkdir()
    for place in (out / "links.csv", out.parent / "links.csv"):
        with pytest.raises(BorderError, match="would lie in the study"):
            import_folder(hospital, None, out, linkage=place)
    for taken in (".git", ".dvc", "dvc.yaml"):  # another study, or any repository
        (tmp_path / "another" / taken).mkdir(parents=True)
        (tmp_path / "another/deep").mkdir(exist_ok=True)
        with pytest.raises(BorderError, match="another, where Git or DVC may take it"):
            import_folder(hospital, None, out, linkage=tmp_path / "another/deep/links.csv")
        (tmp_path / "another" / taken).rmdir()
    import_folder(hospital, None, out, linkage=table)
    assert table.stat().st_mode & 0o777 == 0o600
    header, *rows = table.read_text().splitlines()
    assert header == "patient,identifier"
    assert rows == sorted(rows)
    assert {row.split(",")[1] for row in rows} == {f"{CANARY}{patient}" for patient in range(4)}
    assert {row.split(",")[0] for row in rows} == {path.parent.name for path in images(out)}
    assert not [name for name, written in tree(out.parent).items() if CANARY.encode() in written]
    before = table.read_bytes()
    import_folder(hospital, None, out, linkage=table)
    assert table.read_bytes() == before
    assert [*table.parent.iterdir()] == [table]
    table.chmod(0o644)
    with pytest.raises(BorderError, match="chmod 600"):
        import_folder(hospital, None, out, linkage=table)


def test_imports_that_settle_one_linkage_table_at_once_lose_no_line(tmp_path: Path) -> None:
    table = tmp_path / "links.csv"
    outs = [tmp_path / f"study{number}" / "data" for number in range(8)]
    for number, out in enumerate(outs):
        for patient in range(20):
            (out / "images" / f"P{number}-{patient}").mkdir(parents=True)
            pending = linkage.pending_links(table, out)
            assert pending is not None
            linkage.note_link(pending, f"P{number}-{patient}", f"{CANARY}{number}-{patient}")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda out: linkage.settle_links(table, out), outs))
    assert len(table.read_text().splitlines()) == 1 + 8 * 20


def test_who_is_refused_later_is_not_in_the_linkage_table(tmp_path: Path, hospital: Path) -> None:
    out, table = tmp_path / "study" / "data", tmp_path / "safe" / "links.csv"
    source = tmp_path / "source"
    source.mkdir()
    table.parent.mkdir()
    for number in range(2):  # equal files of which the table says different things
        (source / f"copy{number}").write_bytes(ct(99, patient=99))
    (tmp_path / "labels.csv").write_text("path,finding\ncopy0,a\ncopy1,b\n")
    with pytest.raises(BorderError, match="2 conflict"):
        import_folder(source, tmp_path / "labels.csv", out, linkage=table)
    assert not list(table.parent.iterdir())
    shutil.copytree(hospital, source, dirs_exist_ok=True)
    assert import_folder(source, tmp_path / "labels.csv", out, linkage=table).refused == {"conflict": 2}
    rows = table.read_text().splitlines()[1:]
    assert {row.split(",")[1] for row in rows} == {f"{CANARY}{patient}" for patient in range(4)}
    assert [*table.parent.iterdir()] == [table]


def test_the_statement_says_under_which_options_and_what_was_done(data: Path) -> None:
    statement = json.loads((data / "imports" / "0001.json").read_text())
    assert statement["policy"] == Policy().model_dump()
    assert statement["header_elements"]["kept"] >= 8 * 40
    assert min(statement["header_elements"][name] for name in ("removed", "emptied", "uid_replaced", "cleaned")) >= 8
    assert len(statement["key_fingerprint"]) == 8
    assert statement["tool_version"]


def test_another_policy_brings_the_same_pseudonyms_and_replaces_the_files(data: Path, hospital: Path) -> None:
    before = tree(data)
    assert import_folder(hospital, None, data, policy=OFF).imported == 8
    after = tree(data)
    assert {name for name in before if "images/" in name} == {name for name in after if "images/" in name}
    assert all(before[name] != after[name] for name in before if name.endswith(".dcm"))
    assert examine(data).findings == []
    assert not pydicom.dcmread(images(data)[0]).PatientSex


@pytest.mark.parametrize("processes", [1, 2])
def test_locale_time_zone_and_hash_seed_have_no_say(tmp_path: Path, hospital: Path, data: Path, processes: int) -> None:
    code = (
        "import sys; from pathlib import Path; from medimg.border.pipeline import import_from; "
        "from medimg.border.locate import locate\n"
        "if __name__ == '__main__':\n"
        "    out = Path(sys.argv[2]); import_from(locate(sys.argv[1], out), Path(sys.argv[3]), out, "
        f"processes={processes})"
    )
    (tmp_path / "run.py").write_text(code)
    other = tmp_path / f"elsewhere{processes}" / "data"
    environment = {"LC_ALL": "C", "LANG": "tr_TR.UTF-8", "TZ": "Pacific/Kiritimati", "PYTHONHASHSEED": str(processes)}
    command = [sys.executable, str(tmp_path / "run.py"), str(hospital), str(other), str(tmp_path / "t.csv")]
    subprocess.run(command, env=os.environ | environment, check=True, capture_output=True)
    assert tree(other) == tree(data)


def test_pictures_pass_the_audit_too(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.png").write_bytes(png(1))
    (tmp_path / "t.csv").write_text(f"path,patient\nx.png,{CANARY}\n")
    import_folder(tmp_path / "a", tmp_path / "t.csv", tmp_path / "study" / "data")
    assert examine(tmp_path / "study" / "data").findings == []
    (path,) = (tmp_path / "study" / "data" / "images").rglob("*.png")
    path.write_bytes(png(1))
    reseal(tmp_path / "study" / "data")
    assert len(examine(tmp_path / "study" / "data").findings) == 1
