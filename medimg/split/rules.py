"""Who is in a part because a rule says so: a column of labels.csv, a site held out, an import batch held out."""

from collections import Counter

import numpy as np
import pandas as pd

from medimg.errors import SplitError
from medimg.labels import read_labels
from medimg.params import Split
from medimg.records import LABELS
from medimg.split.ledger import FOLD, PARTS, Ledger

ELSEWHERE = "image from a held-out site, of a patient who is not held out"
NOT_HELD_OUT = "image from another site, of a patient of a held-out site"


def ruled(labelled: pd.DataFrame, before: Ledger, settings: Split) -> dict[str, str]:
    """Patient → the part that a rule of ``settings`` gives them; who is not in it is drawn.

    A rule looks at the images of the batch with which a patient first came: what comes later moves nobody.

    Args:
        labelled: rows of the index with ``first``, the patient's first batch.
        before: the ledger as it stands.
        settings: the block ``split``.

    Raises:
        SplitError: a rule names what is not there, or two parts for one patient.
    """
    first = labelled[labelled["batch"].fillna(0) <= labelled["first"]]
    parts: dict[str, str] = {}
    if settings.test_from_batch is not None:
        late = labelled[labelled["first"] >= settings.test_from_batch]
        parts |= dict.fromkeys(late["patient"].unique(), "test")
    if settings.test_sites:
        parts |= dict.fromkeys(_of_sites(first, labelled, settings.test_sites), "test")
    if settings.folds == "sites":
        parts |= _folds_of_sites(first, before)
    if settings.column is not None:
        parts |= _of_column(labelled, settings.column)
    return parts


def contradictions(rules: dict[str, str], ledger: Ledger) -> int:
    """How many patients of the ledger stand in another part than a rule says."""
    return sum(rules.get(patient, part) != part for patient, part, _ in ledger.rows)


def outside(labelled: pd.DataFrame, parts: pd.Series, settings: Split) -> pd.Series:
    """Images whose site and patient are on different sides of a hold-out of sites, with the reason to leave them out.

    Args:
        labelled: rows of the index.
        parts: of each row, the part of its patient in the ledger.
        settings: the block ``split``.
    """
    if settings.test_sites:
        there, at_home = labelled["site"].isin(settings.test_sites), parts == "test"
    elif settings.folds == "sites":
        here = f"fold-{settings.fold}"
        home = labelled.groupby("site")["patient"].agg(lambda patients: _commonest(parts[patients.index]))
        there, at_home = labelled["site"].map(home) == here, parts == here
    else:
        return pd.Series(dtype=object)
    from_there = (there & at_home).groupby(labelled["patient"]).transform("any")
    reasons = pd.Series(None, index=labelled.index, dtype=object)
    reasons[there & ~at_home] = ELSEWHERE
    reasons[~there & from_there] = NOT_HELD_OUT
    return reasons.dropna()


def _of_sites(first: pd.DataFrame, labelled: pd.DataFrame, sites: tuple[str, ...]) -> np.ndarray:
    known = sorted(labelled["site"].dropna().unique())
    unknown = [site for site in sites if site not in known]
    if unknown:
        raise SplitError(
            f"split.test_sites names {', '.join(map(repr, unknown))}, and no labelled image is from there. "
            f"Sites of the index: {', '.join(map(repr, known)) or 'none'}."
        )
    return np.asarray(first.loc[first["site"].isin(sites), "patient"].unique())


def _folds_of_sites(first: pd.DataFrame, before: Ledger) -> dict[str, str]:
    """Each patient in the fold of the site where most of the first images were made.

    A site keeps the number that its patients in the ledger have; a new one gets the next.
    """
    missing = int(first.groupby("patient")["site"].apply(lambda sites: sites.isna().all()).sum())
    if missing:
        raise SplitError(
            f"split.folds is sites, and {missing} patients have no site. Add a column site to labels.csv, or ask for a "
            "number of folds."
        )
    home = first.dropna(subset=["site"]).groupby("patient")["site"].agg(_commonest)
    known, folds = before.parts, dict[str, str]()
    for site, patients in home.groupby(home).groups.items():
        there = [known[patient] for patient in patients if FOLD.fullmatch(known.get(patient, ""))]
        if there:
            folds[str(site)] = _commonest(pd.Series(there))
    taken = [int(part.removeprefix("fold-")) for part in known.values() if FOLD.fullmatch(part)]
    following = max(taken, default=-1) + 1
    arrival = first.groupby("site")["first"].min()
    for site in sorted(set(home) - set(folds), key=lambda site: (arrival[site], site)):
        folds[site] = f"fold-{following}"
        following += 1
    return {str(patient): known.get(str(patient), folds[site]) for patient, site in home.items()}


def _of_column(labelled: pd.DataFrame, column: str) -> dict[str, str]:
    labels = read_labels(column)
    said = pd.Series([labels.of(key).get("label") for key in labelled[labels.key]], labelled.index, dtype=object)
    unknown = sorted(set(said.dropna()) - set(PARTS))
    if unknown:
        raise SplitError(
            f"Column {column!r} of {LABELS}, which split.column names, holds {', '.join(map(repr, unknown[:5]))}. "
            f"Allowed: {', '.join(PARTS)}, or nothing where the patient is to be drawn."
        )
    named = labelled.assign(said=said).dropna(subset=["said"]).groupby("patient")["said"]
    torn = int((named.nunique() > 1).sum())
    if torn:
        raise SplitError(
            f"Column {column!r} of {LABELS} puts {torn} patients in two parts: their images would be in train and in "
            "test. Give all rows of a patient the same part."
        )
    return {str(patient): str(part) for patient, part in named.first().items()}


def _commonest(values: pd.Series) -> str:
    """The most frequent value, of equals the first by name."""
    counts = Counter(str(value) for value in values.dropna())
    return min(counts, key=lambda value: (-counts[value], value)) if counts else ""
