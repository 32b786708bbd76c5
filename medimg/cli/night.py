"""Nights: retrain, and the model in use: champion, history, promote, rollback."""

from pathlib import Path
from typing import Annotated

import typer

Because = Annotated[str, typer.Option(help="Why: it is recorded, with who and when.")]


def retrain(
    force: Annotated[bool, typer.Option("--force", help="Train although nothing is new.")] = False,
    anew: Annotated[
        bool, typer.Option("--anew", help="Hold the challenger to the rules of a first model; implies --force.")
    ] = False,
) -> None:
    """One night: new data, a challenger, the decision. Ends with a line of JSON; the exit status says how."""
    from medimg.retrain import retrain as play

    outcome = play(force=force, anew=anew)
    print(outcome.sentence)
    print(outcome.line())
    raise typer.Exit(outcome.status)


def champion(
    export: Annotated[Path | None, typer.Option(help="Copy its bundle to this new folder.")] = None,
) -> None:
    """Say which model is in use and why; or copy its bundle."""
    from medimg.promote.show import about_champion, export_champion

    if export is None:
        print(about_champion())
    else:
        print(f"The champion's bundle is in {export_champion(export)}")


def history() -> None:
    """Check the history of decisions, and show it."""
    from medimg.promote.show import lines

    for line in lines():
        print(line)


def promote(
    challenger: Annotated[str, typer.Argument(help="First digits of its seal; medimg history shows it.")],
    because: Because,
) -> None:
    """Make a challenger champion although the rules refused it."""
    from medimg.retrain.byhand import overrule

    made = overrule(Path(), because, challenger)
    print(f"The champion is {made.bundle.seal[:16]} now, by {made.decision['by']}.")


def rollback(
    because: Because,
    to: Annotated[str | None, typer.Option(help="First digits of the seal of an earlier champion.")] = None,
) -> None:
    """Make an earlier champion the champion again; by default the one before."""
    from medimg.retrain.byhand import rollback as back

    made = back(Path(), because, to)
    print(f"The champion is {made.bundle.seal[:16]} again.")


def drift(
    out: Annotated[Path, typer.Option(help="The page, with the history of all nights.")] = Path("drift.html"),
) -> None:
    """Compare what came with what the champion learned from, after dvc repro preprocess split."""
    from medimg.retrain.driftpage import write_page

    for line in write_page(Path(), out):
        print(line)


def schedule(
    kind: Annotated[str, typer.Option("--print", help="systemd, cron, kubernetes or kuberay.")],
    at: Annotated[str, typer.Option(help="Time of the day, HH:MM, UTC.")] = "02:30",
) -> None:
    """Print what makes a scheduler play a night every day; nothing is installed."""
    from medimg.retrain.schedule import schedule as printed

    print(printed(kind, at), end="")
