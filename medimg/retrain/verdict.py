"""The steps of a night after the training: judge the challenger, and write the decision down."""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from medimg.errors import DataError, NightError
from medimg.evaluation.compare import Model, compare
from medimg.files import sha256_file
from medimg.promote.champion import Bundle, materialise, read_champion
from medimg.promote.history import read_history
from medimg.promote.rules import Evidence, Rule, another_model, better, decide
from medimg.promote.show import measured
from medimg.records import BUNDLE, EVALUATION, LEDGER, PARTS, PARTS_SCHEMA, read_table
from medimg.retrain.assess import Assessment, assess, index_of, scored
from medimg.retrain.bring import learned
from medimg.retrain.driftpage import bind
from medimg.retrain.journal import now
from medimg.retrain.outcome import Status
from medimg.retrain.register import crown, record
from medimg.retrain.state import Night


def judge(night: Night) -> tuple[list[Rule], Assessment, dict[str, Model]]:
    """Evaluate challenger, champion and anchor on the same patients of promotion, and ask the rules."""
    night.journal.step("judge")
    night.budget.check()
    place, params, champion = night.place, night.params, night.champion
    try:
        found = assess(place, place / BUNDLE, params, night.room / "promotion")
    except DataError as error:
        raise NightError(Status.FAILED, f"The challenger cannot be judged: {error}") from None
    bind(night.room / "drift.html", night.room / "promotion")
    parts = read_table(place / PARTS, PARTS_SCHEMA)
    chosen = parts.loc[parts["part"] == "promotion", "sample"]
    others = {"champion": champion.bundle, "anchor": champion.anchor} if champion else {}
    folders = {name: materialise(night.clone.study, bundle) for name, bundle in others.items()}
    models = {"champion": scored(place, folders["champion"], params, chosen)} if champion else {}
    if champion and champion.anchor != champion.bundle:
        models["anchor"] = scored(place, folders["anchor"], params, chosen)
    ledger = pd.read_csv(place / LEDGER, dtype={"patient": str})
    newcomers = ledger.loc[ledger["batch"] > learned(place, read_history(place), champion), "patient"]
    evidence = Evidence(
        found.model, models.get("champion"), models.get("anchor"), frozenset(newcomers), index_of(place),
        found.metrics, found.shortcuts,
    )  # fmt: skip
    rules = [
        *decide(evidence, params),
        *another_model(Bundle.of(place).seal, champion.bundle.seal if champion else None),
    ]
    night.outcome.rules = [rule.as_json() for rule in rules]
    return rules, found, models


def decision(night: Night, rules: list[Rule], found: Assessment, models: dict[str, Model]) -> None:
    """Write the decision into the registry, and commit it with data, split and pipeline."""
    night.journal.step("decide")
    place, outcome, bundle = night.place, night.outcome, Bundle.of(night.place)
    metrics = {"promotion": _headline(found.metrics), "test": _headline(_json(place / EVALUATION / "metrics.json"))}
    about = {
        "at": now(), "commit": night.base, "batch": night.came.batch, "imports": night.came.imports,
        "images": night.came.images, "patients": night.came.patients, "drift": outcome.drift, "rules": outcome.rules,
        "splits": sha256_file(place / LEDGER),
    }  # fmt: skip
    if night.anew:
        about |= {"by": night.clone.person(), "reason": "judged anew, without the champion"}
    broken = [rule for rule in rules if not rule.held]
    said = measured(metrics["promotion"])
    if broken:
        challenger = {"challenger": vars(bundle), "metrics": metrics}
        record(place, "kept", about | challenger, read_champion(place))
        outcome.status = Status.KEPT
        reasons = "; ".join(f"{rule.name}: {rule.said}" for rule in broken)
        kept = "The champion stays" if outcome.champion else "There is still no champion"
        outcome.sentence = f"{kept}. {reasons}."
        _commit(night, f"Keep the champion: {', '.join(rule.name for rule in broken)}")
        return
    crown(place, "promoted", about, bundle, _anchor(night, bundle, found.model, models), metrics)
    outcome.status = Status.PROMOTED
    outcome.sentence = f"A new champion: {said} of promotion; all {len(rules)} rules hold."
    _commit(night, f"Promote a model: {said}")


def _commit(night: Night, message: str) -> None:
    night.clone.commit(message)
    night.clone.ready(night.clone.state())


def _anchor(night: Night, bundle: Bundle, challenger: Model, models: dict[str, Model]) -> Bundle:
    """The best ever promoted, the challenger included, by what decides, on the same patients."""
    if night.champion is None:
        return bundle
    best = models.get("anchor", models["champion"])
    return bundle if better(compare(challenger, best, night.params), night.params) else night.champion.anchor


def _headline(metrics: dict[str, Any]) -> dict[str, Any]:
    return {name: metrics["headline"][name] for name in ("name", "value", "low", "high")} | {
        "patients": metrics["counts"]["test"]["patients"]
    }


def _json(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found
