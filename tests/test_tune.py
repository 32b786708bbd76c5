import io
import subprocess

import pandas as pd
import pytest
import yaml
from studies import run_dvc, run_medimg, set_params

from medimg.errors import ParamsError
from medimg.params import load
from medimg.params.edit import edited
from medimg.records import PARTS, PARTS_SCHEMA, TUNED, read_table, write_table
from medimg.tune import applied, draws

TEXT = """# a study
train:                   # how
  workers: 1
  learning_rate: 0.001   # the peak
  clip: null
model: {name: resnet10, hidden: 32}
"""


def test_a_value_is_changed_in_place_and_every_comment_stays():
    changed = edited(TEXT, {"train.learning_rate": 0.00025, "model.name": "mlp"})
    assert changed == TEXT.replace("0.001   #", "0.00025 #").replace("resnet10", "mlp")
    assert edited(TEXT, {"train.learning_rate": 0.001}) == TEXT


@pytest.mark.parametrize(
    ("text", "name", "wanted"),
    [
        ("a: {b: {c: 1, d: 2}}  # x\n", "a.b.d", "a: {b: {c: 1, d: 7}}  # x\n"),
        ("a: {b: {c: 1}}\n", "a.b.d", "a: {b: {d: 7, c: 1}}\n"),
        ("a: {b: {}}\n", "a.b.d", "a: {b: {d: 7}}\n"),
        ("a: {c: 1}\n", "a.d", "a: {d: 7, c: 1}\n"),
        ("a:\n  c: 1  # x\n", "a.b.d", "a:\n  b: {d: 7}\n  c: 1  # x\n"),
        ("a:\n  b:\n    c: 1\n", "a.b.d", "a:\n  b:\n    d: 7\n    c: 1\n"),
        ("c: 1\n", "a.b.d", "c: 1\n\na:\n  b: {d: 7}\n"),
    ],
)
def test_a_key_within_a_key_is_changed_or_added_where_it_belongs(text, name, wanted):
    assert edited(text, {name: 7}) == wanted
    assert yaml.safe_load(wanted)


@pytest.mark.parametrize("value", [3e-05, 1e-4, 7, "a: b # c", "1", True, None])
def test_what_is_written_is_read_back_as_the_same(value):
    for name in ("train.clip", "train.new", "other.key", "model.hidden"):
        block, _, key = name.partition(".")
        before, after = yaml.safe_load(TEXT), yaml.safe_load(edited(TEXT, {name: value}))
        assert after[block][key] == value
        assert type(after[block][key]) is type(value)
        after[block].pop(key)
        before.get(block, {}).pop(key, None)
        assert {at: of for at, of in after.items() if of} == before


def searching(study, **tuning):
    set_params(study, tune=tuning)
    return load()


def test_the_first_settings_are_those_of_params_yaml_and_the_others_belong_to_the_seed(study):
    search = {
        "train.learning_rate": {"low": 1e-5, "high": 1e-1, "log": True},
        "train.batch_size": {"low": 8, "high": 64},
    }
    params = searching(study, search=search, trials=30)
    drawn = draws(params)
    assert drawn == draws(params)
    assert drawn[0] == {"train.learning_rate": params.train.learning_rate, "train.batch_size": params.train.batch_size}
    assert len(drawn) == 30
    rates = [one["train.learning_rate"] for one in drawn[1:]]
    assert sum(rate < 1e-3 for rate in rates) in range(8, 22)  # half of the range, by factors
    assert all(isinstance(one["train.batch_size"], int) for one in drawn)
    assert applied(drawn[1]).train.batch_size == drawn[1]["train.batch_size"]


def test_a_small_space_is_tried_whole_and_no_setting_twice(study):
    drawn = draws(searching(study, search={"model.name": ["mlp", "perceptron"]}, trials=9))
    assert sorted(one["model.name"] for one in drawn) == ["mlp", "perceptron", "resnet10"]


def test_augmentation_is_searched_by_its_keys_within_keys(study):
    search = {"augment.affine.probability": {"low": 0.1, "high": 0.9}, "augment.mixup.probability": [0, 0.5]}
    params = searching(study, search=search, trials=4)
    first, *others = draws(params)
    assert first == {"augment.affine.probability": params.augment.affine.probability, "augment.mixup.probability": 0}
    for one in others:
        blocks = applied(one).augment
        assert (blocks.affine.probability, blocks.mixup.probability) == tuple(one.values())
        assert blocks.affine.rotate == params.augment.affine.rotate


UNSEARCHED = [
    "train.folds",
    "train.monitor",
    "split.test",
    "preprocess.size",
    "train.rate",
    "augment",
    "augment.affine",
]
UNSEARCHED += ["augment.affine.rotation", "train.clip.norm"]


@pytest.mark.parametrize("name", UNSEARCHED)
def test_what_cannot_be_searched_is_named(study, name):
    with pytest.raises(ParamsError, match=f"{name} cannot be searched"):
        draws(searching(study, search={name: [1, 2]}))


def test_a_value_that_is_not_allowed_is_said_before_any_trial(study):
    with pytest.raises(ParamsError, match=r"train.learning_rate: -1"):
        for one in draws(searching(study, search={"train.learning_rate": [-1.0]})):
            applied(one)


@pytest.mark.slow
def test_the_search_finds_what_learns_writes_it_and_never_reads_test(ready):
    """A rate of 1e-9 learns nothing; and the test part is garbled between two searches."""
    path = ready / "params.yaml"
    rates = {"train.learning_rate": [1e-9, 3e-3]}
    set_params(ready, model={"name": "lenet5"}, train={"learning_rate": 1e-9, "max_epochs": 12, "patience": 12})
    set_params(ready, tune={"search": rates, "scheduler": "none"})
    path.write_text("# ours\n" + path.read_text())
    before = path.read_text()
    found = run_medimg("tune")
    assert found.returncode == 0, found.stderr
    assert path.read_text() == before.replace("learning_rate: 1.0e-09", "learning_rate: 0.003")
    trials = pd.read_csv(TUNED)
    assert trials["trial"].tolist() == [0, 1]
    assert f"learning_rate: 0.003: {trials['score'].max():.4f}, before" in found.stdout
    path.write_text(before)
    parts = read_table(PARTS, PARTS_SCHEMA)
    write_table(PARTS, parts[parts["part"] != "test"], PARTS_SCHEMA)
    assert run_medimg("tune").stdout == found.stdout


@pytest.mark.slow
def test_dvc_runs_a_queue_of_experiments(study):
    """The perceptron, so that it is quick: three stages and two trainings."""
    set_params(study, model={"name": "perceptron"}, train={"max_epochs": 1}, preprocess={"size": 16})
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "study"]):
        assert run_git(study, *words) == 0
    queued = run_dvc(study, "exp", "run", "--queue", "-S", "train.learning_rate=0.1,0.2", "train")
    assert queued.returncode == 0, queued.stderr
    ran = run_dvc(study, "exp", "run", "--run-all", "-j", "1")
    assert ran.returncode == 0, ran.stderr
    shown = run_dvc(study, "exp", "show", "--csv")
    assert {"0.1", "0.2"} <= set(pd.read_csv(io.StringIO(shown.stdout))["train.learning_rate"].astype(str))


def run_git(folder, *words):
    return subprocess.run(
        ["git", "-c", "user.name=a", "-c", "user.email=a@b", *words], cwd=folder, check=False
    ).returncode
