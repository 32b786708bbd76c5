"""Where the patients went: from files seen to the parts."""

from typing import Any, NamedTuple

from medimg.evaluation.result import Result

ORDER = ["train", "validation", "test", "promotion"]


class Part(NamedTuple):
    """A part's size; None where no file says it."""

    name: str
    patients: int | None
    images: int | None
    positive: int | None


def parts(result: Result) -> list[Part]:
    """Parts in the order of their use, from split.json, else counted from the tables."""
    stated = result.sources.split.get("parts")
    if isinstance(stated, dict) and stated:
        names = sorted(stated, key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name))
        counts: list[dict[str, Any]] = [stated[name] or {} for name in names if name != "excluded"]
        names = [name for name in names if name != "excluded"]
        return [
            Part(n, c.get("patients"), c.get("images"), c.get("positive")) for n, c in zip(names, counts, strict=True)
        ]
    return _counted(result)


def _counted(result: Result) -> list[Part]:
    rows = result.sources.predictions
    found = {
        str(name): Part(str(name), part["patient"].nunique(), len(part), int(part["truth"].sum()))
        for name, part in rows.groupby("part")
    }
    table, index = result.sources.parts, result.sources.index
    for key, part in table.groupby("part") if table is not None else ():
        name = str(key)
        if name in found or name == "excluded":
            continue
        positive = None
        if index is not None:
            labels = index.set_index("sample")["label"].reindex(part["sample"])
            positive = int((labels == result.study.positive).sum())
        found[name] = Part(name, part["patient"].nunique(), len(part), positive)
    return [found[name] for name in ORDER if name in found]


def totals(result: Result) -> dict[str, int]:
    """Patients, images and sites of the study; 0 sites: not recorded."""
    ingest, index, table = result.sources.ingest, result.sources.index, result.sources.parts
    rows = result.sources.predictions if table is None else table
    known = {"patients": rows["patient"].nunique(), "images": len(rows), "sites": 0}
    if index is not None:
        known = {"patients": index["patient"].nunique(), "images": len(index), "sites": index["site"].nunique()}
    for name in ("patients", "images"):
        if isinstance(ingest.get(name), int):
            known[name] = ingest[name]
    if isinstance(ingest.get("sites"), dict) and ingest["sites"]:
        known["sites"] = len(ingest["sites"])
    return known
