import pytest
import yaml
from studies import ROOT

from medimg.errors import ParamsError
from medimg.params import Augment, Params, check, load
from medimg.params.augment import PRESETS

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
    assert "validation + test + promotion = 0.5 + 0.5 + 0 = 1 leaves no patient for train" in text


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


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_fills_what_is_not_given_and_nothing_else(name):
    plain = Augment(preset=name)
    for key, block in PRESETS[name].items():
        assert {k: v for k, v in plain.model_dump()[key].items() if k in block} == block
    assert set(plain.active()) == set(PRESETS[name])
    mine = Augment(preset=name, affine={"rotate": 3}, gibbs={"probability": 0.5})
    assert mine.affine.rotate == 3
    assert mine.affine.probability == plain.affine.probability
    assert mine.gibbs.probability == 0.5
    assert Augment.model_validate(mine.model_dump()) == mine


def test_presets_do_not_mirror_where_laterality_matters():
    mirrored = {name for name in PRESETS if any(Augment(preset=name).flip.model_dump().values())}
    assert mirrored == set()
    assert not any(Augment(preset=name).mixes for name in PRESETS)


def test_a_preset_that_decides_nothing_is_an_error(tmp_path):
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    values["augment"]["preset"] = "cxr"
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values))
    with pytest.raises(ParamsError, match=r"augment\.preset: cxr decides nothing"):
        load(tmp_path / "params.yaml")
    values["augment"] = {"preset": "cxr", "flip": {"width": 0.5}}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values))
    assert load(tmp_path / "params.yaml").augment.gamma.probability == 0.3


def test_more_mixing_than_there_are_samples_is_an_error():
    text = message(MINIMAL | {"augment": {"mixup": {"probability": 0.7}, "cutmix": {"probability": 0.5}}})
    assert "mixup.probability + cutmix.probability = 1.2 is above 1" in text


@pytest.mark.parametrize(
    "url", ["s3://me:hunter2@host/c", "abfs://c@host/x?sig=hunter2", "webdavs://me:hunter2@host/c"]
)
def test_a_secret_in_a_url_is_refused_and_not_quoted(url):
    text = message(MINIMAL | {"cluster": {"checkpoints": url}})
    assert "cluster.checkpoints holds" in text and "hunter2" not in text
    assert check(MINIMAL | {"cluster": {"checkpoints": "abfs://container@account/x"}})


def test_a_range_that_descends_is_an_error():
    text = message(MINIMAL | {"augment": {"blur": {"sigma": [2, 1]}}})
    assert "augment.blur.sigma: 2 is above 1: write the lower bound first" in text


def test_the_page_on_augmentation_has_the_presets_probabilities():
    page = (ROOT / "docs/augmentation.md").read_text()
    names = [name for name in PRESETS if name != "none"]
    assert f"| change | {' | '.join(f'`{name}`' for name in names)} |" in page
    for key in {key for block in PRESETS.values() for key in block}:
        chances = [PRESETS[name].get(key, {}) for name in names]
        shares = [block.get("probability", block.get("width", 0)) for block in chances]
        (line,) = [line for line in page.splitlines() if line.startswith(f"| `{key}`") and line.count("|") > 5]
        assert [float(cell.strip() or 0) for cell in line.split("|")[2:-1]] == [100 * share for share in shares]
