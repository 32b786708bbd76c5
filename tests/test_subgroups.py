"""Groups of patients: what is shown, what is compared, and how often a gap is a false alarm."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from medimg.evaluation import influence, intervals
from medimg.evaluation.answers import SEVERAL, Answers, answers_of
from medimg.evaluation.forest import section
from medimg.evaluation.intervals import clustered_delong
from medimg.evaluation.subgroups import MISSING, subgroups, unknown_columns, values_of
from medimg.evaluation.units import cases_of
from medimg.params import Evaluate, Study, Subgroups
from medimg.records import INDEX_SCHEMA, Predictions
from medimg.tasks import task_of

SEX = Subgroups(columns=("sex",))


def answers(patients=200, images=2, seed=0, separation=2.0, weaker=None, **about) -> Answers:
    """One question; ``weaker``, a bool for each patient, halves what the score knows of them."""
    random = np.random.default_rng(seed)
    patient = np.repeat(np.arange(patients), images)
    truth = (np.arange(patients) % 5 < 2).astype(float)[patient]
    knows = separation * np.where(np.zeros(patients, bool) if weaker is None else weaker, 0.0, 1.0)[patient]
    score = expit(knows * truth + random.normal(size=patients)[patient] + 0.5 * random.normal(size=len(patient)))
    columns = {name: np.asarray(values)[patient] for name, values in about.items()}
    return Answers(
        patient, ("finding",), truth[:, None], score[:, None], score[:, None], score >= 0.6, None, pd.DataFrame(columns)
    )


def sexes(patients=200):
    return np.where(np.arange(patients) // 5 % 2, "F", "M")


def test_the_influences_of_an_auroc_give_delong_s_variance():
    random = np.random.default_rng(3)
    patient = np.repeat(np.arange(60), 3)
    truth = (random.random(180) < 0.5).astype(float)
    score = truth + random.normal(size=60)[patient] + random.normal(size=180)
    area, variance = clustered_delong(truth, score, patient)
    found = influence.auroc(truth, score, patient, 60)
    assert found.value == pytest.approx(area)
    assert found.error**2 == pytest.approx(variance, rel=0.05)


def paired(truth, first, second, patient):
    one, other = (influence.auroc(truth, score, patient, len(truth)) for score in (first, second))
    return (one - other).estimate(0.95)


def test_a_paired_difference_knows_that_scores_agree():
    random = np.random.default_rng(0)
    truth = np.arange(300) % 2.0
    first = truth + random.normal(size=300)
    near, far = first + 0.1 * random.normal(size=300), truth + random.normal(size=300)
    patient = np.arange(300)
    close, wide = (paired(truth, first, other, patient) for other in (near, far))
    assert close.high - close.low < 0.3 * (wide.high - wide.low)
    assert paired(truth, first, first, patient).value == 0


def test_the_paired_difference_matches_a_published_statistic():
    """DeLong's z of two markers, against an implementation written from the formula, one unit a patient."""
    random = np.random.default_rng(7)
    truth = np.r_[np.ones(40), np.zeros(60)]
    one, two = truth + random.normal(size=100), 0.6 * truth + random.normal(size=100)

    def placements(score):
        pairs = (score[:40, None] > score[None, 40:]) + 0.5 * (score[:40, None] == score[None, 40:])
        return pairs.mean(axis=1), pairs.mean(axis=0)

    (v10a, v01a), (v10b, v01b) = placements(one), placements(two)
    variance = np.var(v10a - v10b, ddof=1) / 40 + np.var(v01a - v01b, ddof=1) / 60
    found = paired(truth, one, two, np.arange(100))
    assert found.value == pytest.approx(v10a.mean() - v10b.mean())
    assert (found.high - found.low) / (2 * 1.959964) == pytest.approx(variance**0.5, rel=0.02)


def test_holm_s_correction_is_the_textbook_s():
    assert influence.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert influence.holm([]) == []


