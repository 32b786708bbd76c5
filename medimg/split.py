"""Each patient into one part, for life: the ledger splits.csv is the memory, and a split that leaks cannot be built."""

import hashlib
from collections import Counter
from dataclasses import dataclass
from typing import Any

import pandas as pd

from medimg.duplicates import Groups, copies
from medimg.errors import SplitError
from medimg.files import write_json
from medimg.params import Split
from medimg.records import (
    INDEX,
    INDEX_SCHEMA,
    LEDGER,
    LEDGER_COLUMNS,
    PARTS,
    PARTS_SCHEMA,
    SPLIT,
    read_table,
    write_csv,
    write_table,
)
from medimg.tasks import Task

DRAWN = ("train", "validation", "test")


@dataclass(frozen=True)
class Ledger:
    """Which part each patient is in, and with which import batch it came."""

    rows: tuple[tuple[str, str, int], ...]
    """patient, part, batch"""

    def __post_init__(self) -> None:
        patients = Counter(patient for patient, _, _ in self.rows)
        twice = sum(count > 1 for count in patients.values())
        if twice:
            raise SplitError(
                f"{twice} patients stand in two rows of {LEDGER}: an image of theirs could be in training and in test. "
                f"Restore the file as it was committed (git checkout {LEDGER})."
            )
        unknown = sorted({part for _, part, _ in self.rows} - set(DRAWN))
        if unknown:
            raise SplitError(f"{LEDGER} names the part {unknown[0]!r}. Parts are: {', '.join(DRAWN)}.")

    @property
    def parts(self) -> dict[str, str]:
        """Patient → part."""
        return {patient: part for patient, part, _ in self.rows}


def split(task: Task, seed: int, settings: Split) -> None:
    """Deal the patients of the index into parts: ``splits.csv``, ``artifacts/parts.parquet`` and ``split.json``.

    A patient whom the ledger knows keeps its part. On the first draw the patients are dealt within each stratum, to the
    fractions asked for; later ones are drawn by keyed hash. Neither depends on the order of files.

    Args:
        task: tells classes from labels.
        seed: ``study.seed``, the key of every draw.
        settings: the block ``split`` of params.yaml.

    Raises:
        SplitError: an image has no patient, the ledger contradicts itself, or a part would lack a class.
        LabelsError: the labels have one class only.
    """
    index = read_table(INDEX, INDEX_SCHEMA)
    without_id = int(index["patient"].isna().sum())
    index = _with_patients(index, settings)
    excluded = index["label"].isna().map({True: "no label", False: None})
    labelled = index[excluded.isna()].copy()
    labelled["stratum"] = task.strata(labelled["label"])
    truth = pd.Series(task.truth(labelled["label"]), index=labelled.index)
    groups, repeats = _link(labelled)
    excluded.update(repeats)
    before = read_ledger()
    ledger = _draw(labelled, groups, before, seed, settings)
    part = index["patient"].map(ledger.parts)
    excluded.update(_across(labelled[~labelled.index.isin(repeats.index)], part))
    part = part.where(excluded.isna(), "excluded")
    parts = pd.DataFrame({"sample": index["sample"], "patient": index["patient"], "part": part, "reason": excluded})
    summary = _summary(parts, truth) | {"seed": seed, "each_image_is_a_patient": without_id}
    _check(summary, fixed=bool(before.rows))
    write_table(PARTS, parts, PARTS_SCHEMA)
    write_json(SPLIT, summary)
    # Last: a run killed before this line leaves no trace in the draw, and one killed after it is done.
    write_csv(LEDGER, pd.DataFrame(sorted(ledger.rows), columns=LEDGER_COLUMNS), LEDGER_COLUMNS)
    print(sentence(summary))


def sentence(summary: dict[str, Any]) -> str:
    """The split in words."""
    counts = "; ".join(
        f"{part} {count['patients']} patients, {count['images']} images, {count['positive']} positive"
        for part, count in summary["parts"].items()
    )
    left_out = ", ".join(f"{count} {reason}" for reason, count in summary["excluded"].items())
    return counts + (f"; excluded: {left_out}" if left_out else "")


def read_ledger() -> Ledger:
    """The ledger as it stands, empty before the first split.

    Raises:
        SplitError: it holds a patient twice, or is not a table of patient, part and batch.
    """
    if not LEDGER.exists():
        return Ledger(())
    try:
        table = pd.read_csv(LEDGER, dtype={"patient": str, "part": str, "batch": int})[LEDGER_COLUMNS]
    except (ValueError, KeyError):
        raise SplitError(
            f"{LEDGER} is not a table of {', '.join(LEDGER_COLUMNS)}. Restore it: git checkout {LEDGER}"
        ) from None
    return Ledger(tuple(table.itertuples(index=False, name=None)))


def _with_patients(index: pd.DataFrame, settings: Split) -> pd.DataFrame:
    missing = int(index["patient"].isna().sum())
    if settings.each_image_is_a_patient:  # whoever has an id keeps it
        return index.assign(patient=index["patient"].where(index["patient"].notna(), "image-" + index["sample"]))
    if missing:
        raise SplitError(
            f"{missing} of {len(index)} images have no patient: two images of one person could end in training and in "
            "test. Add a column patient to labels.csv. If each image truly is another person, set "
            "split.each_image_is_a_patient: true; the report will say so."
        )
    return index


