"""The profile: each row of Table E.1-1 at every depth, options on and off, what the table does not list."""

import io
import subprocess
import zlib
from collections import Counter
from datetime import date
from pathlib import Path
from shutil import which

import numpy as np
import pydicom
import pytest
import yaml
from pydicom.data.data_manager import DATA_ROOT
from pydicom.datadict import dictionary_VR

from medimg.border import audit as audit_module
from medimg.border import elements, private, profile, values
from medimg.border.actions import NUMBERS, resolve
from medimg.border.identity import SiteKey
from medimg.border.options import Policy, load_policy
from medimg.border.standard import actions, types, vocabulary
from medimg.border.values import Subject
from medimg.border.walk import Walk
from medimg.errors import BorderError, ImageError, NotAnImage
from medimg.images import codecs, pixel_sha256, read_bytes

KEY = SiteKey(bytes(32))
CT, ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4.1"
OFF = Policy(**dict.fromkeys(Policy.model_fields, False))
ON = Policy(**dict.fromkeys(Policy.model_fields, True))
CANARY = b"Zebrafink"
CHEST = b"Thoracic structure (body structure)"  # SNOMED CT's own words for 51185008
WHERE = {"top": (), "once": (0x00081115,), "three deep": (0x52009229, 0x00289110, 0x00209222), "private": (0x00991001,)}
SAMPLES = {"DA": b"20210302", "TM": b"101112.5", "DT": b"20210302101112.5+0100", "AS": b"063Y", "DS": b"17.5"}
SAMPLES |= {"IS": b"17", "UI": b"1.2.3.4.5", "US": b"\x11\x22", "OB": CANARY + b"\0", "UN": CANARY + b"\0"}
ROWS = list(actions().items())
SHIPPED = sorted(path for path in Path(DATA_ROOT).rglob("*.dcm") if path.stat().st_size < 2**20)


def tags(name: str) -> list[int]:
    """The tags that a row of the table is about: for a range, some of them."""
    if name == "private":
        return [0x00991001, 0x7FE11010]
    if "X" in name:
        return [int(name.replace("XXXX", "3000").replace("XX", number), 16) for number in ("00", "1E")]
    return [int(name, 16)]


def vr_of(tag: int) -> str:
    try:
        return dictionary_VR(tag).split(" or ")[0]
    except KeyError:
        return "LO"


def sample(tag: int, vr: str) -> bytes | list:
    if vr == "SQ":
        return [[(0x00080060, "CS", b"CT"), (0x00081155, "UI", b"1.2.3"), (0x00104000, "LT", CANARY)]]
    return SAMPLES.get(vr, CANARY)


def wrapped(element: elements.Element, where: tuple[int, ...]) -> elements.Element:
    for sequence in reversed(where):
        element = (sequence, "SQ", [[element]])
    return element


def subject() -> Subject:
    return Subject(KEY, "P1", 10)


def done(element: elements.Element, where: tuple[int, ...], policy: Policy, sop: str = CT) -> elements.Element | None:
    """What is left of an element put at a place; None if nothing is."""
    found = Walk(policy, sop).data_set([wrapped(element, where)], subject(), Counter())
    for _ in where:
        if not found or not found[0][2]:
            return None
        found = found[0][2][0]
    return found[0] if found else None


def texts(value: bytes | list) -> bytes:
    return value if isinstance(value, bytes) else b"".join(texts(v) for item in value for _, _, v in item)


def wrong(basic: str, before: elements.Element, after: elements.Element | None, where: str) -> str:
    """Why what is left is not what the basic action allows; empty if it is."""
    if where == "private" or basic == "X":
        return "" if after is None else "is still there"
    if after is None:
        return "" if "X" in basic else "is gone"
    value = after[2]
    if CANARY in texts(value) or value == before[2]:
        return "holds what it held"
    if basic == "U":
        return "" if value.startswith(b"2.25.") else "is no new UID"
    return "is empty" if not value and "Z" not in basic else ""


