"""The border: no identifier gets through, pixels do, and the same input gives the same bytes."""

import csv
import io
import json
import logging
import os
import shutil
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import imagecodecs
import nibabel
import numpy as np
import pydicom
import pytest
from canary import NEEDLES, poisoned
from pictures import CANARY, tree
from PIL import Image as Pillow
from pydicom.data.data_manager import DATA_ROOT
from pydicom.dataset import Dataset
from studies import import_folder

from medimg.border.account import Summary
from medimg.border.audit import audit
from medimg.border.batch import Batch
from medimg.border.deidentify import Rules, deidentify
from medimg.border.identity import load_key, refused_path
from medimg.border.naming import is_identifying, is_plain
from medimg.border.options import Policy
from medimg.border.sources import Item, Taken
from medimg.border.staging import Staging, body
from medimg.border.statement import read_imports
from medimg.border.table import choose, is_class
from medimg.errors import BorderError, BusyError, DataError, ImageError, LabelsError, NotAnImage
from medimg.files import lock
from medimg.images import pixel_sha256, read, read_bytes
from medimg.images.scan import scan

SHIPPED = sorted(path for path in Path(DATA_ROOT).rglob("*") if path.is_file() and path.stat().st_size < 2**20)


@pytest.fixture(autouse=True)
def site_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "config" / "site.key"
    monkeypatch.setenv("MEDIMG_SITE_KEY", str(path))
    return path


def png(pixels: np.ndarray, text: str = "") -> bytes:
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    if text:
        info.add_text("Comment", text)
        info.add_itxt("Name", text, zip=True)
    buffer = io.BytesIO()
    Pillow.fromarray(pixels).save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue() + text.encode()


def jpeg(pixels: np.ndarray, text: str = "", orientation: int = 1) -> bytes:
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    exif[0x010E] = text
    buffer = io.BytesIO()
    Pillow.fromarray(pixels).save(buffer, "JPEG", comment=text.encode(), exif=exif)
    return buffer.getvalue() + text.encode()


def random(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, shape, np.uint8)


def pictures(source: Path, count: int = 12, patients: int = 6) -> Path:
    """A folder of pictures and its table."""
    source.mkdir(parents=True)
    lines = ["path,patient,sex,age,site,label,comment"]
    for number in range(count):
        name = f"{CANARY}/{number}.jpeg" if number % 2 else f"{number}.png"
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_bytes((jpeg if number % 2 else png)(random(number, 16, 16), CANARY))
        age = 88 + number
        lines.append(f"{name},{CANARY} {number % patients},f,{age},{CANARY},{'ab'[number % 2]},{CANARY} {number}")
    table = source.with_suffix(".csv")
    table.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return table


