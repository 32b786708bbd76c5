"""The rules of a promotion, the chain of the history, and the champion: known answers, and what is refused."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from medimg.errors import RegistryError
from medimg.evaluation.compare import Model
from medimg.params import Params
from medimg.promote import HISTORY, Bundle, append, head, read_champion, read_history, rules
from medimg.promote.history import NOTHING
from medimg.promote.rules import Evidence, decide
from medimg.promote.show import lines
from medimg.records import Predictions
from medimg.retrain.register import crown, record, verify

STUDY = {"question": "q", "label": "finding", "positive": "1"}
PARAMS = Params.model_validate(
    {"study": STUDY, "promote": {"margin": 0.05, "new_margin": 0.05, "brier_margin": 0.05, "subgroup_margin": 0.05}}
)
PATIENTS = 300
RANDOM = np.random.default_rng(0)
TRUTH = (RANDOM.random(PATIENTS) < 0.5).astype(float)
SIGNAL = 2.5 * TRUTH - 1.25 + RANDOM.normal(size=PATIENTS)
INDEX = pd.DataFrame(
    {
        "sample": [f"{number:06d}" for number in range(PATIENTS)],
        "sex": np.where(np.arange(PATIENTS) % 2, "F", "M"),
        "age": 50.0,
        "manufacturer": np.where(np.arange(PATIENTS) < 200, "old", "new"),
    }
)
GOOD = {"test": {"ece": {"value": 0.05}, "ece_by_chance": {"value": 0.03}}, "headline": {"name": "auroc", "low": 0.8}}
PASSED = {"verdict": "pass", "fired": []}


def model(logit):
    rows = INDEX[["sample"]].assign(
        patient=[f"P{number:04d}" for number in range(PATIENTS)], study=None, part="promotion", weights="w",
        fold=pd.array([None] * PATIENTS, "Int32"),
    )  # fmt: skip
    return Model(Predictions(rows, TRUTH[:, None], logit[:, None], expit(logit)[:, None]), None)


def evidence(challenger, champion, newcomers=(), **changes):
    there = model(champion) if champion is not None else None
    new = frozenset(f"P{number:04d}" for number in newcomers)
    return replace(Evidence(model(challenger), there, None, new, INDEX, GOOD, PASSED), **changes)


def broken(found, params=PARAMS):
    return [rule.name for rule in decide(found, params) if not rule.held]


def worse(where):
    """The champion's logits, without any signal for the patients of ``where``."""
    return np.where(where, RANDOM.normal(size=PATIENTS), SIGNAL)


def test_the_same_model_again_breaks_no_rule():
    assert broken(evidence(SIGNAL, SIGNAL)) == []


def test_a_model_that_lost_its_signal_breaks_the_rules_that_compare():
    assert {"champion, all", "subgroups", "brier"} <= set(broken(evidence(worse(TRUTH >= 0), SIGNAL)))


def test_noise_where_the_margin_needs_certainty_is_refused_although_nothing_is_worse():
    strict = PARAMS.model_copy(update={"promote": PARAMS.promote.model_copy(update={"margin": 0.001})})
    jitter = SIGNAL + 0.5 * np.random.default_rng(1).normal(size=PATIENTS)
    assert "champion, all" in broken(evidence(jitter, SIGNAL), strict)


def test_a_model_that_does_not_answer_what_is_hard_is_refused():
    whole = evidence(SIGNAL, SIGNAL)
    easy = Model(whole.challenger.predictions.where(np.arange(PATIENTS) > 0), None)
    assert broken(replace(whole, challenger=easy)) == ["nothing left out"]
    assert "nothing left out" not in broken(replace(whole, champion=easy))


def test_an_image_without_an_answer_is_counted_whoever_else_gets_one():
    whole, some, others = (
        Model(model(SIGNAL).predictions.where(chosen), None)
        for chosen in (np.arange(PATIENTS) >= 0, np.arange(PATIENTS) >= 2, np.arange(PATIENTS) < 100)
    )
    for challenger, champion, missing in ((whole, some, 0), (some, whole, 2), (some, others, 2), (others, some, 200)):
        rule = rules._nothing_left_out(challenger, champion)
        assert (rule.name, rule.held) == ("nothing left out", not missing)
        assert rule.said.startswith(f"{missing} of {len(champion.predictions)} images")


def test_the_champion_once_more_is_no_other_model():
    (rule,) = rules.another_model("a" * 64, "a" * 64)
    assert (rule.name, rule.held) == ("another model", False)
    assert not list(rules.another_model("a" * 64, "b" * 64)) and not list(rules.another_model("a" * 64, None))