def test_the_table_has_621_rows() -> None:
    assert len(ROWS) == 621


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("sop", [CT, ENHANCED_MR, "1.2.840.10008.5.1.4.1.1.88.11", "1.2.3"])
def test_every_row_of_the_table_gets_its_action_when_all_options_are_off(where: str, sop: str) -> None:
    misses = {}
    for name, row in ROWS:
        for tag in tags(name):
            if tag == 0x00100020 and where == "top":
                continue  # PatientID: the profile writes the pseudonym
            before = (tag, vr_of(tag), sample(tag, vr_of(tag)))
            why = wrong(row["basic"], before, done(before, WHERE[where], OFF, sop), where)
            if why:
                misses[f"{tag:08X}"] = why
    assert not misses


@pytest.mark.parametrize("where", [name for name in WHERE if name != "private"])
def test_every_row_with_dates_is_moved_when_dates_are_kept(where: str) -> None:
    expected = {"DA": b"20210220", "TM": SAMPLES["TM"], "DT": b"20210220101112.5+0100"}
    policy = OFF.model_copy(update={"retain_longitudinal": True})
    seen = 0
    for name, row in ROWS:
        tag = tags(name)[0]
        if row["modified_dates"] and vr_of(tag) in expected:
            after = done((tag, vr_of(tag), SAMPLES[vr_of(tag)]), WHERE[where], policy)
            assert after is not None, name
            assert after[2] == expected[vr_of(tag)], name
            seen += 1
    assert seen == 162


def test_every_option_changes_the_rows_of_its_column_and_no_other() -> None:
    columns = {"retain_longitudinal": "modified_dates", "retain_institution": "institution"}
    columns |= {"clean_descriptors": "descriptors", "retain_patient_characteristics": "patient"}
    for option, column in columns.items():
        policy = OFF.model_copy(update={option: True})
        changed = set()
        for name, _ in ROWS:
            tag = tags(name)[0]
            vr = vr_of(tag)
            value = b"CHEST" if vr in ("LO", "SH", "ST", "LT", "UT", "UC", "CS") else sample(tag, vr)
            before = (tag, vr, b"F" if tag == 0x00100040 else value)
            if tag != 0x00100020 and done(before, (), OFF) != done(before, (), policy):
                changed.add(name)
        listed = {name for name, row in ROWS if row[column]}
        assert changed <= listed
        assert len(changed) >= {"patient": 2}.get(column, 0.9 * len(listed) - 1)


@pytest.mark.parametrize(
    ("basic", "expected"),
    [
        ("X", "XXX"),
        ("Z", "DZZ"),
        ("D", "DDD"),
        ("Z/D", "DZZ"),
        ("X/Z", "ZZX"),
        ("X/D", "DDX"),
        ("X/Z/D", "DZX"),
        ("X/Z/U*", "UUX"),
    ],
)
def test_a_compound_action_follows_the_type_of_the_attribute(basic: str, expected: str) -> None:
    assert "".join(resolve(basic, required) for required in (1, 2, 3)) == expected


@pytest.mark.parametrize(
    ("tag", "parent", "sop", "expected"),
    [
        (0x00080023, 0, CT, 2),  # Content Date: Type 2C in General Image
        (0x00080080, 0, CT, 3),  # Institution Name
        (0x00181000, 0, ENHANCED_MR, 1),  # Device Serial Number: Type 1 in Enhanced General Equipment
        (0x00080070, 0, CT, 2),  # Manufacturer
        (0x00081155, 0x00081140, CT, 1),  # Referenced SOP Instance UID
    ],
)
def test_types_are_those_of_the_standard(tag: int, parent: int, sop: str, expected: int) -> None:
    found = types().nested.get((parent, tag), 3) if parent else types().top[sop].get(tag, 3)
    assert found == expected


