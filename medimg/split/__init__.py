"""Each patient into one part, for life: the ledger splits.csv is the memory, and a split that leaks cannot be built."""

import pandas as pd

from medimg.duplicates.groups import Groups
from medimg.errors import SplitError
from medimg.files import write_json
from medimg.params import Split
from medimg.records import INDEX, INDEX_SCHEMA, LEDGER, PARTS, PARTS_SCHEMA, SPLIT, read_table, write_table
from medimg.split.account import check, sentence, summary
from medimg.split.copies import find
from medimg.split.draw import Traits, deal, share_of
from medimg.split.ledger import FOLD, Ledger, fingerprint, read_ledger
from medimg.split.rules import contradictions, outside, ruled
from medimg.tasks import Task

__all__ = ["Ledger", "read_ledger", "split"]


def split(task: Task, seed: int, settings: Split, folds: int | None = None) -> None:
    """Deal the patients of the index into parts: ``splits.csv``, ``parts.parquet``, ``duplicates.csv``, ``split.json``.

    A patient whom the ledger knows keeps its part. The others are dealt so that each part, known patients included, has
    its share of every class. Neither depends on the order of files.

    Args:
        task: tells classes from labels.
        seed: ``study.seed``, the key of the draw unless ``settings`` have their own.
        settings: the block ``split`` of params.yaml.
        folds: ``train.folds``. Where the ledger holds no folds, train and validation together are dealt into so many;
            they are no one's for life, and no part changes by them.

    Raises:
        SplitError: an image has no patient, the ledger contradicts itself or the parameters, or a part would lack a
            class.
        LabelsError: the labels have one class only.
    """
    seed = seed if settings.seed is None else settings.seed
    index = read_table(INDEX, INDEX_SCHEMA)
    nameless = int(index["patient"].isna().sum())
    index = _with_patients(index, settings)
    excluded = index["label"].isna().map({True: "no label", False: None})
    labelled = index[excluded.isna()].copy()
    task.check(labelled["label"])
    labelled["stratum"] = task.strata(labelled["label"])
    copies = find(labelled, task, settings.altered_copies)
    excluded.update(copies.at_odds())
    draw = fingerprint(settings, seed)
    before = read_ledger()
    labelled["first"] = _first_batch(labelled, before)
    rules = ruled(labelled, before, settings)
    if not _still_valid(before, draw, rules, settings):
        before = Ledger(())
        rules = ruled(labelled, before, settings)  # who was in which fold says nothing any more
    ledger = _grow(before, labelled, copies.groups(), rules, settings, seed)
    entry = index["patient"].map(ledger.parts)
    part = entry.map(lambda name: _part_of(name, settings))
    if settings.folds == "sites":
        part = _with_validation(part, index["patient"], settings, seed)
    excluded.update(outside(labelled, entry[labelled.index], settings))
    excluded.update(copies.across(part, excluded.isna()))
    fold = entry.str.extract(FOLD.pattern, expand=False).astype("Int32")
    if folds is not None and settings.folds is None:
        learners = index["patient"].where(part.isin(["train", "validation"]))
        fold = learners.map(_folds(labelled, learners, copies.groups(), settings, seed, folds)).astype("Int32")
    parts = pd.DataFrame(
        {
            "sample": index["sample"],
            "patient": index["patient"],
            "part": part.where(excluded.isna(), "excluded"),
            "reason": excluded,
            "fold": fold,
        }
    )
    account = summary(parts, labelled, settings, seed, nameless)
    check(account, _lacking(task, index["label"], parts["part"]), fixed=bool(before.rows))
    write_table(PARTS, parts, PARTS_SCHEMA)
    copies.write()
    write_json(SPLIT, account)
    ledger.write(draw)  # last: a run killed before this leaves no trace in the draw, and one killed after it is done
    print(sentence(account))


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


def _lacking(task: Task, labels: pd.Series, part: pd.Series) -> dict[str, str]:
    """Part → why nothing can be learned from it or measured on it; empty where it can."""
    return {name: task.lacking(task.truth(labels[part == name])) for name in sorted(set(part) - {"excluded"})}


def _first_batch(labelled: pd.DataFrame, before: Ledger) -> pd.Series:
    """The batch with which the patient of each row first came."""
    seen = labelled["batch"].fillna(0).groupby(labelled["patient"]).transform("min").astype(int)
    return labelled["patient"].map(before.batches).fillna(seen).astype(int)


