"""A study's folder: new, demo, lecture, params, lock."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import click
import typer

from medimg.cli.options import EachImage


def new(
    folder: Annotated[Path, typer.Argument(help="The folder to make; it must not hold anything yet.")],
    images: Annotated[
        str | None, typer.Option(help="Folder or archive of images to import; parameters are chosen by what is there.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="Table of labels; by default the one CSV beside the images.")
    ] = None,
    label: Annotated[str | None, typer.Option(help="Its column that is to be learned.")] = None,
    positive: Annotated[str | None, typer.Option(help="Of two values, the one that is looked for.")] = None,
    question: Annotated[str | None, typer.Option(help="The question, as the report will ask it.")] = None,
    keep: Annotated[list[str] | None, typer.Option(help="A column to keep although it looks risky.")] = None,
    each_image_is_a_patient: EachImage = False,
) -> None:
    """Make a study folder (params.yaml, dvc.yaml, pipelines/) under Git and DVC; --images: with fitting parameters."""
    if images is None:
        from medimg.study import make

        make(folder)
        return
    from medimg.contact import Wishes, first_contact

    def ask(text: str, allowed: Sequence[str]) -> str:
        answer: str = typer.prompt(text, type=click.Choice(list(allowed)))
        return answer

    wishes = Wishes(labels, label, positive, question, each_image_is_a_patient, keep or [])
    first_contact(folder, images, wishes, ask if sys.stdin.isatty() else None)
    print(f"A study in {folder}/; what was chosen, and why, stands in {folder}/params.yaml. Next:")
    print(f"  cd {folder}\n  dvc repro\n  medimg result")


def demo(out: Annotated[Path, typer.Option(help="Where the demo study's data go.")] = Path("data")) -> None:
    """Write the embedded demo study: 450 synthetic images of 300 patients who do not exist."""
    from medimg.demo import write

    written = write(out)
    print(f"The demo study is in {out}/" + (" (just written)" if written else " already"))


def lecture(out: Annotated[Path, typer.Option(help="Where the figures go.")] = Path("lecture")) -> None:
    """From one neuron to a hidden layer: print the lecture's numbers and draw its figures."""
    from medimg.lecture import lecture as give

    give(out)


def params() -> None:
    """Print every parameter of params.yaml: meaning, default, what is allowed."""
    from medimg.params.reference import reference

    print(reference(), end="")


def lock() -> None:
    """Write which medimg and which packages the study uses into requirements.lock; then dvc repro uses them."""
    from medimg.study import write_lock

    write_lock(Path())