def test_what_the_table_does_not_list_stays_if_it_cannot_name_anybody() -> None:
    kept = {
        0x00180050: ("DS", b"2.5"), 0x00200013: ("IS", b"7"), 0x00280010: ("US", b"\x10\0"), 0x00180088: ("DS", b"3"),
        0x00080060: ("CS", b"MR"), 0x00080016: ("UI", CT.encode()), 0x00189087: ("FD", bytes(8)),
    }  # fmt: skip
    gone = {
        0x00180024: ("SH", CANARY), 0x00180015: ("CS", CANARY.upper()), 0x00081190: ("UR", CANARY),
        0x00282000: ("OB", CANARY), 0x00189004: ("CS", CANARY), 0x00080302: ("ST", CANARY), 0x22221111: ("IS", b"1"),
    }  # fmt: skip
    for policy in (OFF, ON):
        for tag, (vr, value) in kept.items():
            assert done((tag, vr, value), (), policy) == (tag, vr, value)
        for tag, (vr, value) in gone.items():
            assert done((tag, vr, value), (), policy) in (None, (tag, vr, b"OTHER")), f"{tag:08X}"


def test_numbers_that_are_none_or_that_name_somebody_stay_behind() -> None:
    who = Subject(KEY, "P1", 10, frozenset({b"4711123"}))
    assert values.wholes(who, b"4711123 ") is None
    assert values.wholes(who, b"4711124 ") == b"4711124 "
    assert values.decimals(who, b"1.5\\" + CANARY) is None
    assert values.decimals(who, b"1.5\\-2e3") == b"1.5\\-2e3"


def test_a_text_in_the_place_of_binary_numbers_stays_behind() -> None:
    """By what the file itself calls it, or because there is room for it where the standard has fewer numbers."""
    text = CANARY + b"_of_Huber_1956_"  # 24 bytes
    one, many = (0x00189087, 0x00281041, 0x00186024), 0x00209157  # FD, SS, UL; UL 1-n
    for given in ("LO", "PN", "UT", "UN"):
        assert [done((tag, given, text), (), ON)[2] for tag in one] == [b""] * 3
    assert done((many, "LO", text), (), ON)[2] == b""
    assert done((0x00189087, "FD", text[:8]), (), ON) == (0x00189087, "FD", text[:8])
    assert done((many, "UL", text), (), ON) == (many, "UL", text)


def test_codes_cross_under_the_meaning_that_the_standard_gives_them() -> None:
    def code(value: bytes, scheme: bytes) -> list[bytes]:
        item = [(0x00080100, "SH", value), (0x00080102, "SH", scheme), (0x00080103, "SH", CANARY)]
        item.append((0x00080104, "LO", CANARY))
        (found,) = Walk(OFF, CT).data_set([(0x00082218, "SQ", [item])], subject(), Counter())
        return [value for _, _, value in found[2][0]]

    assert code(b"51185008", b"SCT") == [b"51185008", b"SCT", CHEST]
    assert code(b"T-D3000", b"SRT") == [b"T-D3000", b"SRT", CHEST]
    assert code(CANARY, b"99HUBER") == [b"0", b"99MEDIMG", b"REMOVED"]


@pytest.mark.parametrize(
    "odd",
    [
        [(0x00080005, "CS", b"ISO-IR 100")],  # as some devices misspell it
        [(0x00081032, "SQ", [[(0x00080100, "SH", CANARY)]])],  # a code of no scheme
        [(0x0040A073, "SQ", [[(0x0040A075, "PN", CANARY), (0x00101001, "PN", CANARY), (0x22221111, "LO", CANARY)]])],
        [(0x00080018, "UI", b"\0\0")],
        [(0x00080018, "UI", b"1.2.3\0"), (0x00080018, "UI", b"1.2.4\0")],
    ],
    ids=["character set", "code", "dummy", "instance", "twice"],
)
@pytest.mark.parametrize("policy", [OFF, ON.model_copy(update={"clean_pixels": False})], ids=["off", "on"])
def test_what_is_odd_in_a_header_does_not_stop_at_the_audit(
    odd: elements.Elements, policy: Policy, tmp_path: Path
) -> None:
    found, syntax = elements.read((Path(DATA_ROOT) / "test_files" / "CT_small.dcm").read_bytes())
    rest = [element for element in found if element[0] != odd[0][0]]
    data = elements.write(rest + odd, syntax, [(0x00020010, "UI", syntax.encode())])
    patient = KEY.patient("1")
    written = profile.clean(data, KEY, patient, policy).data
    assert CANARY not in written
    path = f"images/{patient}/{KEY.file(data)}.dcm"
    (tmp_path / path).parent.mkdir(parents=True)
    (tmp_path / path).write_bytes(written)
    assert audit_module.audit(tmp_path, [path]) == []
    assert pydicom.dcmread(io.BytesIO(written)).SOPInstanceUID.startswith("2.25.")
    assert b"OTHER" not in written


