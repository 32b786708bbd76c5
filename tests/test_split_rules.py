"""Test parts that a rule names, folds, and what changing one over an existing ledger does."""

import json
import random

import pandas as pd
import pytest
from splits import ledger, names, parts, put_index, write_index

from medimg.errors import SplitError
from medimg.params import Split
from medimg.records import LABELS, LEDGER, PARTS, SPLIT
from medimg.split import split
from medimg.tasks.binary import Binary
from medimg.tasks.multilabel import Multilabel

TASK = Binary("finding", "1")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def sites(patients, count=4, images=2):
    """Sites of the images, each patient at one of them, each site with both classes."""
    return [f"S{number // 2 % count}" for number in range(len(patients)) for _ in range(images)]


def run(**settings):
    split(TASK, 0, Split(**settings))
    return parts()


def test_sites_held_out_are_test_and_hold_nobody_else():
    index = write_index(names(80), site=sites(names(80))).set_index("sample")
    table = run(test=0, test_sites=["S1"])
    assert set(table.index[table["part"] == "test"]) == set(index.index[index["site"] == "S1"])


def test_a_site_that_is_not_there_names_those_that_are():
    write_index(names(20), site=sites(names(20)))
    with pytest.raises(SplitError, match=r"names 'S9'.*Sites of the index: 'S0', 'S1', 'S2', 'S3'"):
        run(test=0, test_sites=["S9"])


def test_no_image_of_a_held_out_site_is_outside_test_nor_the_reverse_where_a_patient_moved():
    index = write_index(names(80), site=sites(names(80)))
    index.loc[index["sample"] == "P0002-1", "site"] = "S0"  # a patient of S1, held out, was at S0 as well
    put_index(index)
    assert run(test=0, test_sites=["S1"]).loc["P0002-1", ["part", "reason"]].tolist() == [
        "excluded",
        "image from another site, of a patient of a held-out site",
    ]
    later = index[index["patient"] == "P0000"].iloc[:1].assign(sample="later", site="S1", batch=2, pixel_sha256="later")
    put_index(pd.concat([index, later]))  # and a patient of S0 goes to S1 afterwards
    before = ledger()
    table = run(test=0, test_sites=["S1"])
    assert ledger().equals(before)
    assert table.loc["later", "reason"] == "image from a held-out site, of a patient who is not held out"


def test_an_import_held_out_is_test_and_known_patients_stay():
    index = write_index(names(80))
    run(test=0.2)
    before = ledger()
    new = write_index([*names(10), *names(20, "Q")], batch=2)
    new = new.assign(sample="2-" + new["sample"], pixel_sha256="2-" + new["sample"])
    put_index(pd.concat([index, new]))
    run(test=0.2, test_from_batch=2)  # no redraw is needed: it moves nobody
    after = ledger()
    assert after[before.index].equals(before)
    assert set(after.drop(before.index)) == {"test"}
    with pytest.raises(SplitError, match=r"\d+ patients of splits.csv stand in another part than"):
        run(test=0.2, test_from_batch=1)


def label_file(**columns):
    LABELS.parent.mkdir(exist_ok=True)
    pd.DataFrame(columns).to_csv(LABELS, index=False)


def test_a_column_says_the_part_and_the_rest_is_drawn():
    write_index(names(60))
    label_file(patient=names(60), set=["test"] * 12 + ["train"] * 6 + [None] * 42)
    table = run(test=0, column="set").groupby("patient")["part"].first()
    assert table[:18].tolist() == ["test"] * 12 + ["train"] * 6
    assert set(table[18:]) == {"train", "validation"}


def test_a_column_that_tears_a_patient_or_says_something_else_is_refused():
    write_index(names(60))
    label_file(patient=names(60), set=["holdout"] * 60)
    with pytest.raises(SplitError, match=r"holds 'holdout'. Allowed: train, validation, test, promotion"):
        run(column="set")
    samples = [f"P{n:04d}-{image}" for n in range(60) for image in range(2)]
    label_file(path=samples, set=["test", "train"] + ["train"] * 118)
    with pytest.raises(SplitError, match="puts 1 patients in two parts"):
        run(column="set")
    assert not LEDGER.exists()


def test_folds_are_recorded_for_life_and_the_one_held_out_may_change():
    index = write_index(names(100))
    table = run(folds=5, test=0.2)
    first = ledger()
    inner = table[table["part"] != "test"]
    assert inner.groupby("patient")["fold"].nunique().eq(1).all()
    assert inner.groupby("fold")["patient"].nunique().eq(16).all()
    assert inner.merge(index, on="sample").groupby(["fold", "label"]).size().eq(16).all()
    assert table[table["part"] == "test"]["fold"].isna().all()
    for fold in range(5):
        table = run(folds=5, test=0.2, fold=fold)
        assert set(table[table["part"] == "validation"]["fold"]) == {fold}
    write_index(names(140))
    run(folds=5, test=0.2)
    assert ledger()[first.index].equals(first)
    assert [fold["patients"] for fold in json.loads(SPLIT.read_text())["folds"]] == pytest.approx([22] * 5, abs=1)