def test_a_brier_score_that_cannot_be_compared_is_refused_and_not_passed_over():
    """Every patient says the same, so no resample of them differs from another."""
    sure, unsure = 800 * TRUTH - 400, np.zeros(PATIENTS)
    found = {rule.name: rule for rule in decide(evidence(unsure, sure), PARAMS)}
    assert not found["brier"].held and "has no interval" in found["brier"].said
    found = {rule.name: rule for rule in decide(evidence(sure, sure), PARAMS)}
    assert found["brier"].held and "does not differ" in found["brier"].said


def test_who_was_there_before_is_judged_apart_from_who_came_since():
    new = range(240, PATIENTS)
    number = np.arange(PATIENTS)
    flipped = np.where(number >= 240, -SIGNAL, SIGNAL)  # fails on newcomers alone, as the champion does
    assert broken(evidence(flipped, SIGNAL, new))[:2] == ["champion, all", "champion, new patients"]
    better_on_new = np.where(number >= 240, 9 * (2 * TRUTH - 1), worse(number < 240))
    assert "champion, earlier patients" in broken(evidence(better_on_new, SIGNAL, new))


def test_few_newcomers_are_not_judged_apart_and_the_rule_says_so():
    found = {rule.name: rule for rule in decide(evidence(SIGNAL, SIGNAL, range(5)), PARAMS)}
    assert found["champion, new patients"].held
    assert "not judged apart" in found["champion, new patients"].said


def test_the_anchor_is_asked_with_its_own_margin_so_that_margins_do_not_add_up():
    champion = SIGNAL + 0.9 * np.random.default_rng(2).normal(size=PATIENTS)
    assert broken(evidence(champion, champion, anchor=model(SIGNAL))) == ["anchor, all"]


def test_one_group_that_is_worse_off_is_named():
    found = decide(evidence(worse(INDEX["manufacturer"] == "new"), SIGNAL), PARAMS)
    said = next(rule.said for rule in found if rule.name == "subgroups")
    assert "manufacturer new" in said
    assert "manufacturer old" not in said


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"shortcuts": {"verdict": "suspect", "fired": ["rim"]}}, "shortcuts"),
        ({"shortcuts": None}, "shortcuts"),
        ({"metrics": GOOD | {"test": {"ece": {"value": 0.3}, "ece_by_chance": {"value": 0.05}}}}, "calibration"),
    ],
)
def test_a_guardrail_alone_refuses(changes, rule):
    assert broken(evidence(SIGNAL, SIGNAL, **changes)) == [rule]


def test_too_few_patients_decide_nothing():
    many = PARAMS.model_copy(update={"promote": PARAMS.promote.model_copy(update={"patients": 1000})})
    assert broken(evidence(SIGNAL, SIGNAL), many) == ["patients"]


@pytest.mark.parametrize(("low", "held"), [(0.61, True), (0.59, False), (None, False)])
@pytest.mark.parametrize("champion", [None, SIGNAL])
def test_every_model_is_held_to_an_absolute_rule(low, held, champion):
    metrics = GOOD | {"headline": {"name": "auroc", "low": low}}
    assert broken(evidence(SIGNAL, champion, metrics=metrics)) == ([] if held else ["floor"])


@pytest.mark.parametrize(("champion", "rules"), [(None, ["floor"]), (SIGNAL, [])])
def test_of_a_headline_without_a_usual_limit_the_first_model_needs_one_that_is_stated(champion, rules):
    metrics = GOOD | {"headline": {"name": "balanced_accuracy", "low": 0.1}}
    assert broken(evidence(SIGNAL, champion, metrics=metrics)) == rules


def test_newcomers_whose_labels_are_flipped_are_noticed_although_the_champion_is_as_wrong_about_them():
    number, new = np.arange(PATIENTS), range(240, PATIENTS)
    flipped = np.where(number >= 240, -SIGNAL, SIGNAL)
    assert broken(evidence(flipped, flipped, new)) == ["new patients"]
    unsure = np.where(number >= 240, RANDOM.normal(size=PATIENTS), SIGNAL)
    assert broken(evidence(unsure, unsure, new)) == []
    assert "new patients" in broken(evidence(np.where(number >= 240, -9 * TRUTH, SIGNAL), flipped, new))


def bundle(number):
    return Bundle(f"{number:064x}", f"{number + 100:064x}", f"{number:032x}.dir", 10, 5)


