"""Facts of the standard: Table E.1-1 of PS3.15, Types of attributes from PS3.3, and its vocabulary of coded strings.

``actions.csv`` holds the 621 rows of Table E.1-1 (the edition that knows 621 rows, 2024 or later; the extract that it
was made from does not name it). ``types.txt`` holds which attributes are of Type 1, 1C (first) and 2, 2C (after the
slash): by module at the top of a data set, by sequence below it, strictest use first. ``terms.txt`` holds defined terms
and enumerated values of PS3.3.
"""

import csv
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files


def _lines(name: str) -> list[str]:
    return files(__package__).joinpath(name).read_text(encoding="ascii").splitlines()


@cache
def actions() -> dict[str, dict[str, str]]:
    """Tag as in the table (``00100010``, ``50XXXXXX``, ``private``) → column → action."""
    return {row["tag"]: row for row in csv.DictReader(_lines("actions.csv"))}


@cache
def vocabulary() -> frozenset[str]:
    """Every coded string that may cross."""
    return frozenset(_lines("terms.txt"))


@dataclass(frozen=True)
class Types:
    """Where an attribute must be: 1 for Type 1 or 1C, 2 for Type 2 or 2C."""

    top: dict[str, dict[int, int]] = field(default_factory=dict)
    """SOP class UID → tag → 1 or 2"""
    nested: dict[tuple[int, int], int] = field(default_factory=dict)
    """(tag of the sequence, tag) → 1 or 2"""


@cache
def types() -> Types:
    """The Types of all attributes that an action of the profile can take away."""
    modules: dict[str, dict[int, int]] = {}
    found = Types()
    for line in _lines("types.txt"):
        (kind, *names), rest = line.partition(": ")[0].split(), line.partition(": ")[2]
        if kind == "iod":
            merged: dict[int, int] = {}
            for module in rest.split():
                for tag, number in modules[module].items():
                    merged[tag] = min(merged.get(tag, 2), number)
            found.top.update(dict.fromkeys(names, merged))
            continue
        first, _, second = rest.partition("/")
        of = {int(tag, 16): 2 for tag in second.split()} | {int(tag, 16): 1 for tag in first.split()}
        if kind == "module":
            modules[names[0]] = of
        else:
            found.nested.update({(int(names[0], 16), tag): number for tag, number in of.items()})
    return found
