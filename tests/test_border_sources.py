"""Folder, zip and tar give the same study; what is built to harm the reader is refused by name."""

import csv
import ctypes
import gzip
import io
import logging
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest
from pictures import CANARY, ct, png, study_files, tree, write_folder
from pydicom.fileset import FileSet
from studies import import_folder

from medimg.border.archive import Archive
from medimg.border.deidentify import Rules
from medimg.border.identity import load_key, refused_path, write_refused
from medimg.border.locate import Options, locate
from medimg.border.pipeline import import_from
from medimg.border.sources import Folder, Item
from medimg.border.staging import Staging, Taken
from medimg.border.statement import read_imports
from medimg.errors import BorderError


@pytest.fixture(autouse=True)
def site_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "config" / "site.key"
    monkeypatch.setenv("MEDIMG_SITE_KEY", str(path))
    return path


def pack_zip(path: Path, files: list[tuple[str, bytes]]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files:
            archive.writestr(name, data)


def pack_tar(kind: str) -> Callable[[Path, list[tuple[str, bytes]]], None]:
    def pack(path: Path, files: list[tuple[str, bytes]]) -> None:
        with tarfile.open(path, f"w:{kind}") as archive:
            folder = tarfile.TarInfo("some folder")
            folder.type = tarfile.DIRTYPE
            archive.addfile(folder)
            for name, data in files:
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))

    return pack


PACKERS = {"zip": pack_zip, **{f"tar {kind}".strip(): pack_tar(kind) for kind in ("", "gz", "bz2", "xz")}}


@pytest.mark.parametrize("kind", PACKERS)
def test_what_is_packed_within_the_source_is_refused_and_never_passes_for_no_image(tmp_path: Path, kind: str) -> None:
    inner = tmp_path / "inner"
    PACKERS[kind](inner, [("one", ct(1))])
    letter = io.BytesIO()
    with zipfile.ZipFile(letter, "w") as office:
        office.writestr("[Content_Types].xml", "<Types/>")
    files = [("two", ct(2)), ("inner", inner.read_bytes()), ("letter.docx", letter.getvalue())]
    pack_zip(tmp_path / "outer.zip", files)
    (tmp_path / "folder").mkdir()
    for name, data in files:
        (tmp_path / "folder" / name).write_bytes(data)
    for source in ("outer.zip", "folder"):
        summary = import_folder(tmp_path / source, None, tmp_path / f"of {source}" / "data")
        assert (summary.imported, summary.not_images, summary.refused) == (1, 1, {"packed": 1})


