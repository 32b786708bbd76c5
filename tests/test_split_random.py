"""Many made-up studies that grow by imports: what must hold of every split, holds of these."""

import random

import pandas as pd
import pytest
from splits import ledger, parts, put_index

from medimg.errors import SplitError
from medimg.params import Split
from medimg.records import LEDGER, PARTS, SPLIT
from medimg.split import split
from medimg.tasks.binary import Binary

SCHEMES = [
    {"validation": 0.2, "test": 0.3},
    {"validation": 0.2, "test": 0.2, "promotion": 0.2, "stratify": ["label", "site"]},
    {"folds": 4, "test": 0.2, "fold": 1},
    {"folds": 4, "test": 0, "fold": 3, "stratify": ["label", "sex"]},
    {"test": 0, "test_sites": ["S0"], "validation": 0.3},
    {"test": 0, "folds": "sites", "validation": 0.3},
    {"test": 0.2, "test_from_batch": 3},
]


def study(dice):
    """Three imports: patients of one to five images, some seen again at another site, some images copied to others."""
    rows, known = [], []
    for batch in (1, 2, 3):
        fresh = [f"B{batch}-{number}" for number in range(dice.randrange(40, 90))]
        again = dice.sample(known, dice.randrange(len(known) // 4 + 1)) if known else []
        for patient in fresh + again:
            site = f"S{dice.randrange(3)}"
            ill = dice.random() < 0.4
            for image in range(dice.choice([1, 1, 2, 5])):
                name = f"{patient}-{batch}-{image}"
                label = dice.choice(["1", "0"]) if dice.random() < 0.1 else "1" if ill else "0"
                copied = rows and dice.random() < 0.04
                rows.append(
                    {
                        "sample": name,
                        "patient": patient,
                        "site": site if dice.random() < 0.95 else "S0",
                        "sex": dice.choice("FM"),
                        "label": label if dice.random() < 0.97 else None,
                        "pixel_sha256": dice.choice(rows)["pixel_sha256"] if copied else name,
                        "batch": batch,
                    }
                )
        known += fresh
    return pd.DataFrame(rows)


def cannot_leak(index, table, before):
    now = ledger()
    assert now.index.is_unique
    assert now[before.index].equals(before)  # for life
    used = table[table["part"] != "excluded"]
    assert used.groupby("patient")["part"].nunique().eq(1).all()
    assert used.groupby("patient")["fold"].nunique(dropna=False).eq(1).all()
    pixels = used.join(index.set_index("sample")[["pixel_sha256", "label"]])
    assert pixels.groupby("pixel_sha256")["part"].nunique().eq(1).all()
    assert pixels.groupby("pixel_sha256")["label"].nunique().eq(1).all()
    assert used["reason"].isna().all()
    assert table.loc[table["part"] == "excluded", "reason"].notna().all()
    assert set(table.index) == set(index["sample"])  # every image is in a part or has a reason


@pytest.mark.parametrize("number", range(14))
def test_no_split_of_a_random_study_leaks_or_moves_anybody(number, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    dice = random.Random(number)
    whole, settings, task = study(dice), Split(**SCHEMES[number % len(SCHEMES)]), Binary("finding", "1")
    before = pd.Series(dtype=str)
    for batch in (1, 2, 3):
        index = put_index(whole[whole["batch"].between(batch - 1, batch)].copy())  # old images are gone by then
        held_out = settings.test_from_batch
        try:
            split(task, number, settings if held_out is None or batch == 3 else Split(test=0.2))
        except SplitError as refused:  # a fold or a site without one of the classes: said, and nothing written
            assert "Part" in str(refused)
            assert LEDGER.exists() == bool(len(before))
            continue
        cannot_leak(index, parts(), before)
        written = [path.read_bytes() for path in (LEDGER, PARTS, SPLIT)]
        table = parts()
        put_index(index, order=number)
        split(task, number, settings if held_out is None or batch == 3 else Split(test=0.2))
        assert LEDGER.read_bytes() == written[0]
        assert SPLIT.read_bytes() == written[2]
        assert parts().loc[table.index].equals(table)
        before = ledger()
    assert len(before)
