"""report.html: one file that a clinician can read on a phone, a desktop or paper, with nothing to fetch."""

from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined

from medimg.evaluation.cautions import cautions
from medimg.evaluation.figures import percent
from medimg.evaluation.result import Result
from medimg.evaluation.sections import BACKGROUND, SECTIONS, as_text
from medimg.evaluation.summary import cut, digits, interval, number
from medimg.evaluation.words import GLOSSARY, UNITS, words_of


def render(result: Result, metrics: dict[str, Any]) -> str:
    """The report as HTML. Every value from outside is escaped."""
    environment = Environment(
        loader=FunctionLoader(_template),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"count": _count, "percent": percent, "number": number, "cut": cut}
    return environment.get_template("report.html.j2").render(_content(result, metrics))


def _template(name: str) -> str:
    return files("medimg.evaluation").joinpath("template", name).read_text(encoding="utf-8")


def _content(result: Result, metrics: dict[str, Any]) -> dict[str, Any]:
    study, sources = result.study, result.sources
    shown = [(name, content) for name, make in SECTIONS if (content := make(result)) is not None]
    behind = [(name, content) for name, make in BACKGROUND if (content := make(result)) is not None]
    return {
        "study": study,
        "external": result.external,
        "settings": result.settings,
        "confidence": f"{100 * result.settings.confidence:g} %",
        "unit": UNITS[study.unit],
        "metrics": metrics,
        "counts": metrics["counts"],
        "headline": _headline(result, metrics),
        "plain": result.judge.plain(result.test, result.called, result.frozen.points, UNITS[study.unit]),
        "first": [*(section.first for section in result.sections if section.first), calibrated(result)],
        "asked": _asked(result),
        "patients": sources.parts["patient"].nunique(),
        "ingest": sources.ingest,
        "cautions": cautions(result),
        "shown": shown,
        "sections": result.sections,
        "behind": behind,
        "glossary": _glossary(result),
    }


def _asked(result: Result) -> tuple[str, str]:
    """What the model tells, as label and value of the first screen."""
    study = result.study
    if study.positive is not None:
        return "is positive", f"{', '.join(study.columns)} = {study.positive}"
    if study.classes is not None:
        return f"is one of {len(study.classes)} classes", study.columns[0]
    return "is a number", study.columns[0]


def _headline(result: Result, metrics: dict[str, Any]) -> dict[str, str]:
    """Name, large number, interval and a sentence without jargon."""
    headline = metrics["headline"]
    name, meaning = words_of(headline["name"], result.study.task)
    if headline["value"] is None:
        return {"name": name, "value": "undefined", "interval": "", "sentence": f"Undefined: {headline['reason']}."}
    sentence = f"{meaning[:1].upper()}{meaning[1:]}."
    if headline["name"] == "auroc" and headline["low"] is not None:
        sentence = _pairs(result, headline)
    shown = number(headline["value"], digits(headline))
    return {"name": name, "value": shown, "interval": interval(headline), "sentence": sentence}


def _pairs(result: Result, headline: dict[str, Any]) -> str:
    """What an AUROC means for pairs of units."""
    one = UNITS[result.study.unit][0]
    pairs = 10 ** digits(headline)  # as many as tell the ends of the interval apart
    low, value, high = (round(pairs * headline[end]) for end in ("low", "value", "high"))
    several = len(result.questions) > 1
    return (
        f"Of {pairs:,} pairs of one positive and one negative {one}, the model ranks "
        f"{'all' if headline['value'] == 1 else f'about {value:,}'} in the right order"
        f"{f', on average over {len(result.questions)} questions' if several else ''}; these data are compatible with "
        f"{low:,} to {high:,}. Guessing would get {pairs // 2:,}"
        f"{', which these data do not rule out' if headline['low'] <= 0.5 <= headline['high'] else ''}."
    )


def calibrated(result: Result) -> tuple[str, str]:
    """The first screen's line on calibration: label and text."""
    if len(result.questions) == 1:
        found, after = result.questions[0].scores.calibration, result.questions[0].after
        better = after and not result.frozen.applied and after.ece < found.ece
        mended = f" (recalibrated on validation {number(after.ece, 3)})" if after and better else ""
        slope = as_text(found.slope)
        said = (
            f"slope {slope['value']} ({slope['interval']}; ideal 1)" if found.slope.value is not None else "no slope: "
            f"{found.slope.reason}"
        )  # fmt: skip
        return (
            "Calibration",
            f"ECE {number(found.ece, 3)}{mended}, by chance alone {number(found.ece_by_chance, 3)}; {said}.",
        )
    if result.questions:
        worst = max(result.questions, key=lambda q: q.scores.calibration.ece - q.scores.calibration.ece_by_chance)
        found = worst.scores.calibration
        return "Calibration", (
            f"worst for {worst.name}: ECE {number(found.ece, 3)}, by chance alone {number(found.ece_by_chance, 3)}."
        )
    slope = as_text(result.estimates["calibration_slope"])
    return "Calibration", f"slope of truth on prediction {slope['value']} ({slope['interval']}; ideal 1)."


def _glossary(result: Result) -> list[tuple[str, str]]:
    confidence = f"{100 * result.settings.confidence:g} %"
    return [(term, text.replace("{confidence}", confidence)) for term, text in GLOSSARY]


def _count(value: int) -> str:
    """``12345`` → ``12,345``."""
    return f"{value:,}"
