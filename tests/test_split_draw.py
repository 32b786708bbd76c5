"""Dealing: each part has its share of every class, whatever the classes are."""

import random
from collections import Counter

import numpy as np
import pytest

from medimg.split.draw import deal

FRACTIONS = {"train": 0.5, "validation": 0.2, "test": 0.3}


def patients(count, chances, seed):
    """Group → traits, each trait with its own chance; each patient a group."""
    random_ = random.Random(seed)
    return {
        f"P{seed}-{number}": [frozenset(trait for trait, chance in chances.items() if random_.random() < chance)]
        for number in range(count)
    }


def counts(groups, dealt):
    found = {part: Counter() for part in FRACTIONS}
    for name, members in groups.items():
        for traits in members:
            found[dealt[name]].update([*traits, ""])
    return found


def worst(groups, dealt):
    """The farthest that a part is from its share of a trait, in patients."""
    found = counts(groups, dealt)
    total = sum(found.values(), Counter())
    return max(abs(found[part][trait] - FRACTIONS[part] * total[trait]) for part in FRACTIONS for trait in total)


CHANCES = {"a": 0.5, "b": 0.3, "c": 0.1, "d": 0.03, "e": 0.01}


def test_every_label_of_many_has_its_share_in_every_part():
    for seed in range(20):
        groups = patients(600, CHANCES, seed)
        assert worst(groups, deal(groups, {}, FRACTIONS, seed)) < 3
        by_chance = {
            name: random.Random(f"{seed} {name}").choices(*zip(*FRACTIONS.items(), strict=True))[0] for name in groups
        }
        assert worst(groups, by_chance) > 6


def test_a_label_of_two_patients_is_in_two_parts_and_of_three_in_three():
    for seed in range(20):
        common = {f"P{number}": [frozenset()] for number in range(100)}
        rare = {f"R{number}": [frozenset({"rare"})] for number in range(3)}
        dealt = deal(common | rare, {}, FRACTIONS, seed)
        assert {dealt[name] for name in rare} == {"train", "test", "validation"}
        dealt = deal(common | {name: rare[name] for name in ("R0", "R1")}, {}, FRACTIONS, seed)
        assert {dealt["R0"], dealt["R1"]} == {"train", "test"}


def test_label_and_site_are_balanced_together():
    chances = {(label, site): (0.3 + 0.4 * site) / 4 for label in (0, 1) for site in (0, 1)}
    draw = np.random.default_rng(0).choice(len(chances), 400, p=np.array([*chances.values()]) / sum(chances.values()))
    pairs = [[*chances][at] for at in draw]
    groups = {f"P{n}": [frozenset({f"label={label}", f"site={site}"})] for n, (label, site) in enumerate(pairs)}
    dealt = deal(groups, {}, FRACTIONS, 0)
    for pair in chances:
        there = Counter(dealt[f"P{n}"] for n, one in enumerate(pairs) if one == pair)
        for part, share in FRACTIONS.items():
            assert there[part] == pytest.approx(share * pairs.count(pair), abs=1)


def test_the_draw_does_not_depend_on_the_order_but_on_the_seed():
    groups = patients(200, CHANCES, 0)
    turned = dict(reversed(groups.items()))
    assert deal(groups, {}, FRACTIONS, 0) == deal(turned, {}, FRACTIONS, 0) != deal(groups, {}, FRACTIONS, 1)


def test_patients_who_come_one_by_one_end_with_the_same_shares():
    groups, held, dealt = patients(150, {"a": 0.3, "b": 0.6}, 0), {part: [] for part in FRACTIONS}, {}
    for name, members in groups.items():
        dealt |= deal({name: members}, held, FRACTIONS, 0)
        held[dealt[name]] += members
    assert worst(groups, dealt) < 2.5


def test_a_group_stays_together_and_the_others_make_up_for_it():
    groups = patients(100, {"a": 0.5}, 0)
    groups["big"] = [frozenset({"a"})] * 25
    dealt = deal(groups, {}, FRACTIONS, 0)
    assert worst(groups, dealt) < 2


def test_a_part_of_fraction_0_gets_nobody_even_where_others_have_too_many():
    fractions = {"train": 0.7, "test": 0.3, "promotion": 0.0}
    dealt = deal({f"G{n}": [frozenset({"a"})] * 7 for n in range(9)}, {"test": [frozenset({"a"})] * 50}, fractions, 0)
    assert set(dealt.values()) == {"train"}