def test_no_canary_of_a_real_file_gets_through(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    source, out = tmp_path / CANARY, tmp_path / "study" / "data"
    source.mkdir()
    caplog.set_level(logging.DEBUG)
    pixels = set()
    for number, path in enumerate(SHIPPED):
        data = poisoned(path, readable=True)
        if data is not None:
            (source / f"{CANARY}-{number}.dcm").write_bytes(data)
            try:
                pixels.update(scan(data, "", pixel_sha256)[1])
            except (ImageError, NotAnImage):
                continue
    nifti = nibabel.Nifti1Image(random(1, 4, 5, 1), np.eye(4))
    nifti.header["descrip"], nifti.header["aux_file"], nifti.header["db_name"] = CANARY, CANARY, CANARY
    nifti.header["intent_name"] = CANARY
    nifti.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", CANARY.encode()))
    rows = ["path;patient;sex;label;comment;reader"]
    for name, data in (
        (f"{CANARY}.nii", bytes(nifti.to_bytes())),
        (f"{CANARY}.png", png(random(2, 9, 7), CANARY)),
        (f"{CANARY}.jpg", jpeg(random(3, 16, 8), CANARY)),
        (f"{CANARY}-turned.jpg", jpeg(random(4, 16, 8), CANARY, orientation=6)),
    ):
        (source / name).write_bytes(data)
        rows.append(f"{name};{CANARY} {len(rows)};{CANARY};a;{CANARY};{CANARY}")
    table = tmp_path / "labels.csv"
    table.write_text("\n".join(rows), encoding="utf-8-sig")
    capfd.readouterr()
    caplog.clear()
    summary = import_folder(source, table, out)
    assert summary.imported >= 60
    assert {shown for path in out.rglob("*.dcm") for shown in scan(path.read_bytes(), "", pixel_sha256)[1]} <= pixels
    said = "".join(capfd.readouterr()) + caplog.text + repr(summary)
    assert CANARY.lower() not in said.lower()
    for name, data in tree(out.parent).items():
        assert CANARY.lower() not in name.lower()
        for needle in NEEDLES:
            assert needle not in data.lower(), name
        if name.endswith((".nii", ".png")):
            assert read_bytes(data).pixels.size


def real_dicom() -> list[Path]:
    found = []
    for path in SHIPPED:
        try:
            if read(path).facts.format == "dicom":
                found.append(path)
        except (ImageError, NotAnImage):
            continue
    return found


def test_pixels_and_safe_facts_of_real_files_are_the_same_after(tmp_path: Path) -> None:
    files = {load_key().file(body(path.read_bytes())): path for path in real_dicom()}
    source, out = tmp_path / "source", tmp_path / "data"
    source.mkdir()
    for number, path in enumerate(files.values()):
        shutil.copy(path, source / str(number))
    import_folder(source, None, out)
    written = sorted(out.rglob("*.dcm"))
    assert len(written) >= 40
    for after_path in written:
        path = files[after_path.stem]
        before, after = read(path), read(after_path)
        assert pixel_sha256(before.pixels) == pixel_sha256(after.pixels), path.name
        kept = ("channels", "height", "width", "bits", "spacing_row", "spacing_column", "sex")
        assert [getattr(before.facts, name) for name in kept] == [getattr(after.facts, name) for name in kept]
        assert after.facts.patient == after_path.parent.name


def test_the_same_input_gives_the_same_bytes_in_any_order_and_twice(tmp_path: Path) -> None:
    table = pictures(tmp_path / "a")
    lines = table.read_text(encoding="utf-8").splitlines()
    mirrored = tmp_path / "b"
    for path in sorted((tmp_path / "a").rglob("*"), reverse=True):
        if path.is_file():
            target = mirrored / path.relative_to(tmp_path / "a")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    other = tmp_path / "b.csv"
    other.write_text("\n".join([lines[0], *reversed(lines[1:])]), encoding="utf-8")
    first = import_folder(tmp_path / "a", table, tmp_path / "one" / "data")
    import_folder(mirrored, other, tmp_path / "two" / "data")
    assert tree(tmp_path / "one" / "data") == tree(tmp_path / "two" / "data")
    before = tree(tmp_path / "one")
    again = import_folder(tmp_path / "a", table, tmp_path / "one" / "data")
    assert tree(tmp_path / "one") == before
    assert again == replace(first, batch=None, imported=0, already=first.imported)


def test_labels_cross_as_pseudonyms_classes_and_pooled_ages(tmp_path: Path) -> None:
    table = pictures(tmp_path / "a")
    summary = import_folder(tmp_path / "a", table, tmp_path / "data")
    rows = [line.split(",") for line in (tmp_path / "data" / "labels.csv").read_text().splitlines()]
    assert rows[0] == ["path", "patient", "sex", "age", "site", "label"]
    assert summary == Summary(1, 12, 0, 0, 0, 0, {}, 0, 0, {"label": ["a", "b"]}, ["comment"], 6)
    assert sorted(row[3] for row in rows[1:]) == ["88", "89", *["90"] * 10]
    assert {row[2] for row in rows[1:]} == {"F"}
    assert len({row[1] for row in rows[1:]}) == 6
    assert len({row[4] for row in rows[1:]}) == 1
    assert [row[0] for row in rows[1:]] == sorted(row[0] for row in rows[1:])


def test_labels_imported_again_change_what_they_name_and_leave_the_rest(tmp_path: Path) -> None:
    table = pictures(tmp_path / "a")
    out = tmp_path / "data"
    import_folder(tmp_path / "a", table, out)
    lines = table.read_text(encoding="utf-8").splitlines()
    names = lines[0].split(",")
    second = tmp_path / "second.csv"
    rows = [dict(zip(names, next(csv.reader([line])), strict=True)) for line in lines[1:]]
    text = "".join(f"{row['path']},{row['patient']},{number % 2}\n" for number, row in enumerate(rows))
    second.write_text("path,patient,grade\n" + text, encoding="utf-8")
    before = list(csv.DictReader((out / "labels.csv").open()))
    summary = import_folder(tmp_path / "a", second, out)
    after = list(csv.DictReader((out / "labels.csv").open()))
    assert summary.imported == 0
    assert summary.relabelled == 12
    assert "the labels of 12 images have changed" in str(summary)
    assert {row["grade"] for row in after} == {"0", "1"}
    assert [{name: row[name] for name in before[0]} for row in after] == before


def test_which_files_were_refused_is_told_beside_the_key_and_to_its_owner_alone(tmp_path: Path) -> None:
    table = pictures(tmp_path / "a")
    (tmp_path / "a" / "broken.png").write_bytes(png(random(1, 8, 8))[:-20])
    summary = import_folder(tmp_path / "a", table, tmp_path / "data")
    listed = refused_path()
    assert listed.stat().st_mode & 0o777 == 0o600
    rows = list(csv.DictReader(listed.open()))
    assert [row["path"] for row in rows] == ["broken.png"]
    assert sum(summary.refused.values()) == 1
    assert str(listed) in str(summary)
    assert not (tmp_path / "data" / "refused.csv").exists()


def test_when_nothing_matches_the_import_says_what_stood_in_the_way(tmp_path: Path) -> None:
    table = pictures(tmp_path / "a")
    names, *lines = table.read_text(encoding="utf-8").splitlines()
    table.write_text("\n".join([names, *(f"elsewhere/{line}" for line in lines)]), encoding="utf-8")
    with pytest.raises(
        BorderError, match=r"0 of 12 rows of the table match a file by their path\. Its column path must name each"
    ):
        import_folder(tmp_path / "a", table, tmp_path / "data")


def test_rows_of_refused_files_are_not_said_to_match_none(tmp_path: Path) -> None:
    table = pictures(tmp_path / "a")
    names, *lines = table.read_text(encoding="utf-8").splitlines()
    table.write_text("\n".join([names.replace("patient", "who"), *lines]), encoding="utf-8")
    with pytest.raises(BorderError, match=r"\(neither header nor table says whose image it is\)\. 12 of 12 rows"):
        import_folder(tmp_path / "a", table, tmp_path / "data")


def test_a_column_of_file_names_counts_as_path_where_it_names_files(tmp_path: Path) -> None:
    table = pictures(tmp_path / "a")
    names, *lines = table.read_text(encoding="utf-8").splitlines()
    table.write_text("\n".join([names.replace("path", "FileName"), *lines]), encoding="utf-8")
    assert import_folder(tmp_path / "a", table, tmp_path / "data").imported == 12
    elsewhere = "\n".join([names.replace("path", "FileName"), *(f"elsewhere/{line}" for line in lines)])
    table.write_text(elsewhere, encoding="utf-8")
    with pytest.raises(LabelsError, match="values of patient have rows"):  # so it is a label like any other
        import_folder(tmp_path / "a", table, tmp_path / "data2")


def test_a_column_kept_by_force_is_kept_and_stated(tmp_path: Path) -> None:
    table = pictures(tmp_path / "a")
    table.write_text(table.read_text().replace("comment", "score"), encoding="utf-8")
    assert import_folder(tmp_path / "a", table, tmp_path / "data").dropped_columns == ["score"]
    summary = import_folder(tmp_path / "a", table, tmp_path / "data", keep=["score"])
    assert (summary.batch, summary.imported, summary.dropped_columns) == (2, 0, [])
    assert "score" in (tmp_path / "data" / "labels.csv").read_text().partition("\n")[0]
    assert read_imports(tmp_path / "data").statements[1]["forced_columns"] == ["score"]


def test_a_second_batch_keeps_the_first(tmp_path: Path) -> None:
    out = tmp_path / "data"
    table = pictures(tmp_path / "a")
    import_folder(tmp_path / "a", table, out)
    before = tree(out)
    more = tmp_path / "more"
    more.mkdir()
    (more / "x.png").write_bytes(png(random(99, 8, 8)))
    (tmp_path / "more.csv").write_text(f"path,patient,label\nx.png,{CANARY} 3,a\n")
    summary = import_folder(more, tmp_path / "more.csv", out)
    assert (summary.batch, summary.imported) == (2, 1)
    after = tree(out)
    assert {name for name in before if after.get(name) != before[name]} == {"labels.csv"}
    assert len(after["labels.csv"].splitlines()) == 14
    vouched = read_imports(out)
    assert sorted(vouched.sha256) == sorted(name for name in after if not name.startswith("imports/"))
    assert set(before["labels.csv"].splitlines()) <= set(after["labels.csv"].splitlines())


def test_what_a_crash_left_behind_is_written_over_and_vouched_for(tmp_path: Path) -> None:
    out = tmp_path / "data"
    table = pictures(tmp_path / "a")
    import_folder(tmp_path / "a", table, out)
    whole = tree(out)
    shutil.rmtree(out / "imports")
    (out / "labels.csv").unlink()
    victim = next(out.rglob("*.png"))
    victim.write_bytes(b"half")
    assert import_folder(tmp_path / "a", table, out).imported == 12
    assert tree(out) == whole


def test_refused_files_are_counted_and_not_copied(tmp_path: Path) -> None:
    source = tmp_path / "a"
    source.mkdir()
    (source / "good.png").write_bytes(png(random(0, 8, 8)))
    (source / "cut.png").write_bytes(png(random(1, 8, 8))[:-20])
    (source / "nobody.png").write_bytes(png(random(2, 8, 8)))
    (source / "empty").touch()
    (source / "notes.txt").write_text(CANARY)
    table = tmp_path / "t.csv"
    table.write_text("path\tpatient\n.\\good.png\t1\ncut.png\t1\nghost.png\t1\n\t1\n\t\n")
    summary = import_folder(source, table, tmp_path / "data")
    assert summary.refused == {"no-patient": 1, "truncated": 1, "unreadable": 1}
    assert (summary.imported, summary.not_images, summary.labels_unmatched, summary.images_unlabelled) == (1, 1, 3, 0)
    assert len(list((tmp_path / "data" / "images").rglob("*.*"))) == 1


def ct(**elements: object) -> bytes:
    dataset = pydicom.dcmread(next(path for path in SHIPPED if path.name == "CT_small.dcm"))
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    return buffer.getvalue()


def imported_ct(tmp_path: Path, **elements: object) -> Dataset:
    (tmp_path / "ct").mkdir()
    (tmp_path / "ct" / "a").write_bytes(ct(**elements))
    import_folder(tmp_path / "ct", None, tmp_path / "data")
    return pydicom.dcmread(next((tmp_path / "data").rglob("*.dcm")))


def test_a_header_keeps_what_the_profile_names_and_no_more(tmp_path: Path) -> None:
    written = imported_ct(
        tmp_path, PatientAge="093Y", BodyPartExamined=CANARY.upper(), Manufacturer="GE Medical Systems", StationName="X"
    )
    source = pydicom.dcmread(io.BytesIO(ct()))
    assert written.PatientAge == "090Y"
    assert not written.get("BodyPartExamined")
    assert "StationName" not in written
    assert written.Manufacturer == "GE Medical Systems"
    assert written.ManufacturerModelName == source.ManufacturerModelName
    assert written.StudyDate < source.StudyDate
    assert written.PatientIdentityRemoved == "YES"
    assert "BurnedInAnnotation" not in written
    assert written.PixelSpacing == source.PixelSpacing
    assert written.RescaleIntercept == source.RescaleIntercept
    assert written.StudyInstanceUID.startswith("2.25.")
    assert written.PixelData == source.PixelData


@pytest.mark.parametrize(
    "elements",
    [{"BurnedInAnnotation": "YES"}, {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}],
    ids=["says so", "secondary capture"],
)
def test_text_in_the_pixels_is_refused(tmp_path: Path, elements: dict[str, object]) -> None:
    with pytest.raises(BorderError, match="1 burned-in"):
        imported_ct(tmp_path, **elements)
    assert not (tmp_path / "data" / "images").exists()


def test_header_and_table_that_name_different_patients_conflict(tmp_path: Path) -> None:
    (tmp_path / "ct").mkdir()
    (tmp_path / "ct" / "a").write_bytes(ct(PatientID="1"))
    (tmp_path / "t.csv").write_text("path,patient\na,2\n")
    with pytest.raises(BorderError, match="1 conflict"):
        import_folder(tmp_path / "ct", tmp_path / "t.csv", tmp_path / "data")


def test_another_key_gives_other_pseudonyms_and_is_not_mixed(tmp_path: Path, site_key: Path) -> None:
    table = pictures(tmp_path / "a")
    import_folder(tmp_path / "a", table, tmp_path / "one")
    site_key.unlink()
    with pytest.raises(BorderError, match="another site key"):
        import_folder(tmp_path / "a", table, tmp_path / "one")
    import_folder(tmp_path / "a", table, tmp_path / "two")
    names = [{path.name for path in (tmp_path / out / "images").iterdir()} for out in ("one", "two")]
    assert not names[0] & names[1]


def test_the_key_is_private_stable_and_refused_when_others_can_read_it(site_key: Path) -> None:
    first = load_key()
    assert site_key.stat().st_mode & 0o777 == 0o600
    assert site_key.parent.stat().st_mode & 0o777 == 0o700
    assert load_key().secret == first.secret
    assert first.secret.hex() not in repr(first)
    site_key.chmod(0o640)
    with pytest.raises(BorderError, match="chmod 600"):
        load_key()
    site_key.chmod(0o600)
    site_key.write_text("short")
    with pytest.raises(BorderError, match="32 bytes"):
        load_key()


@pytest.mark.parametrize(
    ("text", "needle"),
    [
        ("file,label\na,b\n", "none of its 2 cells"),
        ("path,patient,label\n0.png,1,a\n\n0.png,1,b\n", r"1 values of path .* contradict .*\(line 4, and one above"),
        ("path,patient\n0.png,1,2\n", r"1 rows have more or fewer .*\(line 2\)"),
        ("path,patient,label,label\n", "two of the same"),
        ("", "empty"),
    ],
)
def test_a_table_that_cannot_be_used_stops_before_anything_is_written(tmp_path: Path, text: str, needle: str) -> None:
    pictures(tmp_path / "a")
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(LabelsError, match=needle):
        import_folder(tmp_path / "a", tmp_path / "t.csv", tmp_path / "data")
    with pytest.raises(LabelsError, match=r"There is no .*absent\.csv"):
        import_folder(tmp_path / "a", tmp_path / "absent.csv", tmp_path / "data")
    assert not (tmp_path / "data").exists()
    assert not (tmp_path / ".medimg").exists()


@pytest.mark.parametrize(
    ("text", "keep", "count"),
    [
        (f"1.png,{CANARY},1\n2.png,{CANARY},0\n", [], 3),
        (f"{CANARY},{CANARY},1\n", [], 3),
        (f"{CANARY},,1,0\n", [], 4),
        (f"path,{CANARY}\n1.png,1\n", ["score"], 1),
    ],
    ids=["no header", "no header, a cell twice", "no header, an empty cell", "keep"],
)
def test_no_message_quotes_the_first_row_of_a_table(tmp_path: Path, text: str, keep: list[str], count: int) -> None:
    pictures(tmp_path / "a")
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(LabelsError, match=rf" {count} (cells|columns|label columns)") as caught:
        import_folder(tmp_path / "a", tmp_path / "t.csv", tmp_path / "data", keep)
    assert CANARY not in str(caught.value)


def test_a_table_by_patient_labels_dicom(tmp_path: Path) -> None:
    (tmp_path / "ct").mkdir()
    lines = ["patient_id,label"]
    for number in range(4):
        (tmp_path / "ct" / str(number)).write_bytes(ct(PatientID=f"{number}", SOPInstanceUID=f"1.2.{number}"))
        lines.append(f"{number},{'ab'[number % 2]}")
    (tmp_path / "t.csv").write_text("\n".join(lines))
    summary = import_folder(tmp_path / "ct", tmp_path / "t.csv", tmp_path / "data")
    assert (summary.imported, summary.patients, summary.labels_unmatched) == (4, 4, 0)
    assert (tmp_path / "data" / "labels.csv").read_text().count(",a\n") == 2


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (["PatientName", "birth_year", "StudyDate", "image_id", "e-mail", "DOB", "physicianOnDuty"], True),
        (["Nachname", "Geburtsdatum", "Hausarzt", "Ärztin", "Straße", "PLZ", "Bemerkungen", "referrer"], True),
        (["nom", "prénom", "né_naissance", "médecin", "adresse", "remarques", "commentaire"], True),
        (["nombre", "apellidos", "fecha", "médico", "DIRECCIÓN", "teléfono", "observaciones"], True),
        (["Befund", "untersuchung", "lésion", "hallazgo", "diagnosed", "Seite"], False),
        (["label", "covid", "thyroid", "finding", "density_grade", "BIRADS", "rapid"], False),
    ],
)
def test_column_names_that_sound_like_a_person_are_known(columns: list[str], expected: bool) -> None:
    assert {is_identifying(column) for column in columns} == {expected}


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (["finding", "label", "subtype", "lesion", "grade", "nodule", "pleural_effusion", "covid19", "dr", "DR"], True),
        (
            ["dr_grade", "mr_lesion", "T_stage", "KL-grade", "idh1", "1p19q", "grade_3_or_4", "Läsion", "норма", "रोग"],
            True,
        ),
        (
            ["No Finding", "Lung Opacity", "Support Devices", "Nodule/Mass", "dr_referable", "x", "CHEST PA", "x" * 32],
            True,
        ),
        (["4711", "MRN4711", "case_2021", "A123", "12_03", "d_12_03_61", "12", "2021-03-02", "٢٠٢١", "x" * 33], False),
        (["Dr Smith", "dr_smith", "DrSmith", "Prof. Huber", "herr_maier", "mrs-jones", "Mme_Dupont"], False),
        (
            ["Hans Huber", "Doe^John", "a@b.de", "huber.", "_x", "x_", "x\n", "", " ", "-", "was it seen by Maier"],
            False,
        ),
    ],
)
def test_a_column_s_name_is_plain_if_it_is_a_label_s(columns: list[str], expected: bool) -> None:
    assert [column for column in columns if is_plain(column) is not expected] == []
    rows = [{"patient": f"P{n}"} | dict.fromkeys(columns, "ab"[n % 2]) for n in range(12)]
    assert choose(columns, rows, []) == ((columns, []) if expected else ([], columns))
    assert choose(columns, rows, columns) == (columns, [])


