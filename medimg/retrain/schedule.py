"""Schedules that start a night: systemd, cron, Kubernetes, KubeRay; each from one template in ``cluster/schedule``."""

import re
import shlex
import sys
from pathlib import Path

import medimg
from medimg.errors import ParamsError
from medimg.params import load
from medimg.retrain.outcome import Status

KINDS = ("systemd", "cron", "kubernetes", "kuberay")
HARMLESS = (Status.KEPT, Status.NOTHING_NEW, Status.BUSY)
"""Exit statuses, beside 0, after which nobody needs to be called."""


def schedule(kind: str, at: str, study: Path = Path()) -> str:
    """What to give to a scheduler, so that it plays a night in ``study`` every day at ``at`` (HH:MM, UTC).

    Raises:
        ParamsError: there is no such scheduler, ``at`` is no time of the day, or ``study`` is none.
    """
    from jinja2 import Environment, StrictUndefined

    time = re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)", at)
    if kind not in KINDS or time is None:
        raise ParamsError(
            f"{at} is no time of the day: HH:MM" if kind in KINDS else f"{kind}: one of {', '.join(KINDS)}"
        )
    study = study.resolve()
    hours = int(load(study / "params.yaml").retrain.hours) + 1  # the night ends itself before it is ended
    codes = [int(status) for status in HARMLESS]
    passed = "|".join(map(str, codes))
    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)  # noqa: S701
    return environment.from_string((_templates() / kind).read_text(encoding="utf-8")).render(
        name=re.sub(r"[^a-z0-9]+", "-", study.name.lower()).strip("-") or "study",
        study=str(study).replace("%", "%%"),  # WorkingDirectory takes the line as it is: there a space ends nothing
        study_quoted=shlex.quote(str(study)).replace("%", r"\%"),
        python=_escaped(Path(sys.executable)),
        python_quoted=shlex.quote(sys.executable).replace("%", r"\%"),
        hour=f"{int(time[1]):02}",
        minute=time[2],
        hours=hours,
        harmless=codes,
        command=f"medimg retrain || case $? in {passed}) true;; *) exit 1;; esac",
    )


def _escaped(path: Path) -> str:
    """For a unit file: ``%`` begins a specifier there, and a space ends a word."""
    return str(path).replace("%", "%%").replace(" ", r"\x20")


def _templates() -> Path:
    """In the repository beside the package, else installed with it."""
    beside = Path(medimg.__file__).parent.parent
    return next(path for path in (beside / "cluster/schedule", beside / "medimg_study/schedule") if path.is_dir())
