"""Overlays and annotations: gone, or, with Clean Graphics, kept where nothing in them is text."""

import io
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image, ImageDraw
from studies import import_folder
from test_border_pixels import file, needs_detector, picture
from test_border_profile import CT, OFF, subject

from medimg.border import graphics, ocr, profile
from medimg.border.audit import audit
from medimg.border.elements import Element, Elements
from medimg.border.examine import examine
from medimg.border.identity import SiteKey
from medimg.border.options import Policy
from medimg.border.walk import Walk
from medimg.errors import BorderError

KEY = SiteKey(bytes(32))
CLEAN = Policy(clean_graphics=True)
GROUPS = range(0x6000, 0x6020, 2)


def ring(size: int = 255) -> np.ndarray:
    canvas = Image.new("1", (size, size))
    ImageDraw.Draw(canvas).ellipse((60, 60, 190, 190), outline=1, width=2)
    return np.asarray(canvas).astype(np.uint8)


def name(points: int, inverted: bool = False) -> np.ndarray:
    canvas = Image.new("1", (255, 255))
    ImageDraw.Draw(canvas).text((20, 200), "HUBER^ANNA", fill=1, font_size=points)
    bits = np.asarray(canvas).astype(np.uint8) | ring()
    return 1 - bits if inverted else bits


def overlaid(*planes: np.ndarray, spare: int = 0, **changes: object) -> bytes:
    """A CT with overlay planes ``(H, W)`` or ``(N, H, W)``; ``spare``: bits behind the last one of each."""
    dataset = pydicom.dcmread(io.BytesIO(file(picture(""), PatientID="1")))
    for group, plane in zip(GROUPS, planes, strict=False):
        data = np.packbits(plane.ravel(), bitorder="little")
        if plane.size % 8:
            data[-1] |= spare << plane.size % 8 & 0xFF
        raw = data.tobytes() + b"\0" * (data.size % 2)
        said: dict[int, tuple[str, object]] = {
            0x10: ("US", plane.shape[-2]), 0x11: ("US", plane.shape[-1]), 0x22: ("LO", "HUBER"), 0x40: ("CS", "G"),
            0x50: ("SS", [3, -4]), 0x100: ("US", 1), 0x102: ("US", 0), 0x1500: ("LO", "HUBER"), 0x3000: ("OW", raw),
        }  # fmt: skip
        if plane.ndim == 3:
            said |= {0x15: ("IS", plane.shape[0]), 0x51: ("US", 1)}
        for element, (vr, value) in said.items():
            dataset.add_new(group << 16 | element, vr, value)
        for element, value in changes.items():
            dataset[group << 16 | int(element[1:], 16)].value = value
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    return buffer.getvalue()


def left(data: bytes, policy: Policy = CLEAN) -> pydicom.Dataset:
    return pydicom.dcmread(io.BytesIO(profile.clean(data, KEY, "P1", policy).data))


def groups(dataset: pydicom.Dataset) -> set[int]:
    return {element.tag.group for element in dataset if element.tag.group >> 8 in (0x50, 0x60)}


@needs_detector
def test_planes_without_text_cross_as_they_are_and_those_with_text_go() -> None:
    drawing = np.stack([ring(), ring().T | np.eye(255, dtype=np.uint8)])
    data = overlaid(ring(), name(24), drawing, name(16), name(24, inverted=True), np.stack([ring(), name(20)]))
    found = left(data)
    assert groups(found) == {0x6000, 0x6004}
    assert np.array_equal(found.overlay_array(0x6000), ring())
    assert np.array_equal(found.overlay_array(0x6004), drawing)
    assert found[0x60000050].value == [3, -4]
    assert b"HUBER" not in profile.clean(data, KEY, "P1", CLEAN).data
    assert [item.CodeValue for item in found.DeidentificationMethodCodeSequence][:2] == ["113100", "113103"]
    for policy in (Policy(), OFF):
        assert not groups(left(data, policy))
        assert "113103" not in [item.CodeValue for item in left(data, policy).DeidentificationMethodCodeSequence]


@needs_detector
def test_what_lies_beside_a_plane_stays_behind() -> None:
    plain, hidden = (profile.clean(overlaid(ring(), spare=bits), KEY, "P1", CLEAN) for bits in (0, 0x7F))
    assert hidden.data == plain.data
    dataset = pydicom.dcmread(io.BytesIO(overlaid(ring())))
    dataset[0x60003000].value += b"HUBER^ANNA"
    dataset.add_new(0x50003000, "OW", b"HUBER^ANNA")
    dataset.save_as(buffer := io.BytesIO())
    assert profile.clean(buffer.getvalue(), KEY, "P1", CLEAN).data == plain.data


