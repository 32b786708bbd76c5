"""What the split did, as split.json says it, and what it refuses to do."""

from collections import Counter
from typing import Any

import pandas as pd

from medimg.errors import SplitError
from medimg.params import Split
from medimg.records import LEDGER

DRAWN = ("train", "validation", "test")
FEW = 30
"""Patients of a class below which an interval over patients is wide and holds only approximately."""
SUBGROUPS = ("sex", "age", "site", "manufacturer", "view")
AGES = ["0–17", "18–39", "40–64", "65+"]
_MOST = 12  # subgroups of one kind that are counted apart


def summary(parts: pd.DataFrame, labelled: pd.DataFrame, settings: Split, seed: int, nameless: int) -> dict[str, Any]:
    """The content of split.json. Nothing of the ledger as it was before: a second run says the same as the first.

    Args:
        parts: the rows of parts.parquet.
        labelled: rows of the index with ``stratum``, the classes as text, several joined by `` + ``.
        settings: the block ``split``.
        seed: of the draw.
        nameless: images without a patient id.
    """
    names = DRAWN + (("promotion",) if (parts["part"] == "promotion").any() else ())
    kept = labelled.assign(part=parts["part"], fold=parts["fold"])
    groups = _groups(kept)
    folds = kept[kept["part"] != "excluded"].groupby("fold")
    counts = {
        part: _counts(kept[kept["part"] == part])
        | {"subgroups": {name: _by(kept[kept["part"] == part], group) for name, group in groups.items()}}
        for part in names
    }
    return {
        "parts": counts,
        "few": [
            {"part": part, "class": name, "patients": group["patients"]}
            for part, count in counts.items()
            for name, group in count["classes"].items()
            if part != "train" and group["patients"] < FEW
        ],
        "folds": [{"fold": int(str(fold))} | _counts(rows) for fold, rows in folds],
        "excluded": dict(sorted(Counter(parts.loc[parts["part"] == "excluded", "reason"]).items())),
        "seed": seed,
        "redraw": settings.redraw,
        "each_image_is_a_patient": nameless,
    }


def _counts(rows: pd.DataFrame) -> dict[str, Any]:
    classes = rows["stratum"].str.split(" + ", regex=False).explode()
    return {"patients": int(rows["patient"].nunique()), "images": len(rows), "classes": _by(rows, classes)}


def _by(rows: pd.DataFrame, group: pd.Series) -> dict[str, dict[str, int]]:
    """Patients and images of each value of ``group``, which has values for the index of ``rows`` among others."""
    there = group[group.index.isin(rows.index)].dropna()
    patient = rows["patient"].reindex(there.index)
    return {
        str(name): {"patients": int(patient[there == name].nunique()), "images": int((there == name).sum())}
        for name in sorted(set(there))
    }


def _groups(kept: pd.DataFrame) -> dict[str, pd.Series]:
    """Subgroups of the report by kind; of many values, the rarer ones together. A kind of one value is none."""
    found = {}
    for name in SUBGROUPS:
        values = kept[name]
        if name == "age":
            values = pd.cut(values.astype(float), [0, 18, 40, 65, 200], right=False, labels=AGES).astype(object)
        values = values.where(values.isna(), values.astype(str))
        counts = values.value_counts().sort_index().sort_values(ascending=False, kind="stable")
        common = counts.index[:_MOST]
        if len(common) > 1:
            found[name] = values.where(values.isin(common) | values.isna(), "other")
    return found


def sentence(account: dict[str, Any]) -> str:
    """The split in words."""
    counts = "; ".join(
        f"{part} {count['patients']} patients, {count['images']} images ({_listed(count['classes'])})"
        for part, count in account["parts"].items()
    )
    left_out = ", ".join(f"{count} {reason}" for reason, count in account["excluded"].items())
    return counts + (f"; excluded: {left_out}" if left_out else "")


def check(account: dict[str, Any], lacking: dict[str, str], fixed: bool) -> None:
    """Refuse a split from which nothing can be learned or measured.

    Args:
        account: of ``summary``.
        lacking: part → what the task misses in it, as a clause.
        fixed: whether a ledger holds patients in their parts.

    Raises:
        SplitError: too few patients, or a part without a class that it needs.
    """
    patients = sum(count["patients"] for count in account["parts"].values())
    least = 2 * len(DRAWN)
    if patients < least:
        raise SplitError(
            f"There are labelled images of {patients} patients. Train, validation and test each need patients of "
            f"several classes: at least {least}, and many more for a number that says something."
        )
    classes = sorted(set().union(*(count["classes"] for count in account["parts"].values())))
    for part, count in account["parts"].items():
        missing = [name for name in classes if name not in count["classes"]] if part == "train" else []
        if why := lacking.get(part, "no image") or ", ".join(f"no {name} image" for name in missing):
            raise SplitError(
                f"Part {part} has {count['patients']} patients and {why}: nothing can be learned from it or measured "
                "on it. Add patients of what is missing"
                + (
                    f"; the parts of known patients are fixed by {LEDGER}."
                    if fixed
                    else ", or change the block split in params.yaml."
                )
            )


def _listed(classes: dict[str, dict[str, int]]) -> str:
    return ", ".join(f"{count['images']} {name}" for name, count in classes.items())
