"""What copies do to a split: they tie patients together, contradict labels, or leak from train into test."""

from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd

from medimg.duplicates.groups import Groups, copies
from medimg.duplicates.likeness import alike
from medimg.duplicates.thumbnail import SIDE
from medimg.records import DUPLICATES, DUPLICATES_COLUMNS, THUMBNAILS, THUMBNAILS_SCHEMA, read_table, write_csv
from medimg.tasks import Task

SAME, ALTERED = "same pixels", "altered copy"
KEPT = ("test", "promotion", "validation")
"""Of two copies in different parts, the one in the first of these is kept."""

Reasons = pd.Series


@dataclass(frozen=True)
class Copies:
    """The copies among the labelled images of a study."""

    labelled: pd.DataFrame
    task: Task
    altered: np.ndarray
    """``(P, 2)`` labels of rows of ``labelled``: images of two patients, the same picture in other pixels"""
    likeness: np.ndarray
    """``(P,)``, up to 1"""

    def groups(self) -> Groups:
        """Patients who share a picture, as groups."""
        groups = Groups(self.labelled["patient"].unique())
        patient = self.labelled["patient"]
        for rows in copies(self.labelled):
            for other in rows["patient"].iloc[1:]:
                groups.link(rows["patient"].iloc[0], other)
        for one, other in self.altered:
            groups.link(patient[one], patient[other])
        return groups

    def at_odds(self) -> Reasons:
        """Rows that are left out whatever their part: labels that contradict each other, and repeats of a patient."""
        left_out: dict[Any, str] = {}
        truth = pd.DataFrame(self.task.truth(self.labelled["label"]), self.labelled.index)
        for one, other in self.altered:
            if self.task.at_odds(truth.loc[[one, other]].to_numpy()):
                left_out |= dict.fromkeys((one, other), "altered copy under the opposite label")
        for rows in copies(self.labelled):
            if self.task.at_odds(truth.loc[rows.index].to_numpy()):
                left_out |= dict.fromkeys(rows.index, "same pixels under opposite labels")
            else:
                for _, own in rows.groupby("patient"):
                    left_out |= dict.fromkeys(own.index[1:], "copy of another image of the same patient")
        return pd.Series(left_out, dtype=object)

    def across(self, part: pd.Series, used: pd.Series) -> Reasons:
        """Rows whose picture also stands in a part that is better protected: nobody moves, the row is left out.

        Args:
            part: of each row.
            used: whether the row is in a part at all.
        """
        left_out: dict[Any, str] = {}
        for one, other in self.altered:
            if used[one] and used[other] and part[one] != part[other]:
                keep = next(name for name in KEPT if name in (part[one], part[other]))
                left_out[one if part[one] != keep else other] = f"{ALTERED} of an image in {keep}"
        for rows in copies(self.labelled[used[self.labelled.index]]):
            parts = part[rows.index]
            if parts.nunique() > 1:
                keep = next(name for name in KEPT if (parts == name).any())
                left_out |= dict.fromkeys(rows.index[parts != keep], f"{SAME} as an image in {keep}")
        return pd.Series(left_out, dtype=object)

    def write(self) -> None:
        """Publish every pair as ``duplicates.csv``; of many same images, each with the first."""
        sample = self.labelled["sample"]
        same = chain.from_iterable(
            ((rows["sample"].iloc[0], other, SAME, 1.0) for other in rows["sample"].iloc[1:])
            for rows in copies(self.labelled)
        )
        found = zip(self.altered, self.likeness, strict=True)
        near = ((sample[one], sample[other], ALTERED, round(float(value), 3)) for (one, other), value in found)
        write_csv(DUPLICATES, pd.DataFrame(sorted([*same, *near]), columns=DUPLICATES_COLUMNS), DUPLICATES_COLUMNS)


def find(labelled: pd.DataFrame, task: Task, altered: bool) -> Copies:
    """Find all copies among the labelled rows of the index, altered ones only where ``altered``."""
    if not altered:
        return Copies(labelled, task, np.empty((0, 2), np.int64), np.empty(0))
    pictures = read_table(THUMBNAILS, THUMBNAILS_SCHEMA).dropna().set_index("sample")["thumbnail"]
    rows = labelled[labelled["sample"].isin(pictures.index)].sort_values("sample")
    raw = b"".join(pictures[rows["sample"]])
    thumbnails = np.frombuffer(raw, np.uint8).reshape(-1, SIDE, SIDE)
    pairs, likeness = alike(thumbnails, pd.factorize(rows["patient"])[0])
    pixels = rows["pixel_sha256"].to_numpy(str)[pairs]
    other = pixels[:, 0] != pixels[:, 1]
    return Copies(labelled, task, rows.index.to_numpy()[pairs[other]], likeness[other])