def test_safe_private_elements_stay_with_their_creator_and_no_other() -> None:
    found = [
        (0x00190010, "LO", b"SIEMENS MR HEADER"), (0x00190011, "LO", CANARY), (0x0019100C, "IS", b"1000"),
        (0x00191008, "CS", b"IMAGE NUM 4"), (0x0019110C, "IS", b"5"), (0x0019100E, "FD", CANARY),
    ]  # fmt: skip
    walk = Walk(OFF.model_copy(update={"retain_safe_private": True}), CT)
    assert [tag for tag, _, _ in walk.data_set(found, subject(), Counter())] == [0x00190010, 0x0019100C]
    assert Walk(OFF, CT).data_set(found, subject(), Counter()) == []


@pytest.mark.parametrize(
    ("element", "vr", "one", "most"),
    [(0x0C, "IS", b"1000", 1), (0x0E, "FD", bytes(8), 3), (0x27, "FD", bytes(8), 6)],
)
def test_a_safe_private_element_holds_no_more_numbers_than_the_table_has_there(
    element: int, vr: str, one: bytes, most: int
) -> None:
    policy = OFF.model_copy(update={"retain_safe_private": True})
    for count in (most, most + 1):
        value = b"\\".join([one] * count) if vr == "IS" else one * count
        found = [(0x00190010, "LO", b"SIEMENS MR HEADER "), (0x00191000 | element, vr, value)]
        kept = Walk(policy, CT).data_set(found, subject(), Counter())
        assert len(kept) == (2 if count == most else 0)
        assert bool(audit_module._data_set(found, policy, 0)) == (count > most)


def test_no_private_element_that_can_hold_text_is_called_safe() -> None:
    """And Siemens elements that look harmless are not there: the table does not list two of them, the third is text."""
    assert {vr for block in private.SAFE.values() for vr in block.values()} <= NUMBERS.keys()
    assert all(group & 1 and max(block) <= 0xFF for (_, group), block in private.SAFE.items())
    assert not {0x0A, 0x28, 0x0D} & private.SAFE["SIEMENS MR HEADER", 0x0019].keys()


def test_the_audit_knows_safe_private_elements_and_finds_others() -> None:
    policy = OFF.model_copy(update={"retain_safe_private": True})
    block = [(0x00190010, "LO", b"SIEMENS MR HEADER "), (0x0019100C, "IS", b"1000")]
    assert audit_module._data_set(block, policy, 0) == ""
    assert audit_module._data_set([block[0], (0x0019100C, "IS", b" 1000 ")], policy, 0) == ""  # padded
    assert audit_module._data_set(block, OFF, 0)
    for wrong in ([block[1]], [block[0], (0x0019100C, "IS", CANARY)], [*block, (0x00191008, "CS", CANARY)], block[:1]):
        assert audit_module._data_set(wrong, policy, 0), wrong


def test_a_description_keeps_words_of_the_vocabulary_that_name_nobody_here() -> None:
    who = Subject(KEY, "P1", 10, frozenset({b"chest"}))
    assert values.description(subject(), b"Huber CHEST pa, T2 2021-03-02") == b"CHEST pa T2"
    assert values.description(who, b"Huber CHEST pa") == b"pa"
    assert values.description(who, CANARY) is None