def _still_valid(ledger: Ledger, draw: str, rules: dict[str, str], settings: Split) -> bool:
    """Whether the ledger is what these settings draw; if not, it may be forgotten.

    Raises:
        SplitError: it is not, and the parameters do not say that it may be.
    """
    moved = contradictions(rules, ledger)
    if ledger.drawn_by(draw) and not moved:
        return True
    if settings.redraw:
        return False
    shares = pd.Series(ledger.parts).value_counts(normalize=True)
    found = ", ".join(f"{part} {100 * share:.0f} %" for part, share in shares.items())
    what = (
        f"{moved} patients of {LEDGER} stand in another part than split.column, test_sites or test_from_batch says."
        if moved
        else f"The seed or the fractions, promotion, stratify or folds of the block split are not those with which "
        f"{LEDGER} was drawn ({found}), or its rows were put in another order."
    )
    raise SplitError(
        f"{what} A patient keeps its part for life, or a model would be tested on whom another learned from. Set the "
        f"parameters back, or restore the file: git checkout {LEDGER}. To give every patient a new part, set "
        "split.redraw: true; the report will say so, and results before and after cannot be compared."
    )


def _grow(
    before: Ledger, labelled: pd.DataFrame, groups: Groups, rules: dict[str, str], settings: Split, seed: int
) -> Ledger:
    """The ledger with every patient of ``labelled`` in it; who was in it stays where they were."""
    placed = rules | before.parts
    traits = _traits(labelled, settings)
    anchor: dict[str, str] = {}  # group → the part where it has somebody already
    for patient in sorted(traits.keys() & placed.keys(), reverse=True):
        anchor[groups.of(patient)] = placed[patient]
    loose: dict[str, list[str]] = {}
    for patient in sorted(traits.keys() - placed.keys()):
        group = groups.of(patient)
        if group in anchor:
            placed[patient] = anchor[group]
        else:
            loose.setdefault(group, []).append(patient)
    held: dict[str, list[Traits]] = {}
    for patient, part in before.parts.items():
        if patient in traits and patient not in rules:
            held.setdefault(part, []).append(traits[patient])
    new = {group: [traits[patient] for patient in patients] for group, patients in loose.items()}
    for group, part in deal(new, held, _fractions(settings), seed).items():
        placed |= dict.fromkeys(loose[group], part)
    batch = labelled.groupby("patient")["first"].first()
    fresh = [(patient, placed[patient], int(batch[patient])) for patient in traits.keys() - before.parts.keys()]
    return Ledger(before.rows + tuple(fresh))


def _folds(
    labelled: pd.DataFrame, learners: pd.Series, groups: Groups, settings: Split, seed: int, folds: int
) -> dict[str, int]:
    """Patient of ``learners`` → fold of a cross-validation: alike in classes, copies together."""
    known = set(learners.dropna())
    together: dict[str, list[str]] = {}
    traits = _traits(labelled, settings)
    for patient in sorted(known & traits.keys()):
        together.setdefault(groups.of(patient), []).append(patient)
    counted = {group: [traits[patient] for patient in patients] for group, patients in together.items()}
    dealt = deal(counted, {}, {str(number): 1 / folds for number in range(folds)}, seed)
    return {patient: int(dealt[group]) for group, patients in together.items() for patient in patients}


def _traits(labelled: pd.DataFrame, settings: Split) -> dict[str, Traits]:
    """Patient → what they count for in the balance: each class, site and so on of their images."""
    found: dict[str, set[str]] = {patient: set() for patient in labelled["patient"].unique()}
    for name in settings.stratify:
        column = labelled["stratum" if name == "label" else name]
        for patient, value in zip(labelled["patient"], column, strict=True):
            if isinstance(value, str):
                found[patient].update(f"{name}={one}" for one in value.split(" + "))
    return {patient: frozenset(traits) for patient, traits in found.items()}


def _fractions(settings: Split) -> dict[str, float]:
    """Part or fold → its share of the patients who are drawn."""
    apart = {"test": settings.test, "promotion": settings.promotion}
    rest = 1 - sum(apart.values())
    if isinstance(settings.folds, int):
        return apart | {f"fold-{number}": rest / settings.folds for number in range(settings.folds)}
    return apart | {"validation": settings.validation, "train": rest - settings.validation}


def _part_of(entry: str | float, settings: Split) -> str | float:
    """A part or fold of the ledger → the part in this run; a patient without a labelled image has neither."""
    if not isinstance(entry, str) or not FOLD.fullmatch(entry):
        return entry
    held_out = entry == f"fold-{settings.fold}"
    if settings.fold_is_test:
        following = isinstance(settings.folds, int) and entry == f"fold-{(settings.fold + 1) % settings.folds}"
        return "test" if held_out else "validation" if following else "train"
    return "validation" if held_out else "train"


def _with_validation(part: pd.Series, patient: pd.Series, settings: Split, seed: int) -> pd.Series:
    """Beside a site that is test: the patients of the other sites who are validation whenever they are not test."""
    chosen = patient.map(lambda name: share_of(seed, f"validation {name}") < settings.validation)
    return part.mask(chosen & (part == "train"), "validation")
