"""What a study's data look like, once they are across the border: counts and sizes to choose parameters by."""

import csv
import statistics
from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from medimg.errors import LabelsError, NotAnImage
from medimg.images import Facts
from medimg.images.headers import header
from medimg.records import LABELS
from medimg.work import Failure, over

MOST = 400
"""Images whose headers are read: evenly spread over all."""
SLICES = 5
"""Files of a series, or slices of a file, from which they are taken for a volume"""
CROSS_SECTIONAL = ("CT", "MR", "PT")
FIXED = ("path", "patient", "sex", "age", "site", "mask")


@dataclass(frozen=True)
class Survey:
    """Data of a study."""

    rows: list[dict[str, str]]
    """of labels.csv"""
    labels: list[str]
    """its columns that may be the label"""
    facts: list[Facts]
    """of the images looked at"""

    @property
    def patients(self) -> int:
        """Patients with an image."""
        return len({row["patient"] for row in self.rows})

    def most(self, name: str) -> Any:
        """The most frequent value of a fact; None where there is none."""
        found = Counter(value for one in self.facts if (value := getattr(one, name)) is not None)
        return found.most_common(1)[0][0] if found else None

    def share(self, name: str, value: object) -> float:
        """Of the images looked at, how many have this value."""
        return sum(bool(getattr(one, name) == value) for one in self.facts) / max(1, len(self.facts))

    @property
    def side(self) -> int:
        """Median of the longer side, pixels; of volumes in one file, of the longest."""
        return int(statistics.median(max(one.depth, one.height, one.width) for one in self.facts))

    @property
    def volumes(self) -> str:
        """Why a sample is a volume; empty where it is an image."""
        deep = sum(one.format == "nifti" and one.depth >= SLICES for one in self.facts)
        if 2 * deep > len(self.facts):
            return f"{deep} of {len(self.facts)} files are NIfTI of several slices"
        series = Counter(one.series for one in self.facts if one.modality in CROSS_SECTIONAL and one.series)
        files = sum(series.values())
        length = files / max(1, len(series)) * len(self.rows) / len(self.facts)
        if 2 * files > len(self.facts) and length >= SLICES:
            return f"most files are slices: about {length:.0f} a series"
        return ""

    def values(self, column: str) -> dict[str, int]:
        """Value → images, sorted by value; without those that have none."""
        return dict(sorted(Counter(row[column] for row in self.rows if row[column]).items()))

    def by_patient(self, column: str) -> bool:
        """Whether some patients have several images, and all of a patient's images the same label."""
        found: dict[str, set[str]] = defaultdict(set)
        for row in self.rows:
            found[row["patient"]].add(row[column])
        return len(found) < len(self.rows) and all(len(values) == 1 for values in found.values())

    def __str__(self) -> str:
        formats = Counter(one.format for one in self.facts)
        modalities = Counter(one.modality or "not said" for one in self.facts)
        sizes = sorted(max(one.height, one.width) for one in self.facts)
        lines = [
            f"{len(self.rows)} images of {self.patients} patients; looked at {len(self.facts)}:",
            "  formats:    " + ", ".join(f"{count} {name}" for name, count in formats.most_common()),
            "  modalities: " + ", ".join(f"{count} {name}" for name, count in modalities.most_common()),
            f"  longer side: {sizes[0]} to {sizes[-1]} pixels, median {self.side}",
        ]
        for column in self.labels:
            shown = ", ".join(f"{value} ({count})" for value, count in list(self.values(column).items())[:8])
            lines.append(f"  column {column}: {shown}")
        return "\n".join(lines)


def survey(data: Path) -> Survey:
    """Read labels.csv and the headers of some images below ``data``, which an import wrote.

    Raises:
        LabelsError: no label has crossed, or no image can be read.
    """
    with (data / LABELS.name).open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        rows = list(reader)
        columns = [name for name in reader.fieldnames or [] if name not in FIXED]
    paths = [row["path"] for row in rows]
    chosen = paths[:: -(-len(paths) // MOST)]
    found = [facts for _, facts in over(partial(_facts, data), chosen) if isinstance(facts, Facts)]
    if not found:
        raise LabelsError(f"No image below {data} can be read: medimg audit {data} looks at each.")
    return Survey(rows, columns, sorted(found, key=repr))


def _facts(data: Path, path: str) -> Facts | Failure | None:
    try:
        return header(data / path, path).facts
    except NotAnImage:
        return None
