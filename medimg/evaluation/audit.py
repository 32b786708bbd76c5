"""The shortcut audit of a study: its small models, the network's own experiment, the verdict."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from medimg.evaluation import baselines, features
from medimg.evaluation.answers import Answers
from medimg.evaluation.baselines import Design, Fitted
from medimg.evaluation.estimate import Estimate, undefined
from medimg.evaluation.influence import Influence
from medimg.evaluation.material import Material, material_of
from medimg.evaluation.result import Result
from medimg.evaluation.shortcuts import (
    Check,
    Judgement,
    Ranking,
    above_share,
    against,
    alone,
    corrected,
    judge,
    nothing,
    strongest,
)
from medimg.evaluation.sites import Place, given_truth, places
from medimg.params import Shortcuts
from medimg.records import STORE
from medimg.regions import rim_of
from medimg.store import Store

LOOKS = 7  # acquisition, size and rim by two families each, and the transplant
TITLES = {
    "acquisition": "How images were acquired",
    "size": "Size and bit depth",
    "thumbnail": "A thumbnail of 16 × 16",
    "clinical": "Age and sex",
    "rim": "The rim of the picture",
    "rest": "The picture without its rim",
    "transplant": "Another patient's rim",
}


@dataclass(frozen=True)
class Baseline:
    """What small models make of one kind of features."""

    name: str
    about: list[str]
    """columns used; empty for pixels"""
    families: dict[str, Estimate]
    """AUROC on test of each family"""
    chosen: str
    """family that validation chose; empty where there is nothing to learn from"""
    rankings: dict[str, Ranking]
    """by family"""
    lead: Estimate
    """AUROC of the network less that of the chosen family, paired"""

    @property
    def ranking(self) -> Ranking | None:
        """Of the family that validation chose."""
        return self.rankings.get(self.chosen)

    def as_json(self) -> dict[str, Any]:
        """Plain values for shortcuts.json."""
        return {
            "title": TITLES[self.name],
            "columns": self.about,
            "auroc": {family: estimate.as_json() for family, estimate in self.families.items()},
            "chosen_on_validation": self.chosen or None,
            "network_leads_by": self.lead.as_json(),
        }


@dataclass(frozen=True)
class Audit:
    """Everything that the audit found."""

    judgement: Judgement
    network: Estimate
    baselines: dict[str, Baseline]
    places: list[Place]
    follows: Estimate
    """chance that, of two units of the same truth, the one whose acquisition speaks for yes gets the higher score"""
    rest_of_transplant: Estimate
    """AUROC of the network for the receiver's label, with another patient's rim"""
    rim_area: float

    def as_json(self) -> dict[str, Any]:
        """The content of shortcuts.json."""
        judgement = self.judgement
        return {
            "verdict": judgement.verdict,
            "fired": [check.name for check in judgement.fired],
            "unresolved": [check.name for check in judgement.unresolved],
            "low_resolution_suffices": judgement.low_resolution_suffices,
            "network": self.network.as_json(),
            "checks": {check.name: check.as_json() for check in judgement.checks},
            "baselines": {name: found.as_json() for name, found in self.baselines.items()},
            "places": [place.as_json() for place in self.places],
            "score_follows_acquisition_given_truth": self.follows.as_json(),
            "transplant_receiver": self.rest_of_transplant.as_json(),
            "rim_area": round(self.rim_area, 4),
        }


def audit(material: Material, settings: Shortcuts, confidence: float, seed: int) -> Audit:
    """Fit the small models, run the checks, judge."""
    found = {
        name: _baseline(name, material, make(material), about, confidence, seed)
        for name, make, about in _kinds(material, settings)
    }
    level = corrected(confidence, LOOKS)
    checks = [_alone(found[name], settings, level, confidence) for name in ("acquisition", "size")]
    checks.append(_rim(found["rim"], found["rest"], settings, level, confidence))
    area = float(rim_of(*_sides(material), settings.rim).mean())
    transplant, receiver = _transplant(material, area, level, confidence)
    checks.append(transplant)
    network = material.network.estimate(confidence)
    thumbnail = found["thumbnail"]
    small = thumbnail.ranking.estimate(confidence) if thumbnail.ranking else None
    return Audit(
        judgement=judge(checks, network, small, thumbnail.lead, settings),
        network=network,
        baselines=found,
        places=places(material.answers, material.network, confidence),
        follows=follows(found["acquisition"], material.network, confidence),
        rest_of_transplant=receiver,
        rim_area=area,
    )


def _sides(material: Material) -> tuple[int, int]:
    height, width = material.store.images.shape[-2:]
    return height, width


def audit_of(result: Result, answers: Answers) -> Audit | None:
    """The audit of an evaluation; None where there is no train part to teach the small models."""
    sources, study, settings = result.sources, result.study, result.settings
    if not (sources.parts["part"] == "train").any():
        return None
    material = material_of(
        result.task,
        sources.index,
        sources.parts,
        {part: sources.predictions.part(part) for part in ("validation", "test")},
        answers,
        result.test.truth,
        Store.open(STORE),
        unit=study.unit,
        aggregate=settings.aggregate,
    )
    return audit(material, settings.shortcuts, settings.confidence, study.seed)


Maker = Callable[[Material], Design]


def _kinds(material: Material, settings: Shortcuts) -> list[tuple[str, Maker, list[str]]]:
    """Name, maker of features and columns of each kind of baseline."""
    tables = {
        "acquisition": features.acquisition,
        "size": features.size,
        "clinical": features.clinical,
    }
    kinds: list[tuple[str, Maker, list[str]]] = []
    for name, select in tables.items():
        columns = list(select(material.everything).columns)
        kinds.append((name, lambda m, columns=columns: baselines.design(m.tables(columns)), columns))  # type: ignore[misc]
    kinds.append(("thumbnail", lambda m: m.pixels(lambda samples: features.thumbnails(m.store, samples)), []))
    for place, name in enumerate(("rim", "rest")):
        kinds.append((name, lambda m, at=place: m.pixels(  # type: ignore[misc]
            lambda samples: features.rim_and_rest(m.store, samples, settings.rim)[at]), []))  # fmt: skip
    return kinds


def _baseline(name: str, material: Material, data: Design, about: list[str], confidence: float, seed: int) -> Baseline:
    questions = [
        baselines.fit(data, truth, validation, seed)
        for truth, validation in zip(material.train_truth.T, material.validation_truth.T, strict=True)
    ]
    taught = [fitted for fitted in questions if fitted]
    if not taught:
        return Baseline(name, about, {}, "", {}, undefined("there is nothing to learn from"))
    rankings = {
        fitted.family: material.ranked(np.stack([_scores(q, place, material) for q in questions], axis=1))
        for place, fitted in enumerate(taught[0])
    }
    mean = {
        fitted.family: float(np.mean([q[place].validation_auroc for q in taught]))
        for place, fitted in enumerate(taught[0])
    }
    chosen = max(mean, key=lambda family: mean[family])
    network, small = material.network.influence, rankings[chosen].influence
    lead = (network - small).estimate(confidence) if network and small else undefined("a class has too few patients")
    families = {family: ranking.estimate(confidence) for family, ranking in rankings.items()}
    return Baseline(name, about, families, chosen, rankings, lead)


def _scores(fitted: list[Fitted], place: int, material: Material) -> np.ndarray:
    return fitted[place].test if fitted else np.full(len(material.test), 0.5)


def _alone(baseline: Baseline, settings: Shortcuts, level: float, confidence: float) -> Check:
    name, title = baseline.name, TITLES[baseline.name]
    if not baseline.rankings:
        return nothing(name, title, "all images are alike in what is recorded of it")
    return strongest(
        [alone(name, title, ranking, level, confidence) for ranking in baseline.rankings.values()], settings
    )


def _rim(rim: Baseline, rest: Baseline, settings: Shortcuts, level: float, confidence: float) -> Check:
    title, checks = TITLES["rim"], []
    for family in rim.rankings:
        one, other = rim.rankings[family].influence, rest.rankings[family].influence
        excess = one - other if one and other else None
        note = "compared with the rest of the picture"
        checks.append(against("rim", title, rim.rankings[family], excess, note, level, confidence))
    return strongest(checks, settings) if checks else nothing("rim", title, "there is nothing to learn from")


def _transplant(material: Material, area: float, level: float, confidence: float) -> tuple[Check, Estimate]:
    """The check, and the AUROC for the receiver's label."""
    table = material.transplants
    if table is None or not len(table):
        missing = undefined("the experiment was not made")
        return nothing("transplant", TITLES["transplant"], "the experiment was not made"), missing
    donor, receiver = table.of_donor, table.of_receiver
    rim, rest = donor.influence, receiver.influence
    excess: Influence | None = above_share(rim, rest, area) if rim and rest else None
    note = f"compared with its share of the area, {100 * area:.0f} %"
    check = against("transplant", TITLES["transplant"], donor, excess, note, level, confidence)
    return check, receiver.estimate(confidence)


def follows(acquisition: Baseline, network: Ranking, confidence: float) -> Estimate:
    """Chance that, of two units of the same truth, the network scores that higher whose acquisition speaks for yes."""
    if acquisition.ranking is None:
        return undefined("acquisition does not differ")
    speaks = acquisition.ranking.score  # for each question: what speaks for one class speaks against the others
    found = given_truth(speaks > np.median(speaks, axis=0), network)
    return found.estimate(confidence) if found else undefined("too few patients of one truth on either side")