def test_folds_without_another_test_part_are_test_each_in_turn():
    write_index(names(60))
    tested = []
    for fold in range(4):
        table = run(folds=4, test=0, fold=fold)
        assert set(table[table["part"] == "test"]["fold"]) == {fold}
        assert set(table[table["part"] == "validation"]["fold"]) == {(fold + 1) % 4}
        tested += table.index[table["part"] == "test"].tolist()
    assert sorted(tested) == sorted(table.index)


def test_each_site_is_test_in_turn_and_a_new_site_leaves_the_others_their_number():
    write_index(names(80), site=sites(names(80), 3))
    tested = {}
    for fold in range(3):
        table = run(folds="sites", test=0, validation=0.25, fold=fold)
        tested[fold] = set(table[table["part"] == "test"]["patient"])
        assert {*table["part"]} == {"train", "validation", "test"}
    assert [{int(name[1:]) // 2 % 3 for name in tested[fold]} for fold in range(3)] == [{0}, {1}, {2}]
    before = ledger()
    both = [*names(80), *names(10, "A")]
    write_index(both, site=[*sites(names(80), 3), *["A"] * 20], batch=[1] * 160 + [2] * 20)
    run(folds="sites", test=0, validation=0.25, fold=3)
    assert ledger()[before.index].equals(before)
    assert set(ledger().drop(before.index)) == {"fold-3"}


def test_a_promotion_part_stands_beside_the_others():
    write_index(names(100))
    table = run(promotion=0.2, test=0.2)
    assert table.groupby("part")["patient"].nunique().to_dict() == {
        "promotion": 20,
        "test": 20,
        "train": 40,
        "validation": 20,
    }


CHANGES = [
    {"validation": 0.25},
    {"test": 0.25},
    {"promotion": 0.1},
    {"stratify": ["label", "site"]},
    {"folds": 5},
    {"seed": 7},
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: next(iter(change)))
def test_another_draw_over_a_ledger_is_refused_where_nothing_but_the_ledger_was_kept(change, folder):
    write_index(names(60), site=sites(names(60)))
    run()
    for path in (PARTS, SPLIT):
        path.unlink()  # as in a fresh clone
    kept = LEDGER.read_bytes()
    run()
    assert LEDGER.read_bytes() == kept
    with pytest.raises(SplitError, match=r"not those with which splits.csv was drawn.*split.redraw: true"):
        run(**change)
    assert LEDGER.read_bytes() == kept
    run(**change, redraw=True)
    assert json.loads(SPLIT.read_text())["redraw"]
    drawn = LEDGER.read_bytes()
    assert drawn != kept
    run(**change)  # the new draw is the one that is kept from here on
    assert LEDGER.read_bytes() == drawn


@pytest.mark.parametrize("before", [{}, {"folds": 5, "test": 0}], ids=["fractions", "folds"])
def test_a_redraw_by_sites_forgets_where_everybody_was(before):
    write_index(names(80), site=sites(names(80)))
    run(**before)
    table = run(folds="sites", test=0, validation=0.25, redraw=True)
    assert all(part == f"fold-{int(name[1:]) // 2 % 4}" for name, part in ledger().items())
    assert set(table[table["part"] == "test"]["patient"]) == {name for name in names(80) if int(name[1:]) // 2 % 4 == 0}


def test_each_of_several_labels_has_its_share_in_every_part():
    chances = {"mass": 0.4, "fluid": 0.15, "rib": 0.05}
    dice = random.Random(0)
    rows = [
        json.dumps({name: str(int(dice.random() < chance)) for name, chance in chances.items()}) for _ in range(300)
    ]
    write_index(names(300), images=1, label=rows)
    split(Multilabel(tuple(chances), "1"), 0, Split(validation=0.2, test=0.3))
    found = json.loads(SPLIT.read_text())["parts"]
    for name in [*chances, "none"]:
        total = sum(part["classes"][name]["patients"] for part in found.values())
        for part, share in (("train", 0.5), ("validation", 0.2), ("test", 0.3)):
            assert found[part]["classes"][name]["patients"] == pytest.approx(share * total, abs=1.5)


def test_the_seed_of_the_study_may_change_where_the_split_has_its_own():
    write_index(names(60))
    split(TASK, 0, Split(seed=5))
    kept = LEDGER.read_bytes()
    split(TASK, 1, Split(seed=5))
    assert LEDGER.read_bytes() == kept
    with pytest.raises(SplitError, match="not those with which"):
        split(TASK, 1, Split())


def test_a_ledger_merged_by_hand_is_still_known():
    write_index(names(200))
    run()
    head, *rows = LEDGER.read_text().splitlines(keepends=True)
    LEDGER.write_text(head + "".join(rows[5:] + rows[:5]))
    run()
    LEDGER.write_text(head + "".join(sorted(rows)))
    with pytest.raises(SplitError, match="its rows were put in another order"):
        run()