@pytest.mark.parametrize(
    ("before", "after"),
    [("093Y", "090Y"), ("090Y", "090Y"), ("089Y", "089Y"), ("006M", "006M"), ("999D", "999D"), ("63", None)],
)
def test_ages_from_90_are_one_group(before: str, after: str | None) -> None:
    assert values.age(subject(), before.encode()) == (after.encode() if after else None)


def ct(**changes: object) -> bytes:
    dataset = pydicom.dcmread(next(path for path in SHIPPED if path.name == "CT_small.dcm"))
    for keyword, value in changes.items():
        setattr(dataset, keyword, value)
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    return buffer.getvalue()


def cleaned(data: bytes, policy: Policy, patient: str = "P1") -> pydicom.Dataset:
    return pydicom.dcmread(io.BytesIO(profile.clean(data, KEY, patient, policy).data))


def test_what_a_file_says_of_its_cleaning_is_what_was_done() -> None:
    off, on = cleaned(ct(), OFF), cleaned(ct(), ON)
    assert (off.PatientIdentityRemoved, off.LongitudinalTemporalInformationModified) == ("YES", "REMOVED")
    assert [item.CodeValue for item in off.DeidentificationMethodCodeSequence] == ["113100"]
    assert on.LongitudinalTemporalInformationModified == "MODIFIED"
    assert [item.CodeValue for item in on.DeidentificationMethodCodeSequence] == [
        *("113100", "113101", "113103", "113105", "113107", "113108", "113109", "113111", "113112")
    ]
    assert len(on.DeidentificationMethod) == 9
    assert all(len(text) <= 64 for text in on.DeidentificationMethod)
    assert "BurnedInAnnotation" not in off


@pytest.mark.parametrize(("said", "left"), [(None, None), ("NO", None), ("", ""), ("YES", "YES")])
def test_nothing_is_said_to_have_lost_its_recognisable_features(said: str | None, left: str | None) -> None:
    for policy in (OFF, ON):
        data = ct() if said is None else ct(RecognizableVisualFeatures=said)
        assert cleaned(data, policy).get("RecognizableVisualFeatures") == left
    dermoscopy = "1.2.840.10008.5.1.4.1.1.77.1.7"  # Type 1 there
    assert done((0x00280302, "CS", b"NO"), (), OFF, dermoscopy) == (0x00280302, "CS", b"YES")


def test_intervals_are_kept_exactly_and_differ_between_patients() -> None:
    def day(when: str, patient: str) -> date:
        written = cleaned(ct(StudyDate=when), Policy(), patient).StudyDate
        return date(int(written[:4]), int(written[4:6]), int(written[6:]))

    moved = {patient: (day("20200228", patient), day("20210301", patient)) for patient in ("P1", "P2", "P3")}
    assert {(b - a).days for a, b in moved.values()} == {367}
    assert len(set(moved.values())) == 3
    assert all(1 <= (date(2020, 2, 28) - a).days <= 3650 for a, _ in moved.values())


def test_uids_are_mapped_alike_wherever_they_stand_and_the_standards_own_stay() -> None:
    reference = pydicom.Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = CT, "1.2.3.77"
    series = pydicom.Dataset()
    series.SeriesInstanceUID, series.ReferencedInstanceSequence = "1.2.3.78", [reference]
    one = cleaned(ct(SOPInstanceUID="1.2.3.77", SeriesInstanceUID="1.2.3.78"), OFF)
    two = cleaned(ct(ReferencedSeriesSequence=[series]), OFF)
    found = two.ReferencedSeriesSequence[0]
    assert found.SeriesInstanceUID == one.SeriesInstanceUID
    assert found.ReferencedInstanceSequence[0].ReferencedSOPInstanceUID == one.SOPInstanceUID
    assert found.ReferencedInstanceSequence[0].ReferencedSOPClassUID == CT
    assert one.file_meta.MediaStorageSOPInstanceUID == one.SOPInstanceUID
    assert one.SOPInstanceUID != profile.clean(ct(SOPInstanceUID="1.2.3.77"), SiteKey(b"1" * 32), "P1")


