"""The model card and the reporting checklists, filled with what the files of the run know."""

from typing import Any

from medimg.evaluation.flow import in_order
from medimg.evaluation.items import CLAIM, TRIPOD
from medimg.evaluation.result import Result
from medimg.evaluation.summary import cut, interval, number
from medimg.evaluation.words import UNITS, words_of
from medimg.params import Params
from medimg.params.learning import LESS_IS_BETTER

OPEN = "For the authors to write."


def card(result: Result) -> dict[str, Any]:
    """Label and text, in the order of Mitchell et al. 2019 (FAT*, Model cards for model reporting)."""
    known = facts(result)
    return {
        "entries": [
            ("Model", f"{known['model']} {known['started']}"),
            ("Answers", f"{known['question']} {known['output']}"),
            ("Takes", f"{known['input']} {known['preprocessing']}"),
            ("Intended use", known["intended_use"]),
            (
                "Not for",
                "Diagnosis, triage or treatment of a person; other kinds of image than it was trained on.",
            ),
            ("Trained on", known["trained_on"]),
            ("Truth", known["outcome"]),
            ("Training", f"{known['training']} {known['augmentation']} {known['chosen']}"),
            ("Measured", known["headline"]),
            ("Measured on", f"{known['test_size']} {known['unit']}"),
            ("Decides", known["decision"]),
            ("Recalibration", known["recalibration"]),
            ("Weights", known["weights"]),
        ]
    }


