"""The drift of all nights as a page, and as lines for the terminal."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medimg.errors import RegistryError
from medimg.files import write_text
from medimg.params import Drift, load
from medimg.promote.champion import materialise, read_champion
from medimg.promote.history import read_history

COLOURS = {"ok": "#4c78a8", "warn": "#d9a400", "stop": "#c0392b"}
HEIGHT = 40


def write_page(study: Path, out: Path) -> list[str]:
    """Compare what ``study`` has now with what its champion learned from, and write the page with all nights before.

    Raises:
        RegistryError: there is no champion.
        DataError: there is no index or store: ``dvc repro preprocess split`` makes them.
    """
    from medimg.retrain.assess import scored
    from medimg.retrain.bring import learned
    from medimg.retrain.drift import drift, to_score

    study, params = study.resolve(), load(study / "params.yaml")
    champion = read_champion(study)
    if champion is None:
        raise RegistryError(
            "There is no champion, so there is nothing to compare with. medimg retrain makes the first."
        )
    batch = learned(study, read_history(study), champion)
    chosen = to_score(study, batch)
    said = scored(study, materialise(study, champion.bundle), params, chosen)
    found = drift(study, batch, said, params)
    write_text(out, page(read_history(study), [one.as_json() for one in found], params.retrain.drift))
    lines = [f"{one.level:5} {one}" for one in found] or ["Too few new patients to compare."]
    return [*lines, f"The page with all nights is {out}"]


def bind(drift: Path, report: Path) -> None:
    """Make the page a page of the night's report: beside it in its folder, each with a link to the other.

    The report that DVC keeps stays as ``evaluate`` writes it, for it must not depend on nights.

    Args:
        drift: the page; where there is none, as in a first night, nothing happens.
        report: the folder with ``report.html``.
    """
    if not drift.is_file():
        return
    there = report / "report.html"
    text, end = there.read_text(encoding="utf-8"), "</header>"
    link = '<p><a href="drift.html">Drift: what came, against what the champion learned from, night by night</a></p>\n'
    write_text(there, text.replace(end, link + end, 1))
    own, end = drift.read_text(encoding="utf-8"), "</h1>"
    back = '\n<p><a href="report.html">The report of this night\'s challenger on promotion</a></p>'
    write_text(report / "drift.html", own.replace(end, end + back, 1))


def page(history: list[dict[str, Any]], now: Sequence[dict[str, Any]], limits: Drift) -> str:
    """The page as HTML, one file without a script: the nights of ``history``, and ``now`` as the last."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    nights = [line["drift"] for line in history if line.get("drift")] + ([list(now)] if now else [])
    rows: dict[str, dict[str, Any]] = {}
    for at, night in enumerate(nights):
        for one in night:
            row = rows.setdefault(one["name"], {"bars": [], "spoken": ""})
            height = round(max(1.0, one["distance"] * HEIGHT), 1)
            row["bars"].append({"at": at, "height": height, "colour": COLOURS[one["level"]]})
            row["spoken"] += f"{one['distance']:.2f} "
            row["last"] = one
    environment = Environment(
        loader=PackageLoader("medimg.retrain", "template"), autoescape=True, undefined=StrictUndefined
    )
    return environment.get_template("drift.html.j2").render(rows=rows, nights=nights, limits=limits)