@pytest.mark.parametrize("option", list(Policy.model_fields))
def test_each_option_is_read_from_the_policy_file(tmp_path: Path, option: str) -> None:
    (tmp_path / "p.yaml").write_text(yaml.safe_dump({option: not getattr(Policy(), option)}))
    assert getattr(load_policy(tmp_path / "p.yaml"), option) is not getattr(Policy(), option)
    policy = load_policy(tmp_path / "p.yaml")
    stated = policy.model_copy(update={"issuer_of_patient_id": False})  # who is who is nothing that a file states
    assert Policy.of_codes({code for code, _ in policy.codes}) == stated


@pytest.mark.parametrize("text", ["retain_names: true", "retain_device: maybe", "- a", "{", "retain_device: 1"])
def test_a_policy_that_is_none_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "p.yaml").write_text(text)
    with pytest.raises(BorderError, match=r"(not an option|cannot be read)"):
        load_policy(tmp_path / "p.yaml")
    with pytest.raises(BorderError, match="There is no policy"):
        load_policy(tmp_path / "absent.yaml")


def test_the_vocabulary_holds_codes_alone() -> None:
    assert all(
        (1 <= len(term) <= 16 and term == term.upper() and not term.isdigit()) or term in ("00", "01", "02", "03", "04")
        for term in vocabulary()
    )
    assert {"CT", "ORIGINAL", "PRIMARY", "AXIAL", "HFS", "MONOCHROME2", "ISO_IR 100"} <= vocabulary()


def real_images() -> list[tuple[str, bytes]]:
    found = []
    for path in SHIPPED:
        data = path.read_bytes()
        try:
            if read_bytes(data).facts.format == "dicom":
                found.append((path.name, data))
        except (ImageError, NotAnImage):
            continue
    return found


def test_pixels_of_real_files_are_the_same_after() -> None:
    compared = 0
    for name, data in real_images():
        try:
            written = profile.clean(data, KEY, "P1").data
        except ImageError as error:
            assert error.code == "burned-in", name
            continue
        assert pixel_sha256(read_bytes(written).pixels) == pixel_sha256(read_bytes(data).pixels), name
        assert profile.clean(data, KEY, "P1").data == written
        compared += 1
    assert compared >= 15


@pytest.mark.parametrize("signed", [0, 1])
@pytest.mark.parametrize(("stored", "high"), [(12, 11), (12, 15), (12, 13), (10, 9)])
def test_bits_beside_the_stored_ones_stay_behind(stored: int, high: int, signed: int) -> None:
    words = np.random.default_rng(stored).integers(0, 2**16, (128, 128), np.uint16)
    data = ct(BitsStored=stored, HighBit=high, PixelRepresentation=signed, PixelData=words.tobytes())
    written = profile.clean(data, KEY, "P1").data
    assert pixel_sha256(read_bytes(written).pixels) == pixel_sha256(read_bytes(data).pixels)
    found = np.frombuffer(pydicom.dcmread(io.BytesIO(written)).PixelData, np.uint16)
    assert len(np.unique(found)) <= 2**stored
    cleared = ct(BitsStored=stored, HighBit=high, PixelRepresentation=signed, PixelData=found.tobytes())
    assert profile.clean(cleared, KEY, "P1").data == written


@pytest.mark.parametrize(("stored", "high"), [(12, 11), (12, 13), (12, 15)])
@pytest.mark.parametrize(("signed", "value"), [(0, -2000), (1, -4000)])
def test_padding_that_needs_more_than_the_stored_bits_crosses(stored: int, high: int, signed: int, value: int) -> None:
    words = np.random.default_rng(0).integers(0, 2**12, (128, 128)).astype(np.uint16) << (high - 11)
    words[:20] = value & 0xFFFF
    words[20:30] |= (0xF000 << (high - 11)) & 0xFFFF  # an overlay of old
    data = ct(
        BitsStored=stored, HighBit=high, PixelRepresentation=signed, PixelPaddingValue=value, PixelData=words.tobytes()
    )
    written = profile.clean(data, KEY, "P1").data
    assert pixel_sha256(read_bytes(written).pixels) == pixel_sha256(read_bytes(data).pixels)
    found = np.frombuffer(pydicom.dcmread(io.BytesIO(written)).PixelData, np.uint16).reshape(words.shape)
    assert (found[:20] == value & 0xFFFF).all()


