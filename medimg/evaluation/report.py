"""report.html: one file that a clinician can read on a phone, a desktop or paper, with nothing to fetch."""

from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from typing import Any

import yaml
from jinja2 import Environment, FunctionLoader, StrictUndefined

from medimg.evaluation import figures
from medimg.evaluation.cautions import cautions
from medimg.evaluation.estimate import Estimate
from medimg.evaluation.result import Result
from medimg.evaluation.sources import Sources
from medimg.evaluation.summary import digits, interval, number
from medimg.evaluation.words import GLOSSARY, METRICS, PERCENTAGES, REFUSALS, RULES, UNITS

PACKAGES = ["medimg", "torch", "monai", "pytorch-lightning", "ray", "pydicom", "numpy", "scipy", "pandas", "matplotlib"]
PARTS = ["train", "validation", "test"]


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
    environment.filters |= {"count": _count, "percent": figures.percent, "number": number}
    return environment.get_template("report.html.j2").render(_content(result, metrics))


def _template(name: str) -> str:
    return files("medimg.evaluation").joinpath("template", name).read_text(encoding="utf-8")


def _content(result: Result, metrics: dict[str, Any]) -> dict[str, Any]:
    study, sources, test = result.study, result.sources, result.test
    drawings = {
        "roc": figures.roc_curve(test, result.scores, result.point.threshold),
        "calibration": figures.calibration_plot(result.scores.calibration),
        "distribution": figures.score_distribution(test, result.point.threshold),
        "learning": figures.learning_curves(sources.history, sources.model["epoch"]),
    }
    return {
        "study": study,
        "settings": result.settings,
        "confidence": f"{100 * result.settings.confidence:g} %",
        "unit": UNITS[study.unit],
        "metrics": metrics,
        "counts": metrics["counts"],
        "headline": _headline(result, metrics),
        "patients": sources.parts["patient"].nunique(),
        "parts": [{"name": name} | sources.split["parts"][name] for name in PARTS],
        "excluded": sources.split["excluded"],
        "cautions": cautions(result),
        "point": result.point,
        "rule": RULES[result.point.rule].format(target=_share(result.point.target)),
        "table": result.scores.table,
        "rows": _rows(result),
        "figures": drawings,
        "ingest": sources.ingest,
        "refusals": _refusals(sources.ingest),
        "training": _training(sources),
        "workers": sources.workers,
        "model": sources.model,
        "params": _parameters(result),
        "index": sources.index_sha256,
        "weights": sources.predictions["weights"].iloc[0],
        "versions": _versions(),
        "glossary": _glossary(result),
        "mean_truth": test.positive / len(test),
    }


def _headline(result: Result, metrics: dict[str, Any]) -> dict[str, str]:
    """Name, large number, interval and a sentence without jargon."""
    headline = metrics["headline"]
    name = METRICS[headline["name"]][0]
    if headline["value"] is None:
        return {"name": name, "value": "undefined", "interval": "", "sentence": f"Undefined: {headline['reason']}."}
    one = UNITS[result.study.unit][0]
    pairs = 10 ** digits(headline)  # as many as tell the ends of the interval apart
    low, value, high = (round(pairs * headline[end]) for end in ("low", "value", "high"))
    sentence = (
        f"Of {pairs:,} pairs of one positive and one negative {one}, the model ranks "
        f"{'all' if headline['value'] == 1 else f'about {value:,}'} in the right order; these data are compatible with "
        f"{low:,} to {high:,}. Guessing would get {pairs // 2:,}"
        f"{', which these data do not rule out' if headline['low'] <= 0.5 <= headline['high'] else ''}."
    )
    shown = number(headline["value"], digits(headline))
    return {"name": name, "value": shown, "interval": interval(headline), "sentence": sentence}


def _rows(result: Result) -> list[dict[str, str]]:
    """The table of all metrics as text."""
    prevalence = _share(result.study.prevalence)
    rows = []
    for name, estimate in result.scores.estimates.items():
        title, meaning = (text.format(prevalence=prevalence) for text in METRICS[name])
        rows.append({"title": title, "meaning": meaning, **_as_text(estimate, name in PERCENTAGES)})
    return rows


def _as_text(estimate: Estimate, share: bool) -> dict[str, str]:
    def text(value: float) -> str:
        return f"{100 * value:.1f}" if share else number(value, 3)

    unit = "\u00a0%" if share else ""
    value = "undefined" if estimate.value is None else text(estimate.value) + unit
    ends = "—"
    if estimate.low is not None and estimate.high is not None:
        joint = " to " if estimate.low < 0 else "–"
        ends = f"{text(estimate.low)}{joint}{text(estimate.high)}{unit}"
    how = estimate.reason[:1].upper() + estimate.reason[1:] if estimate.reason else estimate.method
    return {"value": value, "interval": ends, "how": how or "no interval"}


def _refusals(ingest: dict[str, Any]) -> list[tuple[str, int, str]]:
    """Code, images and sentence of each reason for quarantine, the most frequent first."""
    ordered = sorted(ingest["by_code"].items(), key=lambda item: (-item[1], item[0]))
    return [(code, count, REFUSALS.get(code, "")) for code, count in ordered]


def _training(sources: Sources) -> dict[str, str]:
    """Facts of the fit, as label and text."""
    model, history = sources.model, sources.history
    return {
        "Network": model["name"],
        "Channels": str(model["channels"]),
        "Pixels a side": str(model["size"]),
        "Learned numbers": _count(model["parameters"]),
        "Started": _started(model["transferred"]),
        "Epochs": str(len(history)),
        "Best epoch": str(model["epoch"] + 1),
        "Training time": _duration(float(history["seconds"].sum())),
    }


def _started(transferred: dict[str, Any] | None) -> str:
    if transferred is None:
        return "from scratch"
    loaded, adapted, skipped = (len(transferred[name]) for name in ("loaded", "adapted", "skipped"))
    return (
        f"from the weights of another training, {loaded + adapted + skipped} tensors in all: {loaded} loaded, "
        f"{adapted} adapted from colour to grey, {skipped} skipped and started from scratch"
    )


def _parameters(result: Result) -> str:
    """What the parameters were once checked, defaults and all; the preview has no part in any number."""
    values = result.params.model_dump(mode="json", exclude={"preview"})
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)


def _versions() -> list[tuple[str, str]]:
    found = []
    for package in PACKAGES:
        try:
            found.append((package, version(package)))
        except PackageNotFoundError:
            continue
    return found


def _glossary(result: Result) -> list[tuple[str, str]]:
    confidence = f"{100 * result.settings.confidence:g} %"
    return [(term, text.replace("{confidence}", confidence)) for term, text in GLOSSARY]


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def _share(value: float | None) -> str:
    return "" if value is None else f"{100 * value:g}\u00a0%"


def _count(value: int) -> str:
    """``12345`` → ``12,345``."""
    return f"{value:,}"
