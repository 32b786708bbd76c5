"""data/labels.csv: who is in an image and what is the matter, one row a file or one row a patient."""

import difflib
from dataclasses import dataclass

import pandas as pd

from medimg.errors import LabelsError
from medimg.records import LABELS

KNOWN = ("path", "patient", "sex", "age", "site")


@dataclass(frozen=True)
class Labels:
    """The rows of labels.csv, all values as text, missing ones None."""

    table: pd.DataFrame
    """columns ``patient, sex, age, site, label``, indexed by path or, where there is no path column, by patient"""
    by_path: bool

    def of(self, path: str, patient: str | None) -> dict[str, str | None]:
        """What the table says of the file at ``path`` below data/, whose header names ``patient``; empty for no row."""
        key = path if self.by_path else patient
        if key is None or key not in self.table.index:
            return {}
        return dict(zip(self.table.columns, self.table.loc[key], strict=True))


def read_labels(column: str) -> Labels:
    """Read labels.csv and check that it can be used with ``column`` as the label.

    Raises:
        LabelsError: the file or the column is missing, neither path nor patient is a column, or rows contradict.
    """
    try:
        table = pd.read_csv(LABELS, dtype=str, keep_default_na=False, na_values=[""], encoding="utf-8-sig")
    except FileNotFoundError:
        raise LabelsError(
            f"There is no {LABELS}. It needs one row an image, with the columns path (below data/), patient and "
            f"{column}. Bring it in with: medimg import IMAGES --labels labels.csv"
        ) from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError):
        raise LabelsError(f"{LABELS} is not a CSV table in UTF-8 with a row of column names first.") from None
    columns = [str(name) for name in table.columns]
    if column not in columns:
        near = difflib.get_close_matches(column, columns, n=1, cutoff=0.5)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise LabelsError(
            f"{LABELS} has no column {column!r}, which study.label in params.yaml names. "
            f"Its columns are: {', '.join(columns)}.{hint}"
        )
    key = next((name for name in ("path", "patient") if name in columns), None)
    if key is None:
        raise LabelsError(f"{LABELS} needs a column path or patient, to tell which image a row is about.")
    return Labels(_one_row_a_key(table, key, column), by_path=key == "path")


def _one_row_a_key(table: pd.DataFrame, key: str, column: str) -> pd.DataFrame:
    rows = pd.DataFrame({"key": table[key]})
    for name in KNOWN[1:]:
        rows[name] = table.get(name)
    rows["label"] = table[column].str.strip()
    rows = rows.dropna(subset=["key"]).drop_duplicates()
    twice = rows["key"].duplicated(keep=False)
    if twice.any():
        raise LabelsError(
            f"{LABELS} has {rows.loc[twice, 'key'].nunique()} values of {key!r} with rows that contradict each other. "
            "Leave one row for each."
        )
    rows = rows.set_index("key").astype(object)
    return rows.where(rows.notna(), None)
