"""Dealing patients into parts so that each part has its share of every class: iterative stratification.

Sources: Sechidis, Tsoumakas, Vlahavas 2011 (ECML PKDD, LNCS 6913:145), and Szymański, Kajdanowicz 2017 (PMLR 74:22) for
combinations of classes; here with patients in the place of samples, and a keyed hash in the place of chance.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping

Traits = frozenset[str]
"""What a patient counts for in the balance, such as ``label=positive`` or ``site=S1``."""

ANYONE = ""  # the trait of every patient


def deal(
    groups: Mapping[str, list[Traits]], held: Mapping[str, list[Traits]], fractions: Mapping[str, float], seed: int
) -> dict[str, str]:
    """Group of patients → part.

    The rarest trait is dealt first, each group to the part that lacks most patients of it. The order is that of a hash
    keyed by ``seed``, so nothing depends on the order of the mappings.

    Args:
        groups: those to deal: name → the traits of each patient in the group.
        held: part → the traits of each patient whom it holds already.
        fractions: part → share of the patients that it is to have, adding up to 1; a part of 0 gets nobody.
        seed: key of the draw.
    """
    fractions = {part: share for part, share in fractions.items() if share > 0}
    counted = {name: Counter(_counted(patients)) for name, patients in groups.items()}
    there = {part: Counter(_counted(held.get(part, ()))) for part in fractions}
    total = sum((*counted.values(), *there.values()), Counter())
    # A combination so rare that a part's share of it is less than a patient says nothing about where it should go.
    kept = {trait for trait in total if " & " not in trait or total[trait] * min(fractions.values()) >= 1}
    lacking = {
        part: {trait: share * total[trait] - there[part][trait] for trait in kept} for part, share in fractions.items()
    }
    holders: dict[str, list[str]] = {}
    for name in sorted(counted, key=lambda name: (-counted[name][ANYONE], keyed(seed, name))):
        for trait in counted[name].keys() & kept:
            holders.setdefault(trait, []).append(name)
    left = {trait: sum(counted[name][trait] for name in names) for trait, names in holders.items()}
    dealt: dict[str, str] = {}
    while left:
        rarest = min(left, key=lambda trait: (left[trait], total[trait], trait))
        for name in holders[rarest]:
            if name in dealt:
                continue
            dealt[name] = _neediest(lacking, rarest, seed, name)
            for trait in counted[name].keys() & kept:
                lacking[dealt[name]][trait] -= counted[name][trait]
                left[trait] -= counted[name][trait]
        left = {trait: count for trait, count in left.items() if count}
    return dealt


def share_of(seed: int, name: str) -> float:
    """A number in [0, 1) that belongs to ``name`` for as long as the seed stays."""
    return keyed(seed, name) / 2**64


def keyed(seed: int, name: str) -> int:
    """A hash of ``name`` keyed by ``seed``, 64 bits."""
    return int.from_bytes(hashlib.sha256(f"medimg split {seed} {name}".encode()).digest()[:8])


def _counted(patients: Iterable[Traits]) -> Iterable[str]:
    """Every trait of every patient, and the combination of all that one has."""
    for traits in patients:
        yield ANYONE
        yield from traits
        if len(traits) > 1:
            yield " & ".join(sorted(traits))


def _neediest(lacking: dict[str, dict[str, float]], trait: str, seed: int, name: str) -> str:
    return max(
        lacking,
        key=lambda part: (
            round(lacking[part][trait], 9),  # equal shares are equal, whatever the arithmetic left
            round(lacking[part][ANYONE], 9),
            keyed(seed, f"{part} {name}"),
        ),
    )