def test_an_offset_table_that_is_wrong_does_not_keep_a_file_out_that_can_be_read() -> None:
    dataset = pydicom.dcmread(io.BytesIO(ct()))
    whole = dataset.PixelData
    dataset.NumberOfFrames = 3
    dataset.PixelData = pydicom.encaps.encapsulate([whole] * 3)
    dataset.PixelData = (
        dataset.PixelData[:8] + b"".join(n.to_bytes(4, "little") for n in (0, 0, 0)) + dataset.PixelData[20:]
    )
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = codecs.UNCOMPRESSED
    dataset.save_as(buffer := io.BytesIO())
    assert pydicom.dcmread(io.BytesIO(profile.clean(buffer.getvalue(), KEY, "P1").data)).PixelData == whole * 3


@pytest.mark.parametrize(("syntax", "frames"), [(codecs.UNCOMPRESSED, 1), (codecs.DEFLATED_FRAMES, 3)])
def test_frames_that_are_only_wrapped_or_deflated_are_written_plain(syntax: str, frames: int) -> None:
    dataset = pydicom.dcmread(io.BytesIO(ct()))
    whole = dataset.PixelData
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    part = packer.compress(whole) + packer.flush() if syntax == codecs.DEFLATED_FRAMES else whole
    dataset.NumberOfFrames = frames
    dataset.PixelData = pydicom.encaps.encapsulate([part + CANARY + b"\0"] * frames)
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = codecs.UNCOMPRESSED  # pydicom does not write the other one
    dataset.save_as(buffer := io.BytesIO())
    data = buffer.getvalue().replace(codecs.UNCOMPRESSED.encode(), syntax.encode().ljust(22, b"\0"))
    written = profile.clean(data, KEY, "P1").data
    assert CANARY not in written
    assert pydicom.dcmread(io.BytesIO(written)).PixelData == whole * frames


@pytest.mark.skipif(which("dciodvfy") is None, reason="dciodvfy (dicom3tools) is not installed")
@pytest.mark.parametrize("policy", [OFF, ON.model_copy(update={"clean_pixels": False})], ids=["off", "on"])
def test_dciodvfy_finds_no_error_that_the_original_did_not_have(tmp_path: Path, policy: Policy) -> None:
    import re

    def errors(data: bytes) -> set[str]:
        (tmp_path / "x").write_bytes(data)
        command = ["dciodvfy", str(tmp_path / "x")]
        said = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False).stderr
        return {re.sub("<[0-9.]+>", "", line) for line in said.splitlines() if line.startswith("Error")}

    compared = 0
    for name, data in real_images():
        if name == "image_dfl.dcm":
            continue  # dciodvfy does not read deflated data sets
        try:
            written = profile.clean(data, KEY, "P1", policy).data
        except ImageError:
            continue
        assert errors(written) <= errors(data), name
        compared += 1
    assert compared >= 15


def test_a_uid_that_only_begins_as_the_standards_do_is_replaced() -> None:
    subject = Subject(SiteKey(bytes(32)), "P1", 1)
    for uid in (b"1.2.840.10008.5.1.4.1.1.2", b"1.2.840.10008.1.4.1.1", b"1.2.840.10008.6.1.907"):
        assert subject.uid(uid) == uid
    for uid in (b"1.2.840.10008.5.19560317.4711", b"1.2.840.10008.6.1.19560317"):
        assert subject.uid(uid).startswith(b"2.25.")
