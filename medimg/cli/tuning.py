"""Searching settings: tune."""

from typing import Annotated

import typer


def tune(
    trials: Annotated[int | None, typer.Option(min=2, help="Settings to try, in the place of tune.trials.")] = None,
    minutes: Annotated[float | None, typer.Option(min=0.1, help="Wall time, in the place of tune.minutes.")] = None,
) -> None:
    """Try the settings that tune.search names, on train and validation, and write the best into params.yaml."""
    from medimg.records import TUNED
    from medimg.tune import tune as search

    found = search(trials, minutes)
    print(f"{found.trials} settings tried; {TUNED} holds them all. Scores are of validation, and the best flatters.")
    if found.best == found.before:
        print(f"Nothing was better than params.yaml as it stands ({found.score:.4f}).")
        return
    values = ", ".join(f"{name}: {value}" for name, value in found.best.items())
    print(f"params.yaml now says {values}: {found.score:.4f}, before {found.score_before:.4f}. Next: dvc repro")