def checklists(result: Result) -> dict[str, Any]:
    """Both lists: number, title and what is known of each item."""
    known = facts(result)

    def filled(items: list[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
        return [(number, title, text.format(**known) if text else "") for number, title, text in items]

    return {"lists": [("TRIPOD+AI", filled(TRIPOD)), ("CLAIM 2024", filled(CLAIM))], "open": OPEN}


def facts(result: Result) -> dict[str, str]:
    """What is known of the run, as sentences."""
    return _of_data(result) | _of_model(result) | _of_evaluation(result) | _of_origin(result)


def _of_data(result: Result) -> dict[str, str]:
    study, sources = result.study, result.sources
    ingest = sources.ingest
    sites = len(ingest["sites"])
    parts = ", ".join(
        f"{name} {count['patients']:,} patients ({count['images']:,} images)"
        for name, count in in_order(sources.split["parts"]).items()
    )
    return {
        "question": study.question,
        "intended_use": study.intended_use.rstrip(".") + ".",
        "images": f"{ingest['indexed_files']:,}",
        "patients": f"{sources.parts['patient'].nunique():,}",
        "sites": "sites not recorded" if not sites else "1 site" if sites == 1 else f"{sites} sites",
        "outcome": f"{', '.join(study.columns)} in labels.csv; who set it and how is for the authors to say.",
        "missing": f"{ingest['unlabelled']:,} images without a label are in no part.",
        "split": f"By patient: {_divided(result)}. Kept in splits.csv.",
        "parts": parts[:1].upper() + parts[1:] + ".",
        "deidentified": f"{ingest['unverified']:,} files came past the import, so nothing vouches for them."
        if ingest["unverified"]
        else "On import, before anything else; its account is under data/imports.",
        "balance": _balance(result),
    }


def _divided(result: Result) -> str:
    """Which share of the patients each part has, and what decided it."""
    split, parts = result.params.split, in_order(result.sources.split["parts"])
    total = sum(count["patients"] for count in parts.values()) or 1
    shares = ", ".join(f"{name} {count['patients'] / total:.0%}" for name, count in parts.items())
    rules = []
    if split.column is not None:
        rules.append(f"as column {split.column} of labels.csv says")
    if split.test_sites:
        rules.append(f"all of {', '.join(split.test_sites)} are test")
    if split.test_from_batch is not None:
        rules.append(f"who came with import {split.test_from_batch} or later is test")
    if split.folds is not None:
        kind = "the sites" if split.folds == "sites" else f"{split.folds} folds"
        rules.append(f"number {split.fold} of {kind} is {'test' if split.fold_is_test else 'validation'}")
    who = "the others" if rules else "all"
    return f"{shares}; {'; '.join([*rules, f'{who} drawn once'])}"


def _learned_from(result: Result) -> str:
    """Who taught the network, and who chose among its epochs; test did neither."""
    parts = result.sources.split["parts"]
    train, validation = (
        f"{parts[name]['patients']:,} patients ({parts[name]['images']:,} images)" for name in ("train", "validation")
    )
    if len(result.sources.model["members"]) > 1:
        return f"{train} of train and {validation} of validation, each network without one fold of them."
    return f"{train} of train; {validation} of validation chose the epoch and what decides."


def _balance(result: Result) -> str:
    shares = [f"{q.name} {100 * q.test.positive / len(q.test):.1f} %" for q in result.questions]
    return f"Share of positives in test: {', '.join(shares)}." if shares else "There are no classes."


def _of_model(result: Result) -> dict[str, str]:
    params, model = result.params, result.sources.model
    history = result.sources.history
    monitor = params.train.monitor
    decided = result.task.score_name if monitor == "score" else monitor.replace("_", " ")
    best = f"{'least' if monitor in LESS_IS_BETTER else 'best'} {decided}"
    epochs = ", ".join(str(member["epoch"] + 1) for member in model["members"])
    changes = [name.replace("_", " ") for name in params.augment.active()]
    return {
        "network": f"{model['name']}, a neural network.",
        "model": f"{model['name']} with {model['parameters']:,} learned numbers.",
        "weights": model["weights_sha256"],
        "started": "Started from scratch." if model["transferred"] is None else "Started from given weights.",
        "input": f"{_input(params)}.",
        "preprocessing": f"{_fit(params)}; its grey values "
        + ("by their mean and deviation." if params.preprocess.intensity == "zscore" else "scaled to a fixed range."),
        "augmentation": f"Random changes in training: {', '.join(changes)}." if changes else "No augmentation.",
        "training": f"{len(history)} epochs, batches of {params.train.batch_size}, {params.train.optimizer}.",
        "chosen": f"The epoch with the {best} on validation, number {epochs}."
        if len(model["members"]) == 1
        else f"Of each fold's network the epoch with the {best} on its fold, numbers {epochs}; their logits' mean.",
        "ensemble": "None."
        if len(model["members"]) == 1
        else f"{len(model['members'])} networks, one without each fold; the mean of their logits answers.",
        "output": f"{result.judge.decision[:1].upper()}{result.judge.decision[1:]}.",
    }


def _input(params: Params) -> str:
    """What the network is given, in words."""
    settings, volume = params.preprocess, params.ingest.sample == "volume"
    what, unit = ("A volume", "voxels") if volume else ("An image", "pixels")
    size, _ = settings.axes(3 if volume else 2)
    shape = f"{' × '.join(map(str, size))} {unit}" if size else "its own size"
    return f"{what} of {shape}, {settings.channels} channel(s)"


def _fit(params: Params) -> str:
    """How it came to that size."""
    if params.preprocess.size is None:
        return "Its size is kept"
    how = {"pad": "scaled to fit and padded", "stretch": "stretched", "crop": "cut or padded around its middle"}
    return f"Brought to that size ({how[params.preprocess.fit]})"


def _of_evaluation(result: Result) -> dict[str, str]:
    study, headline, own = result.study, result.headline, result.validation.own
    name = words_of(study.headline, study.task)[0]
    plain = headline.as_json() | {"confidence": result.settings.confidence}
    correction = result.frozen.recalibration
    units = UNITS[study.unit]
    return {
        "headline": f"{name} {number(headline.value)} ({interval(plain)}) on test."
        if headline.value is not None
        else f"{name} is undefined on test: {headline.reason}.",
        "on_validation": f"{number(own.value)} on validation." if own.value is not None else "",
        "confidence": f"{100 * result.settings.confidence:g} %",
        "test_size": f"Test: {result.test.patients:,} patients, {len(result.test):,} {units[1]}.",
        "unit": f"A unit is a {units[0]}." if study.unit != "image" else "A unit is an image.",
        "decision": "; ".join(
            f"{question}: {cut(point.threshold)} or above" for question, point in result.frozen.points.items()
        )
        or result.judge.decision,
        "recalibration": "None: there are no probabilities."
        if correction is None
        else f"By {correction.method}, fitted on validation, {'applied' if result.frozen.applied else 'not applied'}.",
    }


def _of_origin(result: Result) -> dict[str, str]:
    """What is told otherwise where the model comes from elsewhere."""
    if result.external is None:
        headline = _of_evaluation(result)["headline"]
        return {
            "aim": "Development, and evaluation on patients set aside.",
            "difference": "Same sources, other patients.",
            "disjoint": "Patients: none is in two parts.",
            "internal": headline,
            "external": "None in this report.",
            "trained_on": _learned_from(result),
        }
    elsewhere = "See the report of the study that made the bundle."
    return {
        "aim": "Evaluation of a frozen model on other data.",
        "difference": "Other data; how they differ is for the authors to say.",
        "disjoint": "Patients, as far as equal pseudonyms or pixels tell.",
        "internal": f"{result.external.there}.",
        "external": f"This report, of the bundle {result.external.bundle}.",
        "trained_on": f"Other data. {elsewhere}",
        "split": "None: all that was not left out is test.",
        "training": elsewhere,
    }
