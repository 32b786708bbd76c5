"""Public sets: fetch."""

from pathlib import Path
from typing import Annotated

import typer


def fetch(
    name: Annotated[str, typer.Argument(help="The set, such as breastmnist; a wrong name lists all.")],
    size: Annotated[int, typer.Option(help="Pixels of a side: 28, 64, 128 or 224; volumes 28 or 64.")] = 28,
    out: Annotated[Path | None, typer.Option(help="The folder to make; by default NAME-SIZE.")] = None,
    mirror: Annotated[str | None, typer.Option(help="Address of a copy of the publisher's files.")] = None,
) -> None:
    """Download a public set (MedMNIST) as images and labels.csv, with the publisher's parts in the column set."""
    from medimg.fetch import fetch as bring

    out = out or Path(f"{name}-{size}")
    print(bring(name, size, out, mirror))
    print(f"It is in {out}/. Next, for example:")
    print(f"  medimg import {out} --labels {out}/labels.csv --each-image-is-a-patient")