def test_columns_cross_when_they_look_like_classes() -> None:
    rows = [
        {"patient": f"P{n}", "label": str(n % 2), "free": f"text {n}", "long": "x" * 33, "rare": str(n % 6)}
        for n in range(10)
    ]
    columns = ["label", "free", "long", "rare"]
    assert choose(columns, rows, []) == (["label"], ["free", "long", "rare"])
    assert choose(columns, rows, ["long"]) == (["label", "long"], ["free", "rare"])


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (
            ["0", "12", "999", "-1", "+2,5", "0.125", "T1", "stage_II", "BIRADS-4", "Läsion", "норма", "रोग", "A+B"],
            True,
        ),
        (["2021", "2021-03-02", "02.03.2021", "02/03", "12:30", "1.2345", "210302", "T123", "²⁰²¹", "٢٠٢١"], False),
        (["Hans Huber", "Miller Clinic Mr Jones 0", "a@b", "Huber,", "Doe^John", "x-", "_x", "T1N0", "", "x\n"], False),
        (["x" * 32], True),
        (["x" * 33], False),
    ],
)
def test_a_class_is_a_small_number_or_one_word(values: list[str], expected: bool) -> None:
    assert [value for value in values if is_class(value) is not expected] == []


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("diagnosed", ["2021-03-02", "2021-03-03"]),
        ("untersuchung", ["02.03.2021", "03.03.2021"]),
        ("year", ["1961", "1962"]),
        ("sent_by", ["Miller Clinic Mr Jones 0", "Miller Clinic Mr Jones 1"]),
        ("arzt", ["Huber", "Maier"]),
    ],
)
def test_dates_and_names_stay_behind_although_patients_share_them(column: str, values: list[str]) -> None:
    rows = [{"patient": f"P{n}", column: values[n % 2]} for n in range(12)]
    assert choose([column], rows, []) == ([], [column])


