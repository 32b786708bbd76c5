"""The patient flow diagram and the counts behind it."""

import json

import numpy as np
import pytest
from splits import names, write_index

from medimg.evaluation.flow import few, flow
from medimg.params import Split
from medimg.records import SPLIT
from medimg.split import split
from medimg.tasks.binary import Binary

INGEST = {"seen": 210, "indexed_files": 200, "not_an_image": 4, "by_code": {"truncated": 6}}


@pytest.fixture
def account(tmp_path, monkeypatch):
    """Of a split of 100 patients of two images, a promotion part among the parts."""
    monkeypatch.chdir(tmp_path)
    sex, age = np.repeat(["F", "M"], 100), np.repeat([17.0, 18, 64, 65], 50)
    write_index(names(100), sex=sex, age=age, site="S1", manufacturer="", view=None)
    split(Binary("finding", "1"), 0, Split(validation=0.1, test=0.4, promotion=0.1))
    return json.loads(SPLIT.read_text())


def test_every_count_of_a_part_adds_up_to_the_part(account):
    for part in account["parts"].values():
        for groups in (part["classes"], part["subgroups"]["sex"], part["subgroups"]["age"]):
            assert sum(group["images"] for group in groups.values()) == part["images"] == 2 * part["patients"]
    ages = {name for part in account["parts"].values() for name in part["subgroups"]["age"]}
    assert ages == {"0–17", "18–39", "40–64", "65+"}
    assert set(account["parts"]["test"]["subgroups"]) == {"sex", "age"}  # a single site or view is no subgroup


def test_parts_with_too_few_patients_of_a_class_are_named(account):
    assert {(one["part"], one["class"]) for one in account["few"]} == {
        (part, name) for part in ("validation", "promotion", "test") for name in ("positive", "negative")
    }
    assert {part for part, _, _ in few(account)} == {"validation", "promotion"}  # the report has its own for test


def test_parts_stand_in_the_order_in_which_they_are_used(account):
    assert list(account["parts"]) != ["train", "validation", "test", "promotion"]
    assert flow(INGEST, account, 100)["parts"] == ["train", "validation", "test", "promotion"]


def test_no_box_overlaps_another_and_all_are_in_the_drawing(account):
    account["excluded"] = {"same pixels as an image in test, which is a long reason to give": 3, "no label": 1}
    drawn = flow(INGEST, account, 100)
    boxes = drawn["boxes"]
    for box in boxes:
        assert box.x >= 0 and box.x + box.width <= drawn["width"] and box.bottom <= drawn["height"]
        assert max(len(line) for line in box.lines) * 6.5 <= box.width
    for one in boxes:
        for other in boxes:
            apart = one.x + one.width <= other.x or other.x + other.width <= one.x
            assert one is other or apart or one.bottom <= other.y or other.bottom <= one.y
    assert "40 patients 80 images" in drawn["words"]
    assert "6 quarantined: truncated" in drawn["words"]
    assert [box.kind for box in boxes].count("test") == 1
