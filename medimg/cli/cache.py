"""This machine's copies of stores that are kept elsewhere."""

from typing import Annotated

import typer


def cache(
    prune: Annotated[bool, typer.Option("--prune", help="Remove copies, the one used longest ago first.")] = False,
    keep: Annotated[float | None, typer.Option("--keep", min=0, help="With --prune: GiB that may stay.")] = None,
) -> None:
    """Show this machine's copies of stores (preprocess.remote), or remove those that nobody uses."""
    from datetime import datetime

    from medimg.store import cache as copies

    if keep is not None and not prune:
        raise typer.BadParameter("--keep says how much --prune leaves: give both, or neither.")
    if prune:
        for copy in copies.prune(int((keep or 0) * copies.GIB)):
            print(f"removed {copy.name}, {copy.size / copies.GIB:.3f} GiB")
    held = copies.copies()
    total = sum(copy.size for copy in held) / copies.GIB
    print(f"{copies.folder()}: {len(held)} stores, {total:.3f} of {copies.bound() / copies.GIB:g} GiB")
    for copy in held:
        used = f"{datetime.fromtimestamp(copy.used):%Y-%m-%d %H:%M}" if copy.used else "never finished"
        print(f"  {copy.name}  {copy.size / copies.GIB:.3f} GiB  {used}{'  in use' if copy.busy else ''}")