def test_a_value_of_one_patient_keeps_its_column_behind() -> None:
    rows = [{"patient": f"P{n // 2}", "label": "ab"[n // 2 % 2]} for n in range(12)]
    assert choose(["label"], rows, []) == (["label"], [])
    rows[0]["label"] = rows[1]["label"] = "Huber"
    assert choose(["label"], rows, []) == ([], ["label"])


def test_many_values_or_many_for_so_few_patients_stay_behind() -> None:
    def kept(values: int, patients: int) -> list[str]:
        rows = [{"patient": f"P{n}", "label": f"{value}"} for n in range(patients) for value in range(values)]
        return choose(["label"], rows, [])[0]

    assert (kept(20, 60), kept(21, 60)) == (["label"], [])
    assert (kept(2, 4), kept(3, 4)) == (["label"], [])


def test_the_import_shows_the_columns_that_crossed_with_their_first_values(tmp_path: Path) -> None:
    table = pictures(tmp_path / "a", count=24, patients=24)
    lines = table.read_text().splitlines()
    table.write_text("\n".join([lines[0] + ",grade", *(f"{line},{n % 9}" for n, line in enumerate(lines[1:]))]))
    summary = import_folder(tmp_path / "a", table, tmp_path / "data")
    shown = "label (a, b), grade (0, 1, 2, 3, 4, 5, 6, 7 and 1 more)"
    assert f"crossed as they are: {shown}: check that no name and no value names a person" in str(summary).splitlines()
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "0").write_bytes(ct())
    assert "crossed" not in str(import_folder(tmp_path / "b", None, tmp_path / "other"))


def test_a_later_batch_cannot_bring_a_name_in_a_column_that_crossed(tmp_path: Path) -> None:
    out = tmp_path / "data"
    import_folder(tmp_path / "a", pictures(tmp_path / "a"), out)
    before = tree(out)
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "x.png").write_bytes(png(random(99, 8, 8)))
    (tmp_path / "more.csv").write_text("path,patient,label\nx.png,1,Hans Huber\n")
    with pytest.raises(BorderError, match=r"labels\.csv: column 6 holds a value that is no class") as caught:
        import_folder(tmp_path / "more", tmp_path / "more.csv", out)
    assert "Huber" not in str(caught.value)
    assert tree(out) == before
    assert import_folder(tmp_path / "more", tmp_path / "more.csv", out, ["label"]).imported == 1


def test_a_file_that_would_cross_with_other_pixels_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medimg.border.pixels.clean_picture", lambda data, image: (png(random(99, 16, 16)), ".png"))
    rules = Rules(load_key(tmp_path / "key"), each_image_is_a_patient=True)
    with pytest.raises(ImageError, match="corrupt: what may cross of the file does not show the same pixels"):
        deidentify(png(random(98, 16, 16)), "a", rules)


@pytest.mark.parametrize("text", ["{", "", "[]", "{}", '{"batch": 1}', '{"manifest_sha256": "0"}', "\udcff"])
def test_a_damaged_statement_vouches_for_nothing(tmp_path: Path, text: str) -> None:
    import_folder(tmp_path / "a", pictures(tmp_path / "a"), tmp_path / "data")
    (tmp_path / "data" / "imports" / "0001.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(DataError, match="is not the one that its import statement names"):
        read_imports(tmp_path / "data")


def test_files_that_are_no_regular_files_are_not_waited_for(tmp_path: Path) -> None:
    table = pictures(tmp_path / "a")
    os.mkfifo(tmp_path / "a" / "pipe")
    assert import_folder(tmp_path / "a", table, tmp_path / "data").refused == {"unreadable": 1}


def test_paths_may_start_at_the_table(tmp_path: Path) -> None:
    table = pictures(tmp_path / "a")
    lines = table.read_text().splitlines()
    table.write_text("\n".join([lines[0], *("a/" + line for line in lines[1:])]))
    assert import_folder(tmp_path / "a", table, tmp_path / "data").images_unlabelled == 0


def test_source_and_output_are_checked_first(tmp_path: Path) -> None:
    table = pictures(tmp_path / "a")
    (tmp_path / "none").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.docx").touch()
    for source, out, needle in (
        ("absent", "data", "There is no folder"),
        ("none", "data", "no files"),
        ("a", "a/data", "in one another"),
        ("a", "full", "no import wrote"),
    ):
        with pytest.raises(BorderError, match=needle):
            import_folder(tmp_path / source, table if source == "a" else None, tmp_path / out)


def test_the_key_must_not_lie_in_the_study_nor_the_list_of_refused_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = pictures(tmp_path / "a")
    study = tmp_path / "study"
    study.mkdir()
    (study / "params.yaml").touch()
    for key, out in ((study / "keys" / "site.key", study / "data"), (tmp_path / "b" / "site.key", tmp_path / "b")):
        monkeypatch.setenv("MEDIMG_SITE_KEY", str(key))
        with pytest.raises(BorderError, match="would lie in a study"):
            import_folder(tmp_path / "a", table, out)
        assert not key.parent.exists()


def test_two_ways_to_one_folder_are_one_folder(tmp_path: Path) -> None:
    table = pictures(tmp_path / "a")
    (tmp_path / "large").mkdir()
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "data").symlink_to(tmp_path / "large" / "data")
    with lock(tmp_path / "large" / ".medimg" / "import.lock", "An import"), pytest.raises(BusyError):
        import_folder(tmp_path / "a", table, tmp_path / "study" / "data")


def test_two_imports_do_not_run_at_once(tmp_path: Path) -> None:
    table = pictures(tmp_path / "a")
    with lock(tmp_path / ".medimg" / "import.lock", "An import"), pytest.raises(BusyError):
        import_folder(tmp_path / "a", table, tmp_path / "data")


def test_bytes_hidden_behind_the_compressed_pixels_of_a_png_are_gone(tmp_path: Path) -> None:
    plain = png(random(0, 8, 8))
    hidden = zlib.compress(bytes(9 * 8)) + CANARY.encode()
    chunk = b"IDAT" + hidden
    data = plain[:33] + struct.pack(">I", len(hidden)) + chunk + struct.pack(">I", zlib.crc32(chunk)) + plain[-12:]
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.png").write_bytes(data)
    (tmp_path / "t.csv").write_text("path,patient\nx.png,1\n")
    import_folder(tmp_path / "a", tmp_path / "t.csv", tmp_path / "data")
    assert not [name for name, written in tree(tmp_path / "data").items() if CANARY.encode() in written]


def test_comments_inside_dicom_codestreams_are_gone(tmp_path: Path) -> None:
    from pydicom.encaps import encapsulate

    pixels = random(5, 32, 32)
    streams = {
        "1.2.840.10008.1.2.4.50": jpeg(pixels, CANARY),
        "1.2.840.10008.1.2.4.90": imagecodecs.jpeg2k_encode(pixels, codecformat="JP2", reversible=True),
    }
    start = streams["1.2.840.10008.1.2.4.90"].find(b"\xff\x4f\xff\x51")
    size = 4 + int.from_bytes(streams["1.2.840.10008.1.2.4.90"][start + 4 : start + 6], "big")
    comment = b"\xff\x64" + struct.pack(">HH", 4 + len(CANARY), 1) + CANARY.encode()
    stream = streams["1.2.840.10008.1.2.4.90"]
    streams["1.2.840.10008.1.2.4.90"] = stream[: start + size] + comment + stream[start + size :] + CANARY.encode()
    (tmp_path / "a").mkdir()
    for syntax, frame in streams.items():
        dataset = pydicom.dcmread(io.BytesIO(ct()))
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.Rows = dataset.Columns = 32
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
        dataset.add_new("PixelData", "OB", encapsulate([frame]))
        dataset["PixelData"].is_undefined_length = True
        dataset.save_as(tmp_path / "a" / syntax)
    summary = import_folder(tmp_path / "a", None, tmp_path / "data")
    assert summary.imported == 2
    assert not [name for name, written in tree(tmp_path / "data").items() if CANARY.encode() in written]


def test_the_audit_finds_what_should_not_be_there(tmp_path: Path) -> None:
    table = pictures(tmp_path / "a")
    (tmp_path / "a" / "ct").write_bytes(ct(PatientID=f"{CANARY} 1"))
    out = tmp_path / "data"
    import_folder(tmp_path / "a", table, out)
    paths = [path.relative_to(out).as_posix() for path in sorted((out / "images").rglob("*.*"))]
    assert audit(out, [*paths, "labels.csv"]) == []
    picked = {suffix: next(path for path in paths if path.endswith(suffix)) for suffix in ("dcm", "png", "jpg")}
    (out / picked["png"]).write_bytes(png(random(0, 4, 4), CANARY))
    (out / picked["jpg"]).write_bytes(jpeg(random(0, 4, 4), CANARY))
    written = pydicom.dcmread(out / picked["dcm"])
    written.StudyDescription = CANARY
    written.save_as(out / picked["dcm"])
    (out / "labels.csv").write_text("path,patient,sex,age,site\nx,y,z,1,2\n")
    findings = audit(out, [*picked.values(), "labels.csv"])
    assert len(findings) == 4
    assert CANARY not in "".join(findings)


def test_the_audit_finds_a_preamble(tmp_path: Path) -> None:
    imported_ct(tmp_path)
    (path,) = (tmp_path / "data").rglob("*.dcm")
    name = path.relative_to(tmp_path / "data").as_posix()
    assert audit(tmp_path / "data", [name]) == []
    path.write_bytes(CANARY.encode().ljust(128, b"\0") + path.read_bytes()[128:])
    assert audit(tmp_path / "data", [name]) == [f"{name}: a preamble that is not zero"]


@pytest.mark.parametrize(
    ("column", "value"),
    [
        *(("label", value) for value in ("Hans Huber", "2021-03-02", "2021")),
        *(("patient", CANARY), ("site", CANARY), ("sex", "f"), ("path", "images/x.png")),
        *(("age", "91"), ("age", "090Y"), ("age", CANARY)),
    ],
)
def test_the_audit_looks_at_every_cell_of_the_labels(tmp_path: Path, column: str, value: str) -> None:
    name = f"P{'0' * 12}"
    cells = {"path": f"images/{name}/{'0' * 16}.png", "patient": name, "sex": "F", "age": "90", "site": "S012345"}
    cells |= {"label": "T1", "free": f"{CANARY} 1"}

    def findings(forced: list[str]) -> list[str]:
        (tmp_path / "labels.csv").write_text(f"{','.join(cells)}\n{','.join(cells.values())}\n")
        return audit(tmp_path, ["labels.csv"], forced)

    assert findings(["free"]) == []
    assert len(findings([])) == 1
    cells[column] = value
    (finding,) = findings(["free"])
    assert value not in finding.replace("labels.csv", "")
    assert len(findings(["free", "label"])) == (column != "label")


def test_a_finding_of_the_audit_lets_nothing_into_data(tmp_path: Path) -> None:
    out = tmp_path / "data"
    rules = Rules(load_key(), each_image_is_a_patient=True)
    batch = Batch("a", Staging.open(out, rules), read_imports(out), {})
    for number in range(3):
        taken = batch.staging.take(Item(CANARY, data=png(random(number, 8, 8), CANARY)))
        assert isinstance(taken, Taken)
        batch.take(f"{CANARY} {number}", taken)
    (batch.staging.data / taken.target).write_bytes(png(random(9, 8, 8), CANARY))
    with pytest.raises(BorderError, match=r"1 files that must not cross.*more than pixels in a PNG"):
        batch.finish([], 1)
    assert [(name, code) for name, code, _ in batch.refused] == [(f"{CANARY} 2", "audit")]  # to be found, and left out
    assert tree(tmp_path / ".medimg") == {"import/workers.lock": b""}
    assert not out.exists()


def test_the_statement_can_be_read_by_a_person(tmp_path: Path) -> None:
    table = pictures(tmp_path / "a")
    import_folder(tmp_path / "a", table, tmp_path / "data")
    statement = json.loads((tmp_path / "data" / "imports" / "0001.json").read_text())
    assert statement["policy"] == Policy().model_dump()
    assert statement["kept_columns"] == ["label"]
    assert statement["dropped_columns"] == 1
    assert statement["files"] == 13
    assert all(text.endswith(".") for text in statement["kept"] + statement["not_promised"])


def test_a_column_left_behind_is_named_on_the_terminal_alone(tmp_path: Path) -> None:
    table = pictures(tmp_path / "a")
    table.write_text(table.read_text().replace("comment", f"said {CANARY}"))
    said = str(import_folder(tmp_path / "a", table, tmp_path / "data"))
    assert "left behind: 1 columns whose names are not said here" in said and CANARY not in said
    table.write_text(table.read_text().replace(f"said {CANARY}", "said_once"))
    assert "left behind: said_once (" in str(import_folder(tmp_path / "a", table, tmp_path / "data"))
    assert not [name for name, written in tree(tmp_path / "data").items() if CANARY.encode() in written]


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy is not installed")
@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small.dcm", "MR_small_RLE.dcm"])
def test_dciodvfy_finds_no_new_kind_of_error(tmp_path: Path, name: str) -> None:
    import subprocess

    def errors(path: Path) -> set[str]:
        done = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, errors="replace", check=False)
        return {line for line in done.stderr.splitlines() if line.startswith("Error")}

    original = next(path for path in SHIPPED if path.name == name)
    (tmp_path / "a").mkdir()
    shutil.copy(original, tmp_path / "a" / "x")
    import_folder(tmp_path / "a", None, tmp_path / "data")
    assert errors(next((tmp_path / "data").rglob("*.dcm"))) <= errors(original)