def test_a_gap_between_two_groups_is_found_and_is_one_look():
    found = subgroups(answers(weaker=sexes() == "F", sex=sexes()), SEX, 0.95)
    assert [group.name for group in found] == ["F", "M"]
    first, second = (group.measures["auroc"] for group in found)
    assert first.gap == pytest.approx(-second.gap) and first.gap < -0.2
    assert first.p_corrected == second.p_corrected < 0.001
    smallest, *_, largest = sorted(measure.p for measure in found[0].measures.values())
    assert {smallest * 3, largest} & {measure.p_corrected for measure in found[0].measures.values()}  # three looks


def test_without_a_gap_false_alarms_are_as_rare_as_promised():
    alarms = 0
    for seed in range(100):
        found = subgroups(answers(seed=seed, sex=sexes(), site=np.arange(200) % 3), SUBGROUPS, 0.95)
        assert all(group.tested for group in found)
        alarms += any(m.p_corrected is not None and m.p_corrected < 0.05 for g in found for m in g.measures.values())
    assert alarms <= 10  # 5 % of 100 with room for chance: P(more) < 0.02


SUBGROUPS = Subgroups(columns=("sex", "site"))


def test_small_groups_are_shown_and_not_compared():
    sex = sexes().astype(object)
    sex[:12] = "O"
    by_name = {group.name: group for group in subgroups(answers(sex=sex), SEX, 0.95)}
    assert not by_name["O"].tested and by_name["O"].patients == 12
    assert by_name["O"].measures["auroc"].estimate.value is not None
    assert by_name["O"].measures["auroc"].p_corrected is None
    assert by_name["F"].tested and by_name["M"].tested


def test_an_undefined_metric_has_its_reason():
    sex = sexes().astype(object)
    sex[[4, 9, 14]] = "O"  # none of them positive
    by_name = {group.name: group for group in subgroups(answers(sex=sex), SEX, 0.95)}
    estimate = by_name["O"].measures["auroc"].estimate
    assert estimate.value is None and "every unit is negative" in estimate.reason
    assert "no positive unit" in by_name["O"].measures["sensitivity"].estimate.reason


def test_what_is_not_recorded_is_a_group_and_never_compared():
    sex = sexes().astype(object)
    sex[::3] = None
    by_name = {group.name: group for group in subgroups(answers(sex=sex), SEX, 0.95)}
    assert by_name[MISSING].patients == 67 and not by_name[MISSING].tested
    assert unknown_columns(answers(sex=sexes()), Subgroups(columns=("sex", "view"))) == ["view"]


def test_ages_go_into_bands_and_other_numbers_into_thirds():
    ages, names = values_of(pd.Series([17.9, 18, 39, 64.9, 65, np.nan]), (18, 40, 65))
    assert ages.tolist() == ["0–17", "18–39", "18–39", "40–64", "65 and over", MISSING]
    assert names == ["0–17", "18–39", "40–64", "65 and over", MISSING]
    thirds, names = values_of(pd.Series(np.arange(99.0)))
    assert sorted(pd.Series(thirds).value_counts()) == [33, 33, 33] and len(names) == 3
    few, _ = values_of(pd.Series([8.0, 12.0, 16.0] * 9))
    assert set(few) == {"8", "12", "16"}


def predictions(task, truth, probabilities, patient) -> Predictions:
    rows = pd.DataFrame(
        {
            "sample": [f"{n:016x}" for n in range(len(patient))],
            "patient": [f"P{n}" for n in patient],
            "study": None,
            "part": "test",
            "fold": None,
            "weights": "w",
        }
    )
    return Predictions(rows, truth, task.logits(probabilities), probabilities)


