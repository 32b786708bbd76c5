"""The shortcut audit in words: the first screen's line, and the report's section."""

from typing import Any

from medimg.evaluation.audit import TITLES, Audit, Baseline
from medimg.evaluation.estimate import Estimate
from medimg.evaluation.forest import p_text, value_text
from medimg.evaluation.section import Section
from medimg.evaluation.shortcuts import Check
from medimg.evaluation.sites import Place
from medimg.evaluation.summary import number
from medimg.params import Shortcuts

NAME = "Shortcut audit"
WHAT = {
    "acquisition": "how images were acquired",
    "size": "their size and bit depth",
    "rim": "the rim of the picture",
    "transplant": "the network's reading of the rim",
}
FOUND = {
    "acquisition": "how images were acquired tells the label without a look at them",
    "size": "size and bit depth tell the label without a look at the images",
    "rim": "the rim of the picture tells the label, and better than the rest of it",
    "transplant": "given another patient's rim, the network follows that patient's label",
}
SHOWN = ("acquisition", "size", "thumbnail", "clinical", "rim", "rest")


def section(found: Audit | None, settings: Shortcuts) -> Section:
    """The audit; ``None``: there is no train part here to teach the small models."""
    if found is None:
        text = "not made: there is no train part here, from which small models could learn."
        return Section(
            "shortcuts.html.j2", {"audit": None, "text": text}, "shortcuts.json", {"verdict": None}, (NAME, text)
        )
    text = sentence(found)
    content = {
        "audit": found,
        "text": text,
        "follows": _follows(found),
        "checks": [_check(check, found, settings) for check in found.judgement.checks],
        "baselines": [_baseline(found.baselines[name]) for name in SHOWN],
        "places": [_place(place) for place in found.places],
        "columns": found.baselines["acquisition"].about,
        "network": value_text(found.network),
        "receiver": value_text(found.rest_of_transplant),
        "area": f"{100 * found.rim_area:.0f}\u00a0%",
        "settings": settings,
    }
    return Section("shortcuts.html.j2", content, "shortcuts.json", found.as_json(), (NAME, text))


def sentence(found: Audit) -> str:
    """The verdict and what it rests on."""
    judgement = found.judgement
    thumbnail = found.baselines["thumbnail"]
    best = thumbnail.families.get(thumbnail.chosen)
    low = ""
    if judgement.low_resolution_suffices and best is not None and judgement.verdict != "suspect":
        low = f" Low resolution suffices: a thumbnail of 16 × 16 pixels reaches AUROC {value_text(best)}."
    if judgement.verdict == "suspect":
        reasons = "; ".join(f"{FOUND[check.name]} (AUROC {value_text(check.auroc)})" for check in judgement.fired)
        return f"suspect. Something other than the finding may explain the result: {reasons}."
    if judgement.verdict == "pass":
        recorded = "" if found.baselines["acquisition"].about else ", as far as recorded"
        return f"pass. Neither {', nor '.join(WHAT.values())} tells the label{recorded}.{low}"
    named = ", ".join(
        f"{WHAT[check.name]} (AUROC {'undefined' if check.high is None else f'up to {number(check.high)}'})"
        for check in judgement.unresolved
    )
    return f"too few patients to tell whether a shortcut hides in {named or 'this study'}.{low}"


def _follows(found: Audit) -> str:
    """Whether the network uses what acquisition offers."""
    follows = found.follows
    if follows.value is None or follows.low is None or follows.high is None:
        return f"Whether the network's score follows acquisition cannot be said: {follows.reason}."
    chance = f"in {100 * follows.value:.0f}\u00a0% of pairs ({100 * follows.low:.0f}–{100 * follows.high:.0f}\u00a0%)"
    text = f"Of two with the same truth, the one whose acquisition speaks for yes gets the higher score {chance}."
    if follows.low > 0.5:
        return f"{text} The score follows acquisition: the network uses it, or it goes with how ill patients are."
    if follows.high < 0.5:
        return f"{text} The network's score goes against acquisition: sites and scanners are not scored alike."
    return f"{text} That is no more than chance: no sign that the network uses acquisition."


def _check(check: Check, found: Audit, settings: Shortcuts) -> dict[str, Any]:
    state = "found" if check.fires(settings) else "open" if check.open(settings) else "clear"
    return {
        "title": check.title,
        "auroc": value_text(check.auroc),
        "limits": "—" if check.low is None or check.high is None else f"{number(check.low)}–{number(check.high)}",
        "excess": _excess(check),
        "state": state,
        "note": check.note,
    }


def _excess(check: Check) -> str:
    if check.excess is None:
        return ""
    return f"{_signed(check.excess)}, {check.note}"


def _signed(estimate: Estimate) -> str:
    def text(value: float) -> str:
        return f"{'+' if value >= 0 else '−'}{abs(value):.3f}"

    if estimate.value is None:
        return "undefined"
    if estimate.low is None or estimate.high is None:
        return text(estimate.value)
    return f"{text(estimate.value)} ({text(estimate.low)} to {text(estimate.high)})"


def _baseline(found: Baseline) -> dict[str, Any]:
    return {
        "title": TITLES[found.name],
        "about": ", ".join(found.about),
        "families": [
            (family, value_text(estimate), family == found.chosen) for family, estimate in found.families.items()
        ],
        "lead": _signed(found.lead) if found.chosen else found.lead.reason,
    }


def _place(place: Place) -> dict[str, Any]:
    return {
        "name": f"{place.column}: {place.name}",
        "patients": place.patients,
        "share": "—" if place.share is None else f"{100 * place.share:.0f}\u00a0%",
        "within": value_text(place.within),
        "told": value_text(place.told),
        "question": place.question,
        "p": p_text(place.p) if place.told.value is not None else "—",
    }