def two_hospitals(source: Path, *issuers: str) -> None:
    """A CT of one number for each issuer; empty: names none."""
    source.mkdir()
    for number, issuer in enumerate(issuers):
        named = {"IssuerOfPatientID": issuer} if issuer else {}
        file = ct(
            PatientID="123",
            StudyInstanceUID=f"1.2.{zlib.crc32(issuer.encode())}",
            SOPInstanceUID=f"1.2.3.{number}",
            **named,
        )
        (source / f"{number}").write_bytes(file)


BY_ISSUER = Policy(issuer_of_patient_id=True)


def test_one_number_from_two_issuers_is_counted_in_one_import_and_over_two(tmp_path: Path) -> None:
    two_hospitals(tmp_path / "both", "7", "8", "8", "")
    done = import_folder(tmp_path / "both", None, tmp_path / "data")
    assert (done.patients, done.several_issuers, done.no_issuer) == (1, 1, 0)
    assert "1 patients have numbers from several issuers (0010,0021)" in str(done)
    statement = json.loads((tmp_path / "data/imports/0001.json").read_text())
    assert statement["counts"]["patients_of_several_issuers"] == 1
    assert any("PatientID alone" in line for line in statement["not_promised"])
    for name, issuer in (("first", "7"), ("second", "8")):
        two_hospitals(tmp_path / name, issuer)
    out = tmp_path / "one after the other"
    assert import_folder(tmp_path / "first", None, out).several_issuers == 0
    (tmp_path / "second/0").write_bytes(ct(PatientID="123", SOPInstanceUID="1.2.9", IssuerOfPatientID="8"))
    assert import_folder(tmp_path / "second", None, out).several_issuers == 1
    assert import_folder(tmp_path / "second", None, out).several_issuers == 1  # nothing new, but still so
    assert len(list((out / "images").iterdir())) == 1