def _link(labelled: pd.DataFrame) -> tuple[Groups, pd.Series]:
    """Patients who share pixels, as groups; and the rows that are left out for being copies, with the reason."""
    groups = Groups(labelled["patient"].unique())
    left_out: dict[Any, str] = {}
    for rows in copies(labelled):
        patients = rows["patient"].unique()
        for patient in patients[1:]:
            groups.link(patients[0], patient)
        if rows["stratum"].nunique() > 1:
            left_out |= dict.fromkeys(rows.index, "same pixels under opposite labels")
        else:
            for _, own in rows.groupby("patient"):
                left_out |= dict.fromkeys(own.index[1:], "copy of another image of the same patient")
    return groups, pd.Series(left_out, dtype=object)


def _across(kept: pd.DataFrame, part: pd.Series) -> pd.Series:
    """Training images whose pixels also stand in validation or test: nobody moves, the training copy is left out."""
    left_out: dict[Any, str] = {}
    for rows in copies(kept):
        parts = part[rows.index]
        if parts.nunique() > 1:
            keep = "test" if (parts == "test").any() else "validation"
            left_out |= dict.fromkeys(rows.index[parts != keep], f"same pixels as an image in {keep}")
    return pd.Series(left_out, dtype=object)


def _draw(labelled: pd.DataFrame, groups: Groups, ledger: Ledger, seed: int, settings: Split) -> Ledger:
    known = ledger.parts
    patients = labelled.groupby("patient").agg(stratum=("stratum", "max"), batch=("batch", "min"))
    patients["group"] = [groups.of(str(patient)) for patient in patients.index]
    new: dict[str, list[str]] = {}
    for patient, group in patients["group"].items():
        if patient not in known:
            new.setdefault(group, []).append(str(patient))
    if not known:
        drawn = _deal(new, patients["stratum"], seed, settings)
    else:
        drawn = {group: _part_of_hash(_hash(seed, group), settings) for group in new}
        members = patients[patients.index.isin(known)].groupby("group").groups
        for group in new.keys() & members.keys():  # linked to a patient who has a part: go there
            drawn[group] = known[min(members[group])]
    batch = patients["batch"].fillna(0).astype(int)
    rows = [(patient, drawn[group], int(batch[patient])) for group, names in new.items() for patient in names]
    return Ledger(ledger.rows + tuple(rows))


def _deal(groups: dict[str, list[str]], stratum: pd.Series, seed: int, settings: Split) -> dict[str, str]:
    """Within each stratum, in the order of a keyed hash: to test what still fits, else to validation, else to train."""
    strata: dict[str, list[str]] = {}
    for group, patients in groups.items():
        strata.setdefault(max(stratum[patient] for patient in patients), []).append(group)
    drawn = {}
    for names in strata.values():
        total = sum(len(groups[group]) for group in names)
        room = {"test": round(settings.test * total), "validation": round(settings.validation * total), "train": total}
        for group in sorted(names, key=lambda group: _hash(seed, group)):
            drawn[group] = next(part for part, left in room.items() if len(groups[group]) <= left)
            room[drawn[group]] -= len(groups[group])
    return drawn


def _hash(seed: int, name: str) -> int:
    return int.from_bytes(hashlib.sha256(f"medimg split {seed} {name}".encode()).digest()[:8])


def _part_of_hash(value: int, settings: Split) -> str:
    share = value / 2**64
    return "test" if share < settings.test else "validation" if share < settings.test + settings.validation else "train"


def _summary(parts: pd.DataFrame, truth: pd.Series) -> dict[str, Any]:
    # Nothing of the ledger as it was before: a second run says the same as the first.
    counts = {}
    for part in DRAWN:
        rows = parts[parts["part"] == part]
        counts[part] = {
            "patients": int(rows["patient"].nunique()),
            "images": len(rows),
            "positive": int(truth[rows.index].sum()),
        }
    reasons = Counter(parts.loc[parts["part"] == "excluded", "reason"])
    return {
        "parts": counts,
        "excluded": dict(sorted(reasons.items())),
    }


def _check(summary: dict[str, Any], fixed: bool) -> None:
    patients = sum(count["patients"] for count in summary["parts"].values())
    if patients < 2 * len(DRAWN):
        raise SplitError(
            f"There are labelled images of {patients} patients. Train, validation and test each need a patient of both "
            f"classes: at least {2 * len(DRAWN)}, and many more for a number that says something."
        )
    for part, count in summary["parts"].items():
        if not 0 < count["positive"] < count["images"]:
            raise SplitError(
                f"Part {part} has {count['patients']} patients, {count['positive']} positive of {count['images']} "
                "images: nothing can be learned from it or measured on it. Add patients of the missing class"
                + (
                    f"; the parts of known patients are fixed by {LEDGER}."
                    if fixed
                    else ", or change split.validation and split.test."
                )
            )
