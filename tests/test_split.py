import json

import numpy as np
import pandas as pd
import pytest
from splits import names, parts, put_index, write_index

from medimg.errors import LabelsError, SplitError
from medimg.params import Split
from medimg.records import DUPLICATES, LEDGER, PARTS, SPLIT
from medimg.split import Ledger, split
from medimg.tasks.binary import Binary

TASK = Binary("finding", "1")


@pytest.fixture
def index(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return write_index


def test_no_patient_is_in_two_parts_and_the_fractions_are_met_in_each_class(index):
    index(names(200))
    split(TASK, 0, Split(validation=0.2, test=0.3))
    table = parts()
    assert table.groupby("patient")["part"].nunique().eq(1).all()
    counts = json.loads(SPLIT.read_text())["parts"]
    assert {part: count["patients"] for part, count in counts.items()} == {"train": 100, "validation": 40, "test": 60}
    positive = {part: count["classes"]["positive"] for part, count in counts.items()}
    assert positive == {
        part: {"patients": n // 2, "images": n} for part, n in (("train", 100), ("validation", 40), ("test", 60))
    }


def test_a_ledger_with_a_patient_in_two_parts_cannot_be_constructed():
    with pytest.raises(SplitError, match="1 patients stand in two rows"):
        Ledger((("P1", "train", 1), ("P1", "test", 1)))
    with pytest.raises(SplitError, match="names the part 'tset'"):
        Ledger((("P1", "tset", 1),))


def test_the_split_does_not_depend_on_the_order_of_files_but_on_the_seed(index):
    index(names(60))
    split(TASK, 0, Split())
    first = LEDGER.read_bytes()
    LEDGER.unlink()
    index(names(60), order=1)
    split(TASK, 0, Split())
    assert LEDGER.read_bytes() == first
    LEDGER.unlink()
    split(TASK, 1, Split())
    assert LEDGER.read_bytes() != first


def test_a_second_split_of_the_same_patients_writes_the_same_bytes(index):
    index(names(60))
    split(TASK, 0, Split())
    first = [path.read_bytes() for path in (LEDGER, PARTS, SPLIT)]
    split(TASK, 0, Split())
    assert [path.read_bytes() for path in (LEDGER, PARTS, SPLIT)] == first


def test_a_patient_keeps_its_part_for_life(index):
    index(names(60))
    split(TASK, 0, Split())
    before = pd.read_csv(LEDGER).set_index("patient")["part"]
    index(names(30) + names(400, "Q"))  # half of the old ones are gone, many are new
    split(TASK, 0, Split(validation=0.2, test=0.3))
    after = pd.read_csv(LEDGER).set_index("patient")["part"]
    assert after[before.index].equals(before)
    new = after.drop(before.index).value_counts(normalize=True)
    assert new["test"] == pytest.approx(0.3, abs=0.07)
    assert new["validation"] == pytest.approx(0.2, abs=0.06)


def test_an_image_without_a_patient_is_refused_unless_each_is_said_to_be_its_own(index):
    table = index(names(60), images=1)
    index(names(60), images=1, patient=table["patient"].where(np.arange(60) > 0, None))
    with pytest.raises(SplitError, match=r"1 of 60 images have no patient.*split.each_image_is_a_patient: true"):
        split(TASK, 0, Split())
    assert not LEDGER.exists()
    split(TASK, 0, Split(each_image_is_a_patient=True))
    assert parts()["patient"].tolist().count("image-P0000-0") == 1
    assert set(parts()["patient"]) == {"image-P0000-0", *names(60)[1:]}  # whoever has an id keeps it
    assert json.loads(SPLIT.read_text())["each_image_is_a_patient"] == 1


def test_new_patients_who_share_pixels_go_to_one_part(index):
    table = index(names(100), images=1)
    pixels = table["sample"].copy()
    pixels[10:60:2] = pixels[10]  # 25 patients of one class
    index(names(100), images=1, pixel_sha256=pixels)
    split(TASK, 0, Split())
    chain = parts().loc[table["sample"][10:60:2]]
    assert chain["part"].nunique() == 1


def test_a_new_patient_who_shares_pixels_with_a_known_one_goes_to_the_same_part(index):
    table = index(names(60), images=1)
    split(TASK, 0, Split())
    known = pd.read_csv(LEDGER).set_index("patient")["part"]
    both = index(names(60) + names(60, "Q"), images=1)
    pixels = both["sample"].where(both["patient"].str.startswith("P"), "P" + both["sample"].str[1:])
    index(names(60) + names(60, "Q"), images=1, pixel_sha256=pixels)
    split(TASK, 0, Split())
    after = pd.read_csv(LEDGER).set_index("patient")["part"]
    assert len(after) == 2 * len(table)
    assert [after["Q" + name[1:]] for name in known.index] == known.tolist()


def test_a_copy_within_a_patient_is_left_out_once(index):
    table = index(names(60))
    pixels = table["sample"].copy()
    pixels[1] = pixels[0]
    index(names(60), pixel_sha256=pixels)
    split(TASK, 0, Split())
    assert json.loads(SPLIT.read_text())["excluded"] == {"copy of another image of the same patient": 1}
    assert parts().loc["P0000-1", "part"] == "excluded"


def test_the_same_pixels_under_opposite_labels_are_left_out_everywhere(index):
    table = index(names(60), images=1)
    pixels = table["sample"].copy()
    pixels[1] = pixels[0]
    index(names(60), images=1, pixel_sha256=pixels)
    split(TASK, 0, Split())
    assert parts().loc[["P0000-0", "P0001-0"], "reason"].eq("same pixels under opposite labels").all()


def test_a_copy_that_links_patients_of_different_parts_moves_nobody_and_leaves_training(index):
    table = index(names(60), images=1)
    split(TASK, 0, Split())
    ledger = pd.read_csv(LEDGER)
    label = table.set_index("patient")["label"]
    train, test = (
        next(patient for patient in ledger[ledger["part"] == part]["patient"] if label[patient] == "1")
        for part in ("train", "test")
    )
    index(names(60), images=1, pixel_sha256=table["sample"].replace(f"{train}-0", f"{test}-0"))
    split(TASK, 0, Split())
    assert pd.read_csv(LEDGER).equals(ledger)
    assert parts().loc[f"{train}-0", ["part", "reason"]].tolist() == ["excluded", "same pixels as an image in test"]
    assert parts().loc[f"{test}-0", "part"] == "test"


def test_one_class_only_names_the_values_found(index):
    index(names(10), label="0")
    with pytest.raises(LabelsError, match=r"one class only: none of 20 images has the value '1'.*Values found: '0'"):
        split(TASK, 0, Split())
    assert not LEDGER.exists()


def test_a_part_without_a_class_is_refused_and_nothing_is_written(index):
    index(names(4))
    with pytest.raises(SplitError, match=r"labelled images of 4 patients.*at least 6"):
        split(TASK, 0, Split())
    index(names(40), label=[str(int(number < 4)) for number in range(80)])
    with pytest.raises(SplitError, match=r"Part \w+ has \d+ patients and no (positive|negative) image"):
        split(TASK, 0, Split())
    assert not LEDGER.exists()
    assert not PARTS.exists()


def test_images_without_a_label_are_in_no_part(index):
    table = index(names(60))
    index(names(60), label=table["label"].where(np.arange(120) > 0, None))
    split(TASK, 0, Split())
    assert parts().loc["P0000-0", ["part", "reason"]].tolist() == ["excluded", "no label"]
    assert parts().loc["P0000-1", "part"] != "excluded"


def test_a_patient_may_have_a_name_that_a_table_takes_for_nothing(index):
    write_index(["NA", "null", *names(38)])
    split(TASK, 0, Split())
    first = LEDGER.read_bytes()
    split(TASK, 0, Split())
    assert LEDGER.read_bytes() == first and b"\nNA," in first and b"\nnull," in first


def test_a_broken_ledger_says_how_to_restore_it(index):
    index(names(60))
    LEDGER.write_text("who,where\nP1,train\n")
    with pytest.raises(SplitError, match=r"git checkout splits\.csv"):
        split(TASK, 0, Split())


def with_copy(table, sample, of):
    """The index where ``sample`` shows the picture of ``of``, inverted, and every other image its own noise."""
    draw = np.random.default_rng(0)
    shown = {name: draw.integers(0, 256, 1024).astype(np.uint8) for name in table["sample"]}
    shown[sample] = 255 - shown[of]
    put_index(table, pictures={name: picture.tobytes() for name, picture in shown.items()})


def test_an_altered_copy_ties_new_patients_together(index):
    for number in range(2, 12, 2):
        table = index(names(60), images=1)
        LEDGER.unlink(missing_ok=True)
        with_copy(table, f"P{number:04d}-0", "P0000-0")
        split(TASK, 0, Split())
        assert parts().loc[[f"P{number:04d}-0", "P0000-0"], "part"].nunique() == 1
        found = pd.read_csv(DUPLICATES)
        assert found[["sample", "copy", "kind"]].values.tolist() == [["P0000-0", f"P{number:04d}-0", "altered copy"]]
    LEDGER.unlink()
    split(TASK, 0, Split(altered_copies=False))
    assert pd.read_csv(DUPLICATES).empty


def test_an_altered_copy_that_comes_later_moves_nobody_and_leaves_training(index):
    table = index(names(60), images=1)
    split(TASK, 0, Split())
    ledger = pd.read_csv(LEDGER)
    label = table.set_index("patient")["label"]
    train, validation, test = (
        next(patient for patient in ledger[ledger["part"] == part]["patient"] if label[patient] == "1")
        for part in ("train", "validation", "test")
    )
    with_copy(table, f"{train}-0", f"{test}-0")
    split(TASK, 0, Split())
    assert pd.read_csv(LEDGER).equals(ledger)
    assert parts().loc[f"{train}-0", "reason"] == "altered copy of an image in test"
    assert parts().loc[f"{test}-0", "part"] == "test"
    with_copy(table, f"{validation}-0", f"{test}-0")
    split(TASK, 0, Split())
    assert parts().loc[f"{validation}-0", "reason"] == "altered copy of an image in test"


def test_an_altered_copy_under_the_opposite_label_is_left_out(index):
    table = index(names(60), images=1)
    with_copy(table, "P0001-0", "P0000-0")
    split(TASK, 0, Split())
    assert parts().loc[["P0000-0", "P0001-0"], "reason"].eq("altered copy under the opposite label").all()


def test_alike_images_of_one_patient_are_no_copies(index):
    table = index(names(60), images=2)
    with_copy(table, "P0000-1", "P0000-0")
    split(TASK, 0, Split())
    assert parts().loc[["P0000-0", "P0000-1"], "reason"].isna().all()
