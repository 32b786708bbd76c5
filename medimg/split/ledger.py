"""splits.csv: which part each patient is in, for life.

The file has three columns and no room for the settings that drew it, yet a clone that holds nothing else must notice
when they change. So its rows stand in the order of a hash keyed by those settings: under others, they are out of order.
"""

import re
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise

import pandas as pd

from medimg.errors import SplitError
from medimg.files import sha256, sha256_json
from medimg.params import Split
from medimg.records import LEDGER, LEDGER_COLUMNS, write_csv

PARTS = ("train", "validation", "test", "promotion")
FOLD = re.compile(r"fold-(0|[1-9]\d*)")
_IN_ORDER = 0.9  # share of neighbours that must be in order: a merge by hand may leave some out of it


@dataclass(frozen=True)
class Ledger:
    """Which part, or fold, each patient is in, and with which import batch it came."""

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
        unknown = sorted(part for part in {part for _, part, _ in self.rows} - set(PARTS) if not FOLD.fullmatch(part))
        if unknown:
            raise SplitError(f"{LEDGER} names the part {unknown[0]!r}. Parts are: {', '.join(PARTS)}, fold-0, …")

    @property
    def parts(self) -> dict[str, str]:
        """Patient → part or fold."""
        return {patient: part for patient, part, _ in self.rows}

    @property
    def batches(self) -> dict[str, int]:
        """Patient → the import batch that first brought an image of theirs; 0 where no import did."""
        return {patient: batch for patient, _, batch in self.rows}

    def drawn_by(self, draw: str) -> bool:
        """Whether the settings whose fingerprint is ``draw`` drew it: its rows stand in their order.

        Of n rows drawn by other settings, about half of the neighbours are in order by chance.
        """
        keys = [_place(draw, patient) for patient, _, _ in self.rows]
        ordered = sum(one < other for one, other in pairwise(keys))
        return len(keys) < 2 or ordered > _IN_ORDER * (len(keys) - 1)

    def write(self, draw: str) -> None:
        """Publish it, in the order that ``draw`` gives it."""
        rows = sorted(self.rows, key=lambda row: _place(draw, row[0]))
        write_csv(LEDGER, pd.DataFrame(rows, columns=LEDGER_COLUMNS), LEDGER_COLUMNS)


def fingerprint(settings: Split, seed: int) -> str:
    """What the draw depends on, hashed: another value would have dealt the patients in another way.

    Not in it are rules that name their patients (a column, sites, a batch): what they say is compared with the ledger,
    patient by patient.
    """
    keys = {"validation", "test", "promotion", "stratify", "folds"}
    return sha256_json([settings.model_dump(mode="json", include=keys), seed])


def read_ledger() -> Ledger:
    """The ledger as it stands, empty before the first split.

    Raises:
        SplitError: it holds a patient twice, or is not a table of patient, part and batch.
    """
    if not LEDGER.exists():
        return Ledger(())
    try:
        kinds = {"patient": str, "part": str, "batch": int}
        table = pd.read_csv(LEDGER, dtype=kinds, keep_default_na=False)[LEDGER_COLUMNS]  # a patient may be called NA
    except (ValueError, KeyError):
        raise SplitError(
            f"{LEDGER} is not a table of {', '.join(LEDGER_COLUMNS)}. Restore it: git checkout {LEDGER}"
        ) from None
    if (table == "").any(axis=None):
        raise SplitError(f"{LEDGER} has empty cells. Restore it: git checkout {LEDGER}")
    return Ledger(tuple(table.itertuples(index=False, name=None)))


def _place(draw: str, patient: str) -> str:
    return sha256(f"medimg ledger {draw} {patient}".encode())