ABOUT = {"at": "2030-01-01T00:00:00+00:00", "commit": "c" * 40, "batch": 1, "rules": []}
METRICS = {
    part: {"name": "auroc", "value": 0.9, "low": 0.8, "high": 0.95, "patients": 9} for part in ("promotion", "test")
}


def test_each_line_of_the_history_follows_the_one_before(tmp_path):
    assert read_history(tmp_path) == []
    assert head(tmp_path) == NOTHING
    before = [append(tmp_path, {"event": "kept", "number": number}) for number in range(5)]
    assert read_history(tmp_path) == before
    assert [line["line"] for line in before] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("change", ["edit", "remove", "insert", "swap", "cut"])
def test_a_history_that_was_changed_is_refused_by_its_line(tmp_path, change):
    for number in range(5):
        append(tmp_path, {"event": "kept", "number": number})
    path = tmp_path / HISTORY
    text = path.read_text().splitlines()
    match change:
        case "edit":
            text[2] = text[2].replace('"number": 2', '"number": 9')
        case "remove":
            del text[2]
        case "insert":
            text.insert(3, json.dumps({"line": 4, "before": "0" * 64, "event": "promoted"}))
        case "swap":
            text[2:4] = text[3:1:-1]
        case "cut":
            text[3] = text[3][:20]
    path.write_text("\n".join(text) + "\n")
    with pytest.raises(RegistryError, match=f"line {3 if change in ('remove', 'swap') else 4} "):
        read_history(tmp_path)


def test_a_history_that_is_no_text_is_no_defect_of_medimg(tmp_path):
    append(tmp_path, {"event": "kept"})
    with (tmp_path / HISTORY).open("ab") as file:
        file.write(b"\xff\n")
    with pytest.raises(RegistryError, match="git revert"):
        read_history(tmp_path)


def test_the_champion_is_the_one_that_the_history_made_last(tmp_path):
    assert verify(tmp_path) is None
    crown(tmp_path, "promoted", ABOUT, bundle(1), bundle(1), METRICS)
    second = crown(tmp_path, "promoted", ABOUT, bundle(2), bundle(1), METRICS)
    record(tmp_path, "kept", ABOUT | {"challenger": vars(bundle(3)), "metrics": METRICS}, second)
    assert verify(tmp_path) == second == read_champion(tmp_path)
    assert next(reversed(list(lines(tmp_path)))).startswith("3 lines")


def test_a_champion_that_the_history_does_not_name_is_refused(tmp_path):
    made = crown(tmp_path, "promoted", ABOUT, bundle(1), bundle(1), METRICS)
    replace(made, bundle=bundle(2)).write(tmp_path)
    with pytest.raises(RegistryError, match="does not say so"):
        read_champion(tmp_path)


def test_a_last_line_that_was_changed_shows_in_the_champion(tmp_path):
    crown(tmp_path, "promoted", ABOUT | {"rules": [{"name": "floor", "held": True}]}, bundle(1), bundle(1), METRICS)
    path = tmp_path / HISTORY
    assert read_champion(tmp_path)
    path.write_text(path.read_text().replace('"held": true', '"held": false'))
    with pytest.raises(RegistryError, match="does not say so"):
        read_champion(tmp_path)


def test_a_reason_of_any_characters_breaks_no_history(tmp_path):
    reason = "no: \u2028 - yes \x85 'é' \x0c \r\n 0x1f 1e5 2026-11-23"
    metrics = {part: one | {"low": 1e-7, "value": 1 / 3, "high": 1e22} for part, one in METRICS.items()}
    made = crown(tmp_path, "promoted", ABOUT | {"by": "A <a@b>", "reason": reason}, bundle(1), bundle(1), metrics)
    assert verify(tmp_path) == made
    assert made.decision["reason"] == reason
    record(tmp_path, "kept", ABOUT, made)
    assert len(read_history(tmp_path)) == 2


def test_a_history_cut_short_shows_in_the_champion(tmp_path):
    crown(tmp_path, "promoted", ABOUT, bundle(1), bundle(1), METRICS)
    crown(tmp_path, "promoted", ABOUT, bundle(2), bundle(2), METRICS)
    path = tmp_path / HISTORY
    path.write_text(path.read_text().splitlines()[0] + "\n")
    with pytest.raises(RegistryError, match="line 2"):
        read_champion(tmp_path)


def test_no_number_that_is_none_enters_the_history(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        append(tmp_path, {"event": "kept", "value": float("nan")})
    assert not (tmp_path / HISTORY).exists()