def test_with_the_switch_a_patient_is_a_number_and_its_issuer(tmp_path: Path) -> None:
    two_hospitals(tmp_path / "both", "7", "8", "8", "")
    out, key = tmp_path / "data", load_key()
    done = import_folder(tmp_path / "both", None, out, policy=BY_ISSUER)
    assert (done.imported, done.patients, done.several_issuers, done.no_issuer) == (4, 3, 0, 1)
    expected = {key.patient(name) for name in ("123^^^7", "123^^^8", "123")}
    assert {path.name for path in (out / "images").iterdir()} == expected
    for file in out.rglob("*.dcm"):
        written = pydicom.dcmread(file)
        assert written.PatientID == file.parent.name and "IssuerOfPatientID" not in written
    (tmp_path / "t.csv").write_text("path,patient\n0,123\n1,123^^^8\n2,123\n3,123^^^8\n")
    told = import_folder(tmp_path / "both", tmp_path / "t.csv", tmp_path / "told", policy=BY_ISSUER)
    assert (told.patients, told.no_issuer) == (2, 0)
    (tmp_path / "t.csv").write_text("path,patient\n0,123^^^8\n3,124^^^8\n")
    crossed = import_folder(tmp_path / "both", tmp_path / "t.csv", tmp_path / "crossed", policy=BY_ISSUER)
    assert crossed.refused == {"conflict": 2}


