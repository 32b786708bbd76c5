"""The report's pictures: where the network looked in its surest right and surest wrong answers."""

import base64
import json
from collections.abc import Mapping
from typing import Any

from medimg.errors import DataError
from medimg.evaluation.result import Result
from medimg.evaluation.section import Section
from medimg.evaluation.summary import number
from medimg.evaluation.units import cases_of
from medimg.records import SALIENCY

ALIKE = 0.5  # rank correlation with maps of random weights above which a map says more of the image than of the network


def decided(result: Result) -> dict[tuple[str, str], str]:
    """Sample of test and question → the answer in a word, at the threshold for the image alone; none of a number."""
    task = result.task
    predictions = result.sources.predictions.part("test")
    images = cases_of(predictions, task, "image", result.settings.aggregate, "test")
    called = result.judge.called(result.frozen.corrected(images), result.frozen.points)
    found = {}
    for sample, yes in zip(sorted(predictions.rows["sample"]), called, strict=True):
        for name, one in zip(task.names, yes, strict=False):
            word = task.names[int(yes.argmax())] if result.study.classes else "positive" if one else "negative"
            found[sample, name] = word
    return found


def section(answers: Mapping[tuple[str, str], str] | None = None) -> Section | None:
    """What the stage predict left in ``artifacts/saliency``; None where it left no picture.

    Args:
        answers: as ``decided``; a map of another answer than the one given is not shown. None: all are.

    Raises:
        DataError: the folder is not whole.
    """
    path = SALIENCY / "saliency.json"
    if not path.exists():
        return None
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
        given = answers or {}
        summary["cases"] = [
            case
            for case in summary["cases"]
            if case["answer"] == given.get((case["sample"], case["about"]), case["answer"])
        ]
        cases = [_case(case) for case in summary["cases"]]
    except (OSError, ValueError, KeyError):
        raise DataError(f"{SALIENCY} is not whole. Run dvc repro to make it again.") from None
    if not cases:
        return None
    alike = summary["similarity_to_random"]
    content = {
        "wrong": [case for case in cases if not case["right"]],
        "right": [case for case in cases if case["right"]],
        "layer": summary["layer"],
        "cut": any(case["answer"] in ("positive", "negative") for case in summary["cases"]),
        "sanity": _sanity(alike, summary["layer"]),
        "rim": _rim(summary),
    }
    return Section("gallery.html.j2", content, None, None)


def _case(case: dict[str, Any]) -> dict[str, Any]:
    encoded = base64.b64encode((SALIENCY / case["file"]).read_bytes()).decode()
    said = f"{case['about']}: truly {case['truth']}, called {case['answer']}"
    return {
        "uri": f"data:image/png;base64,{encoded}",
        "right": case["right"],
        "text": said,
        "probability": f"{'value' if case['number'] else 'probability of the truth'} {number(case['probability'], 3)}",
        "alt": f"An image and, beside it, the same image with what the network looked at in orange. {said}.",
    }


def _sanity(alike: float | None, layer: str | None) -> str:
    if layer is None:
        return "This network has no maps that could be shown: the pictures stand alone."
    if alike is None:
        return (
            "Whether the maps depend on what was learned cannot be told, because they are the same all over: do not "
            "read anything into them."
        )
    verdict = (
        "they say more of the image than of the network: do not read anything into them"
        if alike > ALIKE
        else "they depend on what was learned"
    )
    return (
        f"With all weights drawn anew, maps of the same images correlate with these by {number(alike)} (rank "
        f"correlation, mean; 1 would mean that training changed nothing): {verdict}."
    )


def _rim(summary: dict[str, Any]) -> str:
    shares = [case["rim_share"] for case in summary["cases"] if case["rim_share"] is not None]
    if not shares:
        return ""
    mass, area = (f"{100 * share:.0f}\u00a0%" for share in (sum(shares) / len(shares), summary["rim_area"]))
    return f"On average {mass} of a map lies in the rim, which is {area} of the picture."
