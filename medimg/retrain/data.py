"""The steps of a night before it trains: new data, whether they are enough, and how far they lie from what is known."""

from medimg.errors import NightError
from medimg.files import write_text
from medimg.promote.champion import materialise
from medimg.promote.history import read_history
from medimg.retrain.assess import scored
from medimg.retrain.bring import Seen, bring, learned, news
from medimg.retrain.drift import drift, to_score
from medimg.retrain.driftpage import page
from medimg.retrain.journal import now
from medimg.retrain.outcome import Status
from medimg.retrain.pipeline import repro
from medimg.retrain.register import record
from medimg.retrain.state import Night, publish


def fetch_data(night: Night) -> None:
    """Bring data and results of the last night to the clone, then what is new through the border."""
    clone, settings = night.clone, night.params.retrain
    night.journal.step("data")
    if settings.source is None:
        clone.take()
    clone.checkout()
    night.journal.step("import")
    night.seen = seen = Seen(clone.study, settings, night.place)
    if not seen.unchanged():
        stamp = clone.state()
        clone.touched()
        night.brought = bring(night.place, clone.study, settings, seen)
        if not night.brought:
            clone.ready(stamp)
            seen.remember()
    night.came = news(night.place, read_history(night.place))
    night.outcome.images, night.outcome.patients = night.came.images, night.came.patients


def enough(night: Night) -> bool:
    """Whether what came since the last training is worth one; if not, the night ends here.

    Data that are too few are kept all the same, so that a source that moves on (the images of yesterday) loses none.
    """
    came, outcome, wanted = night.came, night.outcome, night.params.retrain.new_patients
    if came.patients_or_labels >= wanted:
        return True
    outcome.status = Status.NOTHING_NEW
    if not came.images and not came.relabelled:
        outcome.sentence = "Nothing new has come."
        return False
    outcome.sentence = (
        f"{came.images} new images of {came.patients} patients have come, and {came.relabelled} other labels: "
        f"retrain.new_patients asks for {wanted}. They are kept until there are enough."
    )
    night.journal.step("keep")
    if night.brought:
        _add_data(night)
    if night.clone.git("status", "--porcelain", "--", *(f"{night.clone.prefix}{name}" for name in ("data.dvc",))):
        night.clone.commit(f"Keep {came.images} new images of {came.patients} patients until there are enough")
        night.clone.ready(night.clone.state())
        publish(night)
    return False


def _add_data(night: Night) -> None:
    done = night.clone.dvc("add", "--quiet", "data")
    if done.returncode:
        raise NightError(Status.POSTPONED, "DVC could not take note of the new images (is the disk full?).")


def prepare(night: Night) -> None:
    """``dvc add``, then index, split and store."""
    night.journal.step("prepare")
    night.clone.touched()
    _add_data(night)
    night.budget.check()
    repro(night.place, night.room / "night.log", night.budget, "split", "preprocess")


def compare_with_before(night: Night) -> None:
    """Whether what came is still what the champion knows: warn, or stop before anything is trained.

    Raises:
        NightError: a distance is as large as ``retrain.drift.stop``.
    """
    champion, place = night.champion, night.place
    if champion is None:
        return
    night.journal.step("drift")
    bundle = materialise(night.clone.study, champion.bundle)
    history = read_history(place)
    batch = learned(place, history, champion)
    said = scored(place, bundle, night.params, to_score(place, batch))
    found = drift(place, batch, said, night.params)
    night.outcome.drift = [one.as_json() for one in found]
    night.outcome.warnings += [f"drift: {one}" for one in found if one.level != "ok"]
    now_and_before = page(history, night.outcome.drift, night.params.retrain.drift)
    write_text(night.room / "drift.html", now_and_before)
    stop = "; ".join(str(one) for one in found if one.level == "stop")
    if stop:
        note_stop(night, stop)
        raise NightError(
            Status.DRIFTED,
            f"What came is too far from what the champion learned from: {stop}. Nothing was changed. Look at the "
            "delivery; if it is right, raise retrain.drift.stop.",
        )


def note_stop(night: Night, reason: str) -> None:
    """Publish a line of the history alone: what came and was refused. Nights that refuse the same again add none.

    Raises:
        Moved: the branch has other commits meanwhile.
    """
    came, clone, outcome = night.came, night.clone, night.outcome
    history = read_history(night.place)
    if history and history[-1].get("refused") == came.imports:
        return
    about = {"at": now(), "commit": night.base, "refused": came.imports, "images": came.images}
    about |= {"patients": came.patients, "drift": outcome.drift, "reason": reason}
    record(night.place, "stopped", about, night.champion)
    try:
        outcome.commit = clone.note("Refuse a delivery: it is too far from what the champion learned from")
    except NightError as error:
        outcome.warnings.append(f"The refusal does not stand in the history: {error}")
        return
    if said := clone.follow():
        outcome.warnings.append(said)