@pytest.mark.parametrize("first", [True, False])
def test_the_switch_stays_as_it_was_for_one_folder(tmp_path: Path, first: bool) -> None:
    two_hospitals(tmp_path / "both", "7", "8")
    out = tmp_path / "data"
    import_folder(tmp_path / "both", None, out, policy=Policy(issuer_of_patient_id=first))
    before = tree(out)
    with pytest.raises(BorderError, match="issuer_of_patient_id"):
        import_folder(tmp_path / "both", None, out, policy=Policy(issuer_of_patient_id=not first))
    assert tree(out) == before


def test_a_row_that_fits_patients_of_several_issuers_labels_none(tmp_path: Path) -> None:
    two_hospitals(tmp_path / "both", "7", "8")
    (tmp_path / "both" / "other").write_bytes(ct(PatientID="5", SOPInstanceUID="1.2.9"))
    (tmp_path / "t.csv").write_text("patient,label\n123,a\n5,b\n")
    done = import_folder(tmp_path / "both", tmp_path / "t.csv", tmp_path / "data", policy=BY_ISSUER)
    assert (done.imported, done.refused, done.rows_of_several) == (1, {"conflict": 2}, 1)
    assert "1 rows of the labels fit several patients each" in str(done)
    assert "123" not in str(done).replace(str(tmp_path), "")
    (tmp_path / "t.csv").write_text("patient,label\n123^^^7,a\n123^^^8,b\n5,b\n")
    done = import_folder(tmp_path / "both", tmp_path / "t.csv", tmp_path / "data", policy=BY_ISSUER)
    assert (done.imported, done.refused, done.labels_unmatched, done.images_unlabelled) == (2, {}, 0, 0)


