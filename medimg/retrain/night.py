"""One night, step by step."""

from pathlib import Path

from medimg.errors import NightError, ParamsError
from medimg.params import load
from medimg.retrain.clone import Clone
from medimg.retrain.data import compare_with_before, enough, fetch_data, prepare
from medimg.retrain.journal import Journal
from medimg.retrain.outcome import Outcome, Status
from medimg.retrain.pipeline import Budget, repro
from medimg.retrain.register import check_grown, verify
from medimg.retrain.repository import ROOM, Moved
from medimg.retrain.state import Night, aftermath, follow, publish
from medimg.retrain.there import train_there
from medimg.retrain.tidy import sweep, tidy
from medimg.retrain.verdict import decision, judge
from medimg.stage import check_code

PUBLISHED = ("publish", "follow", "tidy")
"""Steps in which the push may have happened."""


def play(study: Path, outcome: Outcome, force: bool, anew: bool) -> None:
    """Play the night under the lock, anew when the branch moved meanwhile.

    Raises:
        NightError: it ends before a decision.
        ParamsError: the study is not ready for nights.
    """
    journal = Journal(study / ROOM / "night.json", outcome)
    journal.step("begin")
    params = load(study / "params.yaml")
    settings = params.retrain
    budget = Budget(settings.hours, settings.free_gib, study)
    clone = Clone.of(study)
    try:
        if budget.short() and clone.root.exists():  # what fills the disk may be what nights have left that failed
            sweep(clone, settings.keep_days)
        budget.check()
        for _ in range(settings.attempts):
            try:
                with budget.watched():
                    _once(Night(clone, params, budget, outcome, journal, anew), force)
                clone.ended_well()
                return
            except Moved:
                journal.before = {}  # healed already
                outcome.rules, outcome.drift, outcome.warnings = [], [], []
        raise NightError(
            Status.POSTPONED,
            f"The branch {clone.branch} moved while the night ran, {settings.attempts} times. Nothing was changed.",
        )
    finally:
        journal.end()


def _once(night: Night, force: bool) -> None:
    sync(night)
    fetch_data(night)
    if not enough(night) and not force:
        return
    prepare(night)
    compare_with_before(night)
    train(night)
    rules, found, models = judge(night)
    decision(night, rules, found, models)
    publish(night)
    clean_up(night)


def sync(night: Night) -> None:
    """Go to where the branch is; publish or undo what the night before left.

    Raises:
        Moved: never lasting: the branch moved between two looks.
    """
    night.journal.step("sync")
    clone, outcome = night.clone, night.outcome
    damaged = clone.fetch()
    if clone.unpublished():
        clone.store()
        clone.publish()
        outcome.commit, outcome.healed = clone.git("rev-parse", "HEAD"), "published what the night before had decided"
        follow(night)
    elif step := night.journal.unfinished():
        published = step in PUBLISHED and clone.git("rev-parse", "HEAD") == clone.upstream
        done = "followed a night that was published and then" if published else "undid a night that was"
        outcome.healed = f"{done} cut off in step {step}"
        follow(night)
    if damaged:
        outcome.healed = "; ".join(filter(None, ["made a damaged clone anew", outcome.healed]))
    clone.reset()
    night.base = clone.git("rev-parse", "HEAD")
    night.params = load(night.place / "params.yaml")
    check_code(night.place)
    if not night.params.split.promotion:
        raise ParamsError(
            "split.promotion is 0, so there are no patients on whom a new model could be compared with the one in use. "
            "Set it, such as 0.15, before the first split; afterwards it takes split.redraw: true."
        )
    if not night.anew:
        check_grown(clone)
    champion = verify(night.place)
    outcome.champion = champion.bundle.seal[:16] if champion else ""
    night.champion = None if night.anew else champion


def train(night: Night) -> None:
    """The whole pipeline, here or on a cluster: the challenger and its evaluation on test."""
    night.journal.step("train")
    if night.params.retrain.submit:
        train_there(night)
    else:
        repro(night.place, night.room / "night.log", night.budget)


def clean_up(night: Night) -> None:
    """Housekeeping; what goes wrong there changes nothing of the night."""
    settings = night.params.retrain
    with aftermath(night):
        night.journal.step("tidy")
        tidy(night.clone, verify(night.place), settings.keep_nights, settings.keep_models)
        sweep(night.clone, settings.keep_days)