@pytest.mark.parametrize("kind", PACKERS)
def test_an_archive_gives_what_its_folder_gives(
    tmp_path: Path, kind: str, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    table = write_folder(tmp_path / "folder")
    expected = import_folder(tmp_path / "folder", table, tmp_path / "one" / "data")
    PACKERS[kind](tmp_path / "packed", [*reversed(list(study_files()))])
    capfd.readouterr()
    caplog.clear()
    summary = import_folder(tmp_path / "packed", table, tmp_path / "two" / "data")
    assert summary == expected
    assert (summary.imported, summary.copies, summary.not_images, summary.refused) == (16, 1, 1, {"truncated": 1})
    assert tree(tmp_path / "one" / "data") == tree(tmp_path / "two" / "data")
    said = "".join(capfd.readouterr()) + caplog.text + str(summary)
    assert CANARY.lower() not in said.lower()
    for name, data in tree(tmp_path / "two").items():
        assert CANARY.lower() not in name.lower()
        assert CANARY.lower().encode() not in data.lower(), name


@pytest.mark.parametrize("options", [{"processes": 1}, {"processes": 3}])
def test_the_number_of_processes_changes_no_byte(tmp_path: Path, options: dict[str, int]) -> None:
    table = write_folder(tmp_path / "folder")
    first = import_folder(tmp_path / "folder", table, tmp_path / "one" / "data", processes=2)
    assert import_folder(tmp_path / "folder", table, tmp_path / "two" / "data", **options) == first
    assert tree(tmp_path / "one" / "data") == tree(tmp_path / "two" / "data")


def test_names_that_lead_out_and_links_are_refused_by_name_and_nothing_is_unpacked(tmp_path: Path) -> None:
    room = tmp_path / "room"
    room.mkdir()
    evil = ["../evil.dcm", "/tmp/evil.dcm", "a/../../evil.dcm", "..\\evil.dcm", "C:\\evil.dcm"]
    with tarfile.open(room / "a.tar.gz", "w:gz") as archive:
        for number, name in enumerate(["good", *evil]):
            info = tarfile.TarInfo(name)
            info.size = len(ct(number))
            archive.addfile(info, io.BytesIO(ct(number)))
        for name, kind in (("soft", tarfile.SYMTYPE), ("hard", tarfile.LNKTYPE), ("device", tarfile.BLKTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "good"
            archive.addfile(info)
    with zipfile.ZipFile(room / "a.zip", "w") as archive:
        for number, name in enumerate(["good", *evil]):
            archive.writestr(name, ct(number))
        link = zipfile.ZipInfo("soft")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    before = sorted(tree(tmp_path))
    for name, refused in (("a.tar.gz", [*evil, "soft", "hard", "device"]), ("a.zip", [*evil, "soft"])):
        out = room / name.replace(".", "") / "data"
        summary = import_folder(room / name, None, out)
        assert summary.imported == 1
        assert summary.refused == {"unsafe": len(refused)}
        listed = refused_path().read_text()
        assert all(name in listed for name in refused)
        shutil.rmtree(out.parent)
    assert sorted({*tree(tmp_path)} - {"config/site.key", "config/refused.csv"}) == before
    assert not Path("/tmp/evil.dcm").exists()


def test_a_tar_file_that_ends_with_a_zip_file_is_read_as_a_tar_file(tmp_path: Path) -> None:
    pack_zip(tmp_path / "inner", [("inside", png(0))])
    pack_tar("")(tmp_path / "outer", [("image", ct(1)), ("more.zip", (tmp_path / "inner").read_bytes())])
    assert Archive(tmp_path / "outer").names(None) == ["image", "more.zip"]


def test_a_link_to_a_folder_is_not_followed_but_is_refused_and_counted(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "b").write_bytes(ct(2))
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "a").write_bytes(ct(1))
    (tmp_path / "source" / "link").symlink_to(tmp_path / "elsewhere")
    summary = import_folder(tmp_path / "source", None, tmp_path / "study" / "data")
    assert (summary.imported, summary.refused) == (1, {"unreadable": 1})


def test_what_a_cut_off_import_staged_without_the_text_detector_is_not_taken_for_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    digests = set()
    for installed in (False, True):
        monkeypatch.setattr("medimg.border.ocr.installed", lambda said=installed: said)
        digests.add(Rules(load_key()).digest())
    assert len(digests) == 2


def bomb_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(40):
            archive.writestr(f"{CANARY} {number}", bytes(2**20))


def bomb_tar(path: Path) -> None:
    pack_tar("gz")(path, [(f"{CANARY}", bytes(40 * 2**20))])


def bomb_header(path: Path) -> None:
    """A header of a tar file that says how long it is: 20 MiB of a name."""
    with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(tarfile.TarInfo(CANARY * (20 * 2**20 // len(CANARY))))


def hollow_tar(path: Path) -> None:
    """A header that promises 8 GiB, and nothing behind it."""
    info = tarfile.TarInfo(CANARY)
    info.size = 2**33
    path.write_bytes(info.tobuf() + bytes(10240))


@pytest.mark.parametrize("make", [bomb_zip, bomb_tar, bomb_header, hollow_tar])
def test_an_archive_that_expands_too_far_is_refused_before_anything_is_imported(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    make(tmp_path / "bomb")
    source = Archive(tmp_path / "bomb", most=30 * 2**20)
    with pytest.raises(BorderError, match="expands to more than 31457280 bytes") as caught:
        import_from(source, None, tmp_path / "study" / "data")
    assert CANARY not in str(caught.value)
    assert not (tmp_path / "study").exists()


def test_a_member_that_is_too_large_is_refused_and_the_rest_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medimg.border.archive.MAX_FILE", 10**5)
    pack_zip(tmp_path / "a.zip", [("large", ct(0) + bytes(10**5)), ("good", ct(1))])
    summary = import_folder(tmp_path / "a.zip", None, tmp_path / "data")
    assert (summary.imported, summary.refused) == (1, {"memory": 1})


@pytest.mark.parametrize("kind", PACKERS)
@pytest.mark.parametrize("part", [0.3, 0.6, 0.95])
def test_an_archive_that_is_cut_off_is_damaged(tmp_path: Path, kind: str, part: float) -> None:
    PACKERS[kind](tmp_path / "whole", [(f"{CANARY}{number}", ct(number)) for number in range(6)])
    data = (tmp_path / "whole").read_bytes()
    (tmp_path / "cut").write_bytes(data[: int(len(data) * part)])
    with pytest.raises(BorderError, match=r"is damaged|is no folder, and no zip") as caught:
        import_folder(tmp_path / "cut", None, tmp_path / "data")
    assert CANARY not in str(caught.value)
    assert not (tmp_path / "data").exists()


def test_a_member_with_a_wrong_checksum_is_refused_and_the_rest_goes_on(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a", ct(0))
        archive.writestr("b", ct(1))
    data = bytearray((tmp_path / "a.zip").read_bytes())
    data[10000] ^= 255
    (tmp_path / "a.zip").write_bytes(data)
    summary = import_folder(tmp_path / "a.zip", None, tmp_path / "data")
    assert (summary.imported, summary.refused) == (1, {"unreadable": 1})


def test_an_encrypted_zip_and_a_file_that_is_no_archive_are_named(tmp_path: Path) -> None:
    pack_zip(tmp_path / "a.zip", [(CANARY, ct(0))])
    data = bytearray((tmp_path / "a.zip").read_bytes())
    at = data.rindex(b"PK\x01\x02")
    data[at + 8] |= 1
    (tmp_path / "a.zip").write_bytes(data)
    (tmp_path / "b.rar").write_bytes(b"Rar!" * 400)
    (tmp_path / "c.png").write_bytes(png(0))
    (tmp_path / "d.tar.gz").write_bytes(gzip.compress(bytes(9))[:10] + b"\xff" * 40)
    names = ("b.rar", "c.png", "d.tar.gz")
    for name, needle in (("a.zip", "is encrypted"), *((name, "no zip or tar") for name in names)):
        with pytest.raises(BorderError, match=needle) as caught:
            import_folder(tmp_path / name, None, tmp_path / "data")
        assert CANARY not in str(caught.value)


def test_a_dicomdir_is_not_trusted(tmp_path: Path) -> None:
    """It lists one file and leaves out another; both that lie there are read, and the one that it invents is not."""
    files = FileSet()
    (tmp_path / "build").mkdir()
    for number in range(2):
        (tmp_path / "build" / str(number)).write_bytes(ct(number))
        files.add(pydicom.dcmread(tmp_path / "build" / str(number)))
    files.write(tmp_path / "cd")
    listed = sorted(path for path in (tmp_path / "cd").rglob("*") if path.is_file() and path.name != "DICOMDIR")
    listed[0].unlink()
    (tmp_path / "cd" / "not listed").write_bytes(ct(7))
    summary = import_folder(tmp_path / "cd", None, tmp_path / "data")
    assert (summary.imported, summary.not_images, summary.refused) == (2, 1, {})


def test_images_that_name_nobody_are_refused_unless_each_is_a_patient(tmp_path: Path) -> None:
    pack_zip(tmp_path / "a.zip", [("a", png(0)), ("b", png(1)), ("again", png(1)), ("ct", ct(0, PatientID=""))])
    with pytest.raises(BorderError, match=r"4 no-patient.*--each-image-is-a-patient"):
        import_folder(tmp_path / "a.zip", None, tmp_path / "data")
    summary = import_folder(tmp_path / "a.zip", None, tmp_path / "data", each_image_is_a_patient=True)
    assert (summary.imported, summary.copies, summary.patients) == (3, 1, 3)
    assert b'"each_image_is_a_patient": true' in tree(tmp_path / "data")["imports/0001.json"]
    assert "3 of them name nobody" in str(summary)


class Crashing(Item):
    def load(self) -> bytes:
        ctypes.string_at(0)
        return b""


class Mixed:
    """A source of which one item ends its process."""

    where = "mixed"
    has_paths = True

    def names(self, labels: Path | None) -> list[str]:
        return ["a", "crash", "b"]

    def items(self, room: Path) -> Iterator[Item]:
        yield Item("a", data=ct(0))
        yield Crashing("crash")
        yield Item("b", data=ct(1))


@pytest.mark.parametrize("processes", [1, 2])
def test_a_decoder_that_crashes_is_a_refusal_and_not_the_end(tmp_path: Path, processes: int) -> None:
    summary = import_from(Mixed(), None, tmp_path / "data", processes=processes)
    assert (summary.imported, summary.refused) == (2, {"crashed": 1})


def test_importing_again_brings_only_what_is_new(tmp_path: Path) -> None:
    out = tmp_path / "study" / "data"
    pack_zip(tmp_path / "a.zip", [(str(number), ct(number)) for number in range(3)])
    pack_zip(tmp_path / "b.zip", [(str(number), ct(number)) for number in range(5)])
    first = import_folder(tmp_path / "a.zip", None, out)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.dcm")}
    second = import_folder(tmp_path / "b.zip", None, out)
    assert (first.batch, second.batch, second.imported, second.already) == (1, 2, 2, 3)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert import_folder(tmp_path / "a.zip", None, out) == replace(first, batch=None, imported=0, already=3, actions={})
    assert sorted(tree(tmp_path / "study" / ".medimg")) == ["import.lock", "import/workers.lock"]


@pytest.mark.parametrize("name", ["images/{}.dcm", "images/P0123/{}.dcm", "{}", "imports/{}.csv", "{}/a"])
def test_a_file_put_into_data_by_hand_is_told_by_the_next_import_and_not_named(tmp_path: Path, name: str) -> None:
    out = tmp_path / "data"
    pack_zip(tmp_path / "a.zip", [("a", ct(0))])
    import_folder(tmp_path / "a.zip", None, out)
    stray = out / name.format(CANARY)
    stray.parent.mkdir(exist_ok=True)
    stray.write_bytes(ct(1))
    with pytest.raises(BorderError, match=r"holds 1 files that no import wrote.*dvc gc") as caught:
        import_folder(tmp_path / "a.zip", None, out)
    assert CANARY not in str(caught.value)


def test_an_import_goes_on_from_what_another_had_staged_and_forgets_what_it_does_not_need(tmp_path: Path) -> None:
    out = tmp_path / "data"
    staging = Staging.open(out, Rules(load_key()))
    staged = []
    for number in (0, 1, 9):  # the last is in no source of the next
        taken = staging.take(Item(CANARY, data=ct(number)))
        assert isinstance(taken, Taken)
        staged.append(staging.data / taken.target)
    torn = staging.data / staged[0].relative_to(staging.data).with_name(".partial-x")
    torn.write_bytes(b"half")
    inodes = {path.name: path.stat().st_ino for path in staged}
    staged[1].write_bytes(b"half")
    pack_zip(tmp_path / "a.zip", [(str(number), ct(number)) for number in range(3)])
    assert import_folder(tmp_path / "a.zip", None, out).imported == 3
    moved = {path.name: path.stat().st_ino for path in out.rglob("*.dcm")}
    assert len(moved) == 3
    assert [moved.get(path.name) == inodes[path.name] for path in staged] == [True, False, False]
    assert not list(out.rglob(".partial-*"))


def test_other_rules_start_anew(tmp_path: Path) -> None:
    out = tmp_path / "data"
    first = Staging.open(out, Rules(load_key()))
    first.take(Item("a", data=ct(0)))
    second = Staging.open(out, Rules(load_key(), each_image_is_a_patient=True))
    assert second.folder != first.folder
    assert not first.folder.exists()


@pytest.mark.skipif(
    not Path("/dev/shm").is_dir() or Path("/dev/shm").stat().st_dev == Path("/tmp").stat().st_dev,
    reason="one disk only",
)
def test_data_on_a_disk_of_its_own_is_filled_as_well(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as other:
        (tmp_path / ".medimg").symlink_to(other)
        pack_zip(tmp_path / "a.zip", [(str(number), ct(number)) for number in range(3)])
        assert import_folder(tmp_path / "a.zip", None, tmp_path / "data").imported == 3
        assert len(list((tmp_path / "data").rglob("*.dcm"))) == 3
        assert read_imports(tmp_path / "data").statements[0]["batch"] == 1


@pytest.mark.slow
def test_the_environment_of_another_machine_changes_no_byte(tmp_path: Path) -> None:
    table = write_folder(tmp_path / "folder")
    program = (
        "from pathlib import Path; from studies import import_folder\n"
        f"import_folder(Path('folder'), Path({str(table)!r}), Path('data'))"
    )
    trees = []
    for number, (zone, locale, seed) in enumerate((("UTC", "C", "0"), ("Pacific/Chatham", "tr_TR.UTF-8", "1234"))):
        machine = tmp_path / f"machine {number}"
        shutil.copytree(tmp_path / "folder", machine / "folder")
        shutil.copy(table, machine)
        environment = {"TZ": zone, "LC_ALL": locale, "PYTHONHASHSEED": seed, "OMP_NUM_THREADS": str(number + 1)}
        environment["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parent.parent)])
        subprocess.run([sys.executable, "-c", program], cwd=machine, env=os.environ | environment, check=True)
        trees.append(tree(machine / "data"))
    assert trees[0] == trees[1]
    assert len(trees[0]) == 19


@pytest.mark.parametrize("place", ["study", "study/data", "study/notes"])
def test_the_hospitals_lists_must_not_lie_in_the_study(
    tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "0.dcm").write_bytes(ct(0))
    (tmp_path / place).mkdir(parents=True)
    (tmp_path / "study" / "params.yaml").touch()
    listed = tmp_path / place / f"{CANARY}.csv"
    listed.write_text(f"patient,label\n{CANARY}0,a\n")
    listed.chmod(0o600)
    out = tmp_path / "study" / "data"
    for run in (
        lambda: import_from(Folder(tmp_path / "in"), listed, out),
        lambda: locate("dicom://PACS@127.0.0.1:1", out, Options([f"PatientID=@{listed}"])),
        lambda: locate("https://127.0.0.1:1", out, Options(["Modality=CT"], credentials=listed)),
    ):
        with pytest.raises(BorderError, match=r"the file lies in a study, .* Move it out") as caught:
            run()
        assert CANARY not in str(caught.value)
    elsewhere = tmp_path / "elsewhere" / "data"
    locate("dicom://PACS@127.0.0.1:1", elsewhere, Options([f"PatientID=@{listed}"]))
    monkeypatch.chdir(tmp_path / "study")  # to write elsewhere does not help where one stands in the study
    with pytest.raises(BorderError, match="the file lies in a study"):
        locate("dicom://PACS@127.0.0.1:1", elsewhere, Options([f"PatientID=@{listed}"]))
    another = tmp_path / "another"
    (another / "deep").mkdir(parents=True)
    for name in ("params.yaml", "dvc.yaml"):
        (another / name).touch()
    listed.rename(another / "deep" / listed.name)
    with pytest.raises(BorderError, match="the file lies in a study"):
        import_from(Folder(tmp_path / "in"), another / "deep" / listed.name, out)
    outside = tmp_path / "labels.csv"
    (another / "deep" / listed.name).rename(outside)
    assert import_from(Folder(tmp_path / "in"), outside, out).imported == 1


def test_imports_into_two_studies_that_end_at_once_write_their_lists_of_refused_files_one_after_the_other():
    """Both lists lie beside the site key."""
    load_key()
    rows = [[(f"{number}/{who}", "corrupt", "it ends early") for number in range(50)] for who in "ab"]
    with ThreadPoolExecutor(2) as both:
        for done in [both.submit(write_refused, rows[turn % 2]) for turn in range(60)]:
            done.result()
    found = {row[0].partition("/")[2] for row in csv.reader(refused_path().open()) if row[0] != "path"}
    assert len(found) == 1