@needs_detector
@pytest.mark.parametrize(
    "changes",
    [{"x0040": "X"}, {"x0100": 16}, {"x0102": 12}, {"x0010": 4000}, {"x0010": 0}, {"x3000": b""}],
    ids=str,
)
def test_planes_that_do_not_fit_their_header_go(changes: dict[str, object]) -> None:
    assert not groups(left(overlaid(ring(), **changes)))


@needs_detector
def test_planes_of_more_frames_than_are_looked_at_go() -> None:
    frames = np.stack([ring(), *[np.zeros_like(ring())] * 8])
    assert groups(left(overlaid(frames[:8]))) == {0x6000}
    assert not groups(left(overlaid(frames)))


def test_without_a_detector_overlays_go_and_the_policy_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ocr, "installed", lambda: False)
    assert not groups(left(overlaid(ring())))
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_bytes(overlaid(ring()))
    with pytest.raises(BorderError, match="clean_graphics needs the text detector"):
        import_folder(tmp_path / "a", None, tmp_path / "study" / "data", policy=CLEAN)
    assert not (tmp_path / "study" / "data").exists()


@needs_detector
def test_an_import_keeps_what_is_no_text_and_its_audit_holds_each_plane(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_bytes(overlaid(ring(), name(24)))
    out = tmp_path / "study" / "data"
    assert import_folder(tmp_path / "a", None, out, policy=CLEAN).imported == 1
    assert json.loads((out / "imports" / "0001.json").read_text())["policy"]["clean_graphics"] is True
    assert examine(out).findings == []
    (path,) = (out / "images").rglob("*.dcm")
    whole = path.read_bytes()
    assert groups(pydicom.dcmread(path)) == {0x6000}
    target = path.relative_to(out).as_posix()
    spare = pydicom.dcmread(path).get(0x60003000).value
    changes: tuple[tuple[int, str, object], ...] = (
        (0x60000022, "LO", "HUBER"), (0x60001500, "LO", "HUBER"), (0x60004000, "LT", "HUBER"),
        (0x60003000, "OW", spare + b"HU"), (0x60003000, "OW", spare[:-2] + b"\xff\xff"), (0x60000040, "CS", "HUBER"),
        (0x50003000, "OW", b"HU"),
    )  # fmt: skip
    for tag, vr, value in changes:
        path.write_bytes(whole)
        assert audit(out, [target]) == []
        dataset = pydicom.dcmread(path)
        dataset.add_new(tag, vr, value)
        dataset.save_as(path)
        assert len(audit(out, [target])) == 1, f"{tag:08x}"


def annotation(*elements: Element) -> Elements:
    return [(0x00700002, "CS", b"LAYER"), *elements]


def test_annotations_keep_their_points_and_lose_their_texts() -> None:
    line: Element = (
        0x00700009,
        "SQ",
        [[(0x00700020, "US", b"\2\0"), (0x00700022, "FL", bytes(16)), (0x00700023, "CS", b"POLYLINE")]],
    )
    words: Element = (0x00700008, "SQ", [[(0x00700006, "ST", b"HUBER^ANNA"), (0x00700010, "FL", bytes(8))]])
    compound: Element = (0x00700209, "SQ", [[(0x00700294, "CS", b"RULER"), (0x00700288, "UT", b"HUBER^ANNA")]])
    before: Element = (0x00700001, "SQ", [annotation(words), annotation(line, words, compound)])

    def walked(policy: Policy, element: Element = before) -> Elements:
        return Walk(policy, CT).data_set([element], subject(), Counter())

    ((tag, _, items),) = walked(CLEAN)
    assert (tag, len(items)) == (0x00700001, 1)
    assert [tag for tag, _, _ in items[0]] == [0x00700002, 0x00700009]
    assert items[0][1] == line
    assert walked(CLEAN, (0x00700001, "SQ", [annotation(words)])) == []
    assert b"HUBER" not in repr(walked(OFF)).encode()
    assert line not in [element for item in walked(OFF)[0][2] for element in item]


def test_a_plane_is_what_its_siblings_say() -> None:
    siblings: Elements = [(0x60020010, "US", b"\3\0"), (0x60020011, "US", b"\3\0")]
    assert graphics.is_plane(0x60023000, b"\xff\x01", siblings)
    assert not graphics.is_plane(0x60023000, b"\xff\x03", siblings)
    assert not graphics.is_plane(0x60003000, b"\xff\x01", siblings)
