"""Where the patients went: the flow diagram and the table behind it, from ingest.json and split.json."""

from dataclasses import dataclass
from textwrap import wrap
from typing import Any

ORDER = ("train", "validation", "test", "promotion")  # a JSON file keeps none
WIDTH = 720  # of the drawing; a unit is a pixel at full size
LINE = 18
PAD = 12
GAP = 30
_MAIN, _ASIDE = 330, 330  # widths of the boxes of the trunk, and of those beside it


@dataclass(frozen=True)
class Box:
    """A box of the drawing and its lines of text, the first of them bold."""

    x: int
    y: int
    width: int
    lines: tuple[str, ...]
    kind: str
    """main, aside, part or test"""

    @property
    def height(self) -> int:
        """Of all its lines, with padding."""
        return LINE * len(self.lines) + PAD

    @property
    def bottom(self) -> int:
        """Where the next box may begin, less the gap."""
        return self.y + self.height


def flow(ingest: dict[str, Any], split: dict[str, Any], patients: int) -> dict[str, Any]:
    """What the partial draws: boxes, arrows ``(x1, y1, x2, y2)``, height, a description in words, and the table."""
    seen = Box(0, 1, _MAIN, _wrapped([f"{ingest['seen']:,} files seen"], _MAIN), "main")
    accepted = [f"{ingest['indexed_files']:,} images", f"of {patients:,} patients accepted"]
    refused = _lines({"are no images: set aside": ingest["not_an_image"]}) + _lines(ingest["by_code"], "quarantined: ")
    left_out = _lines(split["excluded"], "in no part: ")
    asides, trunk, arrows = [], [seen], []
    y = seen.bottom + GAP
    for lines, following in ((refused, accepted), (left_out, None)):
        if lines:
            aside = Box(WIDTH - _ASIDE, y - GAP // 2, _ASIDE, _wrapped(lines, _ASIDE), "aside")
            asides.append(aside)
            arrows.append((_MAIN // 2, aside.y + aside.height // 2, aside.x, aside.y + aside.height // 2))
            y = max(y, aside.bottom + GAP // 2)
        if following:
            box = Box(0, y, _MAIN, _wrapped(following, _MAIN), "main")
            arrows.append((_MAIN // 2, trunk[-1].bottom, _MAIN // 2, box.y))
            trunk.append(box)
            y = box.bottom + GAP
    ordered = in_order(split["parts"])
    parts = _parts(ordered, y)
    beam = y - GAP // 3
    arrows.append((_MAIN // 2, trunk[-1].bottom, _MAIN // 2, beam))
    arrows += [(box.x + box.width // 2, beam, box.x + box.width // 2, y) for box in parts]
    middles = [_MAIN // 2, *(box.x + box.width // 2 for box in parts)]
    return {
        "boxes": [*trunk, *asides, *parts],
        "arrows": arrows,
        "beam": (min(middles), beam, max(middles), beam),
        "width": WIDTH,
        "height": max(box.bottom for box in parts) + 2,
        "words": "; ".join(" ".join(box.lines) for box in [*trunk, *asides, *parts]),
        "line": LINE,
        "parts": list(ordered),
        "rows": list(_table(ordered)),
    }


def in_order(parts: dict[str, Any]) -> dict[str, Any]:
    """The parts in the order in which they are used."""
    return {name: parts[name] for name in ORDER if name in parts}


def few(split: dict[str, Any]) -> list[tuple[str, str, int]]:
    """Part, class and patients where a part that is measured on has fewer than an interval needs, test apart."""
    return [(one["part"], one["class"], one["patients"]) for one in split["few"] if one["part"] != "test"]


def _parts(parts: dict[str, Any], y: int) -> list[Box]:
    width = (WIDTH - 2 - 10 * (len(parts) - 1)) // len(parts)
    boxes = []
    for at, (name, count) in enumerate(parts.items()):
        lines = [name, f"{count['patients']:,} patients", f"{count['images']:,} images"]
        lines += [f"{one}: {of['patients']:,} patients" for one, of in list(count["classes"].items())[:4]]
        lines += ["…"] * (len(count["classes"]) > 4)
        kind = "test" if name == "test" else "part"
        boxes.append(Box(1 + at * (width + 10), y, width, _wrapped(lines, width), kind))
    return boxes


def _table(parts: dict[str, Any]) -> Any:
    """Rows of the table: what, which, and ``patients (images)`` in each part."""
    for what in ("classes", *next(iter(parts.values()))["subgroups"]):
        found = [
            count["classes"] if what == "classes" else count["subgroups"].get(what, {}) for count in parts.values()
        ]
        for name in dict.fromkeys(name for of in found for name in of):
            cells = [of.get(name, {"patients": 0, "images": 0}) for of in found]
            yield "class" if what == "classes" else what, name, cells


def _lines(counts: dict[str, int], before: str = "") -> list[str]:
    return [f"{count:,} {before}{name}" for name, count in counts.items() if count]


def _wrapped(lines: list[str], width: int) -> tuple[str, ...]:
    letters = (width - 2 * PAD) // 7  # of 13 pixels, on average
    return tuple(piece for line in lines for piece in wrap(line, max(12, letters)))
