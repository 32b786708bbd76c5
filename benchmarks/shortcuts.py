"""How often the shortcut audit says suspect: 20 studies of each kind, with a shortcut planted and without.

``python -m benchmarks.shortcuts none style`` prints the studies of some kinds one by one.
"""

import contextlib
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from typing import get_args

import torch

from benchmarks.paired import Row
from benchmarks.planted import Kind, audited
from medimg.evaluation.audit import Audit

SEEDS = 20
GOALS: dict[Kind, str] = {
    "metadata": "20",
    "marker": "20",
    "none": "≤ 1",
    "style": "≤ 1",
    "diffuse": "≤ 1, low resolution suffices",
    "both": "",
}
WORDS: dict[Kind, str] = {
    "metadata": "the site goes with the label",
    "marker": "a marker in a corner goes with the label",
    "none": "nothing planted",
    "style": "sites differ in style alone",
    "diffuse": "a finding that a thumbnail shows",
    "both": "a finding that a thumbnail shows, and a marker",
}


def study(kind: Kind, seed: int) -> Audit:
    """One study, in a folder of its own, on one core."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        return audited(kind, seed)


def verdicts(kind: Kind, seeds: Iterable[int], say: bool = False) -> Counter[str]:
    """Verdicts by how often they were given, and how often low resolution sufficed."""
    found: Counter[str] = Counter()
    for seed in seeds:
        judgement = study(kind, seed).judgement
        found[judgement.verdict] += 1
        found["low resolution suffices"] += judgement.low_resolution_suffices
        if say:
            checks = ", ".join(f"{check.name} {check.auroc.value:.2f}" for check in judgement.checks)
            print(kind, seed, judgement.verdict, [check.name for check in judgement.fired], checks, flush=True)
    return found


def measure() -> list[Row]:
    """Verdicts over 20 seeds of each kind: suspect, of which the range is what a repetition would give (95 %)."""
    from medimg.evaluation.intervals import wilson

    rows = []
    for kind, goal in GOALS.items():
        found = verdicts(kind, range(SEEDS))
        low, high = wilson(found["suspect"] / SEEDS, SEEDS, 0.95)
        rows.append(Row(f"suspect of {SEEDS}: {WORDS[kind]}", found["suspect"], SEEDS * low, SEEDS * high, goal))
    return rows


if __name__ == "__main__":
    for name in sys.argv[1:] or GOALS:
        if name not in get_args(Kind):
            sys.exit(f"{name} is no kind; there are {', '.join(get_args(Kind))}")
        print(name, dict(verdicts(name, range(SEEDS), say=True)), flush=True)  # type: ignore[arg-type]
