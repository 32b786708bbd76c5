import pytest
import yaml
from studies import ROOT

from medimg.errors import ParamsError
from medimg.params import Params, check, load

MINIMAL = {"study": {"question": "q", "label": "finding", "positive": "1"}}


def message(values):
    with pytest.raises(ParamsError) as caught:
        check(values)
    return str(caught.value)


def test_the_demo_study_names_every_key_and_no_other():
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    assert load(ROOT / "params.yaml").model_dump(mode="json") == check(values).model_dump(mode="json")

    def keys(block):
        return {name: keys(value) if isinstance(value, dict) else None for name, value in block.items()}

    assert keys(values) == keys(Params.model_validate(MINIMAL).model_dump())


@pytest.mark.parametrize(
    ("block", "key", "near"),
    [("train", "max_epoch", "max_epochs"), ("evaluate", "treshold", "threshold"), ("study", "postive", "positive")],
)
def test_a_misspelt_key_names_the_nearest(block, key, near):
    values = MINIMAL | {block: MINIMAL.get(block, {}) | {key: 1}}
    assert f"{block}.{key}: there is no such key. Did you mean {near}?" in message(values)


def test_a_misspelt_block_names_the_nearest():
    assert "trian: there is no such key. Did you mean train?" in message(MINIMAL | {"trian": {}})


def test_a_key_unlike_any_other_lists_what_is_allowed():
    assert "Allowed here: batch_size." in message(MINIMAL | {"predict": {"xyzzy": 1}})


def test_every_problem_is_named_at_once():
    text = message({"study": {"question": "q", "label": "l"}, "train": {"workers": 0, "max_epoch": 3}})
    assert "study.positive: missing. It is the value of that column that counts as positive" in text
    assert "train.workers: 0 is not allowed: it should be greater than or equal to 1" in text
    assert "train.max_epoch" in text


def test_fractions_that_leave_nothing_to_train_on_show_the_arithmetic():
    text = message(MINIMAL | {"split": {"validation": 0.5, "test": 0.5}})
    assert "validation + test = 0.5 + 0.5 = 1 leaves no patient for train" in text


def test_the_positive_class_is_text_even_where_yaml_reads_a_number():
    assert check({"study": MINIMAL["study"] | {"positive": 1}}).study.positive == "1"


def test_params_cannot_be_changed_after_the_check():
    with pytest.raises(ValueError, match="frozen"):
        check(MINIMAL).train.workers = 2


@pytest.mark.parametrize(
    ("text", "words"),
    [(None, "There is no"), ("study: [", "not valid YAML near line"), ("", "is empty"), ("- a\n", "not a mapping")],
)
def test_a_file_that_is_no_params_yaml_says_what_to_do(tmp_path, text, words):
    path = tmp_path / "params.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ParamsError, match=words):
        load(path)