def test_an_issuer_is_one_in_capitals_or_small_and_however_it_is_spaced(tmp_path: Path) -> None:
    two_hospitals(tmp_path / "both", "Clinic  North", "CLINIC NORTH ", "Clinic South")
    assert import_folder(tmp_path / "both", None, tmp_path / "off").several_issuers == 1
    (tmp_path / "both" / "0").write_bytes(ct(PatientID="123^^^CLINIC NORTH", SOPInstanceUID="1.2.9"))
    (tmp_path / "t.csv").write_text("patient,label\n123^^^clinic North,a\n123^^^Clinic South,b\n")
    done = import_folder(tmp_path / "both", tmp_path / "t.csv", tmp_path / "data", policy=BY_ISSUER)
    assert (done.imported, done.patients, done.images_unlabelled, done.labels_unmatched) == (3, 2, 0, 0)
    (tmp_path / "t.csv").write_text("patient,label\n123,a\n")
    (tmp_path / "both" / "2").unlink()
    done = import_folder(tmp_path / "both", tmp_path / "t.csv", tmp_path / "data", policy=BY_ISSUER)
    assert (done.already, done.images_unlabelled, done.refused) == (2, 0, {})
    (tmp_path / "t.csv").write_text("patient,label\n123^^^North,a\n123^^^ north,b\n")
    with pytest.raises(LabelsError, match="rows about 1 patients contradict"):
        import_folder(tmp_path / "both", tmp_path / "t.csv", tmp_path / "other", policy=BY_ISSUER)


def test_an_accession_number_of_two_patients_labels_neither(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number in range(3):
        header = {"PatientID": f"{number}", "SOPInstanceUID": f"1.2.{number}", "AccessionNumber": f"{max(number, 1)}"}
        (tmp_path / "in" / f"{number}").write_bytes(ct(**header))
    (tmp_path / "t.csv").write_text("accession,label\n1,a\n2,b\n")
    done = import_folder(tmp_path / "in", tmp_path / "t.csv", tmp_path / "data")
    assert (done.imported, done.refused, done.rows_of_several) == (1, {"conflict": 2}, 1)


@pytest.mark.parametrize("latin", [True, False])
def test_a_column_called_as_a_person_in_a_header_stays_behind_and_is_not_said(tmp_path: Path, latin: bool) -> None:
    (tmp_path / "in").mkdir()
    columns = ["müller", "huber_reads", "OpMaier", "covid19", "brain", "grade"]
    lines = ["patient," + ",".join(columns)]
    for number in range(4):
        header = {"PatientID": f"{number}", "SOPInstanceUID": f"1.2.{number}", "PatientName": "Covid19^Brain"}
        header |= {"SpecificCharacterSet": "ISO_IR 100" if latin else "ISO_IR 192", "OperatorsName": "O^P=Maier"}
        header |= {"ReferringPhysicianName": "Müller^Anna^Dr"} | (
            {"PhysiciansOfRecord": "HUBER"} if number == 3 else {}
        )
        (tmp_path / "in" / f"{number}").write_bytes(ct(**header))
        lines.append(",".join([f"{number}", *["ab"[number % 2]] * len(columns)]))
    (tmp_path / "t.csv").write_text("\n".join(lines))
    done = import_folder(tmp_path / "in", tmp_path / "t.csv", tmp_path / "data")
    assert (list(done.kept_columns), done.dropped_columns, done.hidden_columns) == (columns[3:], [], 3)
    assert not any(name in str(done) for name in columns[:3])
    written = tree(tmp_path / "data")
    assert not [name for name in columns[:3] if any(name.encode() in data for data in written.values())]
    statement = json.loads(written["imports/0001.json"])
    assert statement["dropped_columns"] == 3
    forced = import_folder(tmp_path / "in", tmp_path / "t.csv", tmp_path / "data", [columns[0]])
    assert list(forced.kept_columns) == [*columns[3:], columns[0]]


def test_a_column_that_an_earlier_import_brought_stays_whatever_it_is_called(tmp_path: Path) -> None:
    table = pictures(tmp_path / "a")
    table.write_text(table.read_text().replace("label", "dr smith"))
    out = tmp_path / "data"
    assert import_folder(tmp_path / "a", table, out).hidden_columns == 1
    assert list(import_folder(tmp_path / "a", table, out, ["dr smith"]).kept_columns) == ["dr smith"]
    assert list(import_folder(tmp_path / "a", table, out).kept_columns) == ["dr smith"]