@pytest.mark.parametrize("unit", ["image", "patient"])
def test_units_carry_their_images_columns(unit):
    task = task_of(Study(question="?", label="finding", positive="1"))
    random = np.random.default_rng(0)
    patient = np.repeat(np.arange(30), 2)
    made = predictions(task, (patient % 2.0)[:, None], random.random((60, 1)), patient)
    index = made.rows[["sample", "patient", "study"]].reindex(columns=INDEX_SCHEMA.names)
    index["view"] = np.where(np.arange(60) % 2, "AP", "PA")
    index["sex"] = np.where(patient % 3, "F", "M")
    index["age"] = 20.0 + np.arange(60) % 2
    found = answers_of(cases_of(made, task, unit, "mean", "test"), made.rows, index.sample(frac=1), unit, 0.5)
    assert len(found.about) == len(found.patient) == (60 if unit == "image" else 30)
    assert set(found.about["view"]) == ({"AP", "PA"} if unit == "image" else {SEVERAL})
    expected = index.set_index("patient")["sex"].to_dict()
    codes = sorted(set(made.rows["patient"]))
    assert all(expected[codes[code]] == sex for code, sex in zip(found.patient, found.about["sex"], strict=True))


def test_several_classes_and_numbers_have_subgroups_too():
    random = np.random.default_rng(0)
    patient = np.arange(240)
    sex = pd.DataFrame({"sex": np.where(patient // 6 % 2, "F", "M")})
    truth = np.eye(3)[patient % 3]
    score = truth + random.normal(size=(240, 3))
    found = subgroups(Answers(patient, ("a", "b", "c"), truth, score, score, None, None, sex), SEX, 0.95)
    assert all(group.tested and set(group.measures) == {"auroc"} for group in found)
    error = np.abs(random.normal(size=240)) * np.where(sex["sex"] == "F", 3, 1)
    found = subgroups(
        Answers(patient, ("size",), truth[:, :0], score[:, :0], score[:, :1], None, error, sex), SEX, 0.95
    )
    assert found[0].measures["mae"].gap > 1 and found[0].measures["mae"].p_corrected < 0.001


def test_the_mean_over_questions_keeps_its_scale_and_is_undefined_where_one_is_missing():
    truth = np.eye(3)[np.arange(60) % 3]
    score = truth + 0.3 * np.random.default_rng(1).normal(size=(60, 3))
    sex = np.where(np.arange(60) < 9, "M", "F").astype(object)
    sex[[10, 13, 16]] = "O"  # of the second class alone
    about = pd.DataFrame({"sex": sex})
    found = {
        group.name: group.measures["auroc"].estimate
        for group in subgroups(
            Answers(np.arange(60), ("a", "b", "c"), truth, score, score, None, None, about), SEX, 0.95
        )
    }
    for name in "FM":
        assert 0 < found[name].low < found[name].value <= found[name].high <= 1
    assert found["O"].value is None and "a has fewer than two" in found["O"].reason


def test_a_mean_error_of_two_patients_is_as_uncertain_as_two_numbers_are():
    error = np.array([4.0, 6.0, *np.full(20, 5.0)])
    about = pd.DataFrame({"sex": np.where(np.arange(22) < 2, "M", "F")})
    none = np.zeros((22, 0))
    found = subgroups(Answers(np.arange(22), ("size",), none, none, none, None, error, about), SEX, 0.95)
    few = next(group for group in found if group.name == "M").measures["mae"].estimate
    assert (few.value, few.low) == (5, 0) and few.high == pytest.approx(5 + 12.706, abs=0.01)


def test_the_plot_names_every_group_and_greys_the_small():
    sex = sexes().astype(object)
    sex[:12] = "O"
    made = answers(sex=sex)
    part = section(made, intervals.auroc(made.truth[:, 0], made.score[:, 0], made.patient, 0.95), Evaluate())
    assert all(f"sex {name}:" in part.content["drawing"].alt for name in "FMO")
    assert [row["tested"] for row in part.content["rows"]] == [True, True, False]
    assert part.plain["groups"][0]["measures"]["auroc"]["low"] is not None
    assert part.content["missing"] == ["age", "site", "manufacturer", "view"]
