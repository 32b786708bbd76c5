"""The subgroups as the report shows them: a forest plot, a table, a sentence about gaps."""

from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes

from medimg.evaluation.answers import Answers
from medimg.evaluation.estimate import Estimate
from medimg.evaluation.figures import BLUE, INK, QUIET, RULE, Drawing, drawing, sheet
from medimg.evaluation.section import Section
from medimg.evaluation.subgroups import GAP, Group, Measure, subgroups, unknown_columns
from medimg.evaluation.summary import number
from medimg.params import Evaluate

TITLES = {"auroc": "AUROC", "sensitivity": "Sensitivity", "specificity": "Specificity", "mae": "Mean absolute error"}
_ROW = 0.23  # inches


def section(answers: Answers, whole: Estimate, settings: Evaluate) -> Section:
    """The subgroups of test; ``whole`` is the first measure over all of it."""
    groups = subgroups(answers, settings.subgroups, settings.confidence)
    content = {
        "drawing": forest(groups, whole, settings.confidence) if groups else None,
        "rows": [_row(group) for group in groups],
        "titles": [TITLES[name] for name in groups[0].measures] if groups else [],
        "verdict": _verdict(groups, settings.confidence),
        "smallest": settings.subgroups.smallest,
        "missing": unknown_columns(answers, settings.subgroups),
        "several": len(answers.names) > 1,
        "method": GAP,
    }
    plain = {"method": GAP, "groups": [group.as_json() for group in groups]}
    return Section("subgroups.html.j2", content, "subgroups.json", plain)


def forest(groups: list[Group], whole: Estimate, confidence: float) -> Drawing:
    """A line for each group with the interval of its first measure; grey where the group is too small to compare."""
    name = next(iter(groups[0].measures))
    lines = _lines(groups)
    height = 0.75 + _ROW * len(lines)
    with sheet(5.6, height) as figure:
        axes = figure.add_axes((0.36, 0.5 / height, 0.60, 1 - 0.6 / height))
        if whole.value is not None:
            axes.axvline(whole.value, color=QUIET, linewidth=0.9, linestyle=(0, (4, 2)), zorder=1)
        for place, line in enumerate(lines):
            _draw(axes, place, line, name)
        axes.set(ylim=(len(lines) - 0.4, -0.6), xlabel=TITLES[name])
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.grid(True, axis="x", color=RULE)
        said = "; ".join(
            f"{group.column} {group.name}: {value_text(group.measures[name].estimate)}, {group.patients} patients"
            for group in groups
        )
        return drawing(
            figure,
            f"Forest plot of {TITLES[name]} by group with {100 * confidence:g} % intervals. {said}.",
            "Each dot is a group of test patients, its bar the interval; the dashed line is all of test. Grey: too few "
            "patients to compare.",
        )


@dataclass(frozen=True)
class _Line:
    text: str
    group: Group | None
    """None: the name of a column"""


def _lines(groups: list[Group]) -> list[_Line]:
    lines: list[_Line] = []
    for at, group in enumerate(groups):
        if not at or groups[at - 1].column != group.column:
            lines.append(_Line(group.column.replace("_", " "), None))
        lines.append(_Line(f"{group.name}  ({group.patients})", group))
    return lines


def _draw(axes: Axes, place: int, line: _Line, name: str) -> None:
    colour = INK if line.group is None or line.group.tested else QUIET
    axes.text(-0.03, place, line.text, transform=axes.get_yaxis_transform(), ha="right", va="center", color=colour,
              weight="bold" if line.group is None else "normal", clip_on=False)  # fmt: skip
    if line.group is None:
        return
    estimate = line.group.measures[name].estimate
    if estimate.value is None:
        return
    shade = BLUE if line.group.tested else "#a5a29c"
    if estimate.low is not None and estimate.high is not None:
        axes.plot([estimate.low, estimate.high], [place, place], color=shade, linewidth=1.4, solid_capstyle="butt")
    axes.plot(estimate.value, place, "o", color=shade, markersize=5, markeredgecolor="white", markeredgewidth=0.6)


def _row(group: Group) -> dict[str, Any]:
    return {
        "column": group.column,
        "name": group.name,
        "patients": group.patients,
        "positive": group.positive_patients,
        "negative": group.negative_patients,
        "tested": group.tested,
        "measures": [_cell(measure) for measure in group.measures.values()],
    }


def _cell(measure: Measure) -> dict[str, str]:
    gap = ""
    if measure.gap is not None and measure.p_corrected is not None:
        sign = "+" if measure.gap >= 0 else "−"
        gap = f"{sign}{abs(measure.gap):.3f}, p {p_text(measure.p_corrected)}"
    return {"text": value_text(measure.estimate), "reason": measure.estimate.reason, "gap": gap}


def value_text(estimate: Estimate) -> str:
    """``0.843 (0.790–0.885)``, or ``undefined``."""
    if estimate.value is None:
        return "undefined"
    if estimate.low is None or estimate.high is None:
        return number(estimate.value, 3)
    return f"{number(estimate.value, 3)} ({number(estimate.low, 3)}–{number(estimate.high, 3)})"


def p_text(value: float) -> str:
    """A p value with three decimals."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _verdict(groups: list[Group], confidence: float) -> str:
    """What the gaps say, in a sentence."""
    found = [
        f"{TITLES[name]} in {group.column.replace('_', ' ')} {group.name} ({_cell(measure)['gap']})"
        for group in groups
        for name, measure in group.measures.items()
        if measure.p_corrected is not None and measure.p_corrected < 1 - confidence
    ]
    tested = sum(group.tested for group in groups)
    if not tested:
        return "No group has enough patients to be compared with the others."
    if found:
        return f"More than chance, after correction for all looks: {'; '.join(found)}."
    return (
        "No gap between groups is more than chance, after correction for all looks. Small gaps cannot be seen with so "
        "few patients: the bars say what the data allow."
    )
