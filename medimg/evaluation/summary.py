"""Numbers as text: the one line of the command line, and how the report prints a value."""

from typing import Any

from medimg.evaluation.words import METRICS

END = 0.0005
"""A threshold nearer to 0 or 1 than this lies at the end of the scale."""
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def summary(metrics: dict[str, Any]) -> str:
    """metrics.json → e.g. ``AUROC 0.93 (95 % interval 0.88–0.96) on 92 test patients``."""
    headline, patients = metrics["headline"], metrics["counts"]["test"]["patients"]
    name = METRICS[headline["name"]][0]
    who = f"on {patients} test patient{'' if patients == 1 else 's'}"
    if headline["value"] is None:
        return f"{name} is undefined {who}: {headline['reason']}"
    return f"{name} {number(headline['value'], digits(headline))} ({interval(headline)}) {who}"


def interval(estimate: dict[str, Any]) -> str:
    """``95 % interval 0.88–0.96`` of a headline with ``confidence``, ``low`` and ``high``."""
    if estimate["low"] is None:
        return "no interval"
    low, high = (number(estimate[end], digits(estimate)) for end in ("low", "high"))
    return f"{100 * estimate['confidence']:g} % interval {low}–{high}"


def digits(estimate: dict[str, Any]) -> int:
    """Decimals for a value and its interval alike: two, or as many as keep the ends apart and what is not 1 from 1."""
    ends = [value for value in (estimate["low"], estimate["value"], estimate["high"]) if value is not None]
    for count in range(2, 6):
        shown = {f"{value:.{count}f}" for value in ends}
        apart = len(ends) < 3 or f"{ends[0]:.{count}f}" != f"{ends[-1]:.{count}f}"
        if apart and (f"{1:.{count}f}" not in shown or max(ends) == 1):
            return count
    return 6


def cut(threshold: float) -> str:
    """A threshold of probabilities: three decimals; nearer to 0 or 1 than they show, how far from there."""
    away = min(threshold, 1 - threshold)
    if not 0 < away < END:
        return f"{threshold:g}" if away == 0 else number(threshold, 3)
    digit, power = f"{away:.0e}".split("e")
    tiny = f"{digit} × 10{str(int(power)).translate(_RAISED)}"
    return tiny if threshold < 0.5 else f"1 − {tiny}"


def number(value: float, digits: int = 2) -> str:
    """``digits`` decimals, and more where fewer would round a value up to a perfect 1."""
    text = f"{value:.{digits}f}"
    if 0.9 < value < 1 and float(text) == 1 and digits < 6:
        return number(value, digits + 1)
    return text.replace("-", "−") if float(text) else f"{0:.{digits}f}"  # no minus zero
