"""The audit: what its parts measure, what its rule says, and that it finds what was planted and nothing else."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from benchmarks.shortcuts import study
from medimg.evaluation import baselines, features
from medimg.evaluation.answers import Answers
from medimg.evaluation.audit import Baseline, follows
from medimg.evaluation.auditpage import section, sentence
from medimg.evaluation.estimate import Estimate
from medimg.evaluation.shortcuts import Check, Ranking, above_share, alone, corrected, judge, nothing
from medimg.evaluation.sites import given_truth, places
from medimg.params import Shortcuts
from medimg.records import (
    EVALUATION,
    INDEX,
    INDEX_SCHEMA,
    PARTS,
    PARTS_SCHEMA,
    STORE,
    TRANSPLANTS,
    TRANSPLANTS_SCHEMA,
    read_table,
    write_table,
)
from medimg.regions import rim_of
from medimg.store import Geometry, Row, Store, rebuild
from medimg.transplant import donors, grafted, transplant

RULE = Shortcuts()
GOOD = Estimate(0.9, 0.85, 0.94)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def put(images: np.ndarray) -> Store:
    """A store of ``(N, C, H, W)`` images named a0, a1, …"""
    from pathlib import Path

    names = {f"a{number}": f"a{number}" for number in range(len(images))}
    with rebuild(Path("store"), names, images.dtype) as store:
        for name, image in zip(names, images, strict=True):
            store.put(name, Row(image, Geometry(images.shape[2:])))
    return Store.open(Path("store"))


def names(count: int) -> list[str]:
    return [f"a{number}" for number in range(count)]


# What the small models see
@pytest.mark.parametrize(("side", "dtype"), [(64, np.uint8), (100, np.uint8), (96, np.uint16)])
def test_a_thumbnail_holds_the_means_of_its_cells(side, dtype):
    images = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (3, 2, side, side)).astype(dtype)
    found = features.thumbnails(put(images), names(3)).reshape(3, 2, 16, 16)
    first, second = 5 * side // 16, 6 * side // 16
    expected = images[1, 1, first:second, : side // 16].mean() / np.iinfo(dtype).max
    assert found[1, 1, 5, 0] == pytest.approx(expected, abs=1e-5)


def test_the_rim_is_where_markers_stand():
    rim = rim_of(64, 64, 1 / 16)
    assert rim[0].all() and rim[3, 30] and not rim[4, 30]
    assert rim[11, 11] and not rim[12, 12] and rim[11, 52]
    assert rim[:, ::-1].tolist() == rim.tolist() == rim[::-1].tolist()
    assert rim_of(32, 128, 1 / 16)[1, 60] and not rim_of(32, 128, 1 / 16)[2, 60]


def test_the_rim_does_not_know_how_bright_the_rest_is():
    random = np.random.default_rng(0)
    plain = random.integers(60, 120, (1, 1, 64, 64)).astype(np.uint8)
    stretched = (2 * plain.astype(int) - 50).astype(np.uint8)  # as percentiles of another middle would have it
    bright = plain.copy()
    bright[..., 24:40, 24:40] = 250
    store = put(np.concatenate([plain, stretched, bright]))
    rim, rest = features.rim_and_rest(store, names(3), 1 / 16)
    assert np.allclose(rim[0], rim[1], atol=1e-4) and np.array_equal(rim[0], rim[2])
    assert not np.allclose(rest[0], rest[2])


def test_acquisition_leaves_out_who_it_is_and_what_does_not_differ():
    texts = {name: ["a", "b"] for name in ("sample", "patient", "label", "sex", "site", "date")}
    numbers = {"age": [20.0, 30.0], "bits": [8, 8], "width": [64, 128], "height": [64, 64], "view": [None, "AP"]}
    index = pd.DataFrame(texts | numbers)
    assert sorted(features.acquisition(index).columns) == ["site", "view", "width"]
    assert sorted(features.size(index).columns) == ["aspect", "width"]
    assert sorted(features.clinical(index).columns) == ["age", "sex"]


def tables(rows: int, seed: int, makers=("A", "B", "C")) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    return pd.DataFrame({"maker": random.choice(makers, rows), "mm": random.random(rows)}).astype({"maker": object})


@pytest.mark.parametrize("place", [0, 1])
def test_both_families_find_what_tells_the_label_and_nothing_else(place):
    parts = tuple(tables(rows, seed) for seed, rows in enumerate((300, 150, 400)))
    data = baselines.design(parts)
    told, untold = ([(part["maker"] == "B").to_numpy(float) for part in parts],
                    [np.random.default_rng(9).permutation(len(part)) % 2.0 for part in parts])  # fmt: skip
    assert baselines.area(told[2], baselines.fit(data, told[0], told[1], 0)[place].test) == 1
    assert 0.4 < baselines.area(untold[2], baselines.fit(data, untold[0], untold[1], 0)[place].test) < 0.6


def test_trees_find_what_one_neuron_cannot():
    parts = tuple(tables(rows, seed) for seed, rows in enumerate((600, 300, 600)))
    truth = [((part["mm"] > 0.25) & (part["mm"] < 0.75)).to_numpy(float) for part in parts]
    neuron, trees = baselines.fit(baselines.design(parts), truth[0], truth[1], 0)
    assert baselines.area(truth[2], trees.test) > 0.98 > 0.7 > baselines.area(truth[2], neuron.test)


def test_values_that_train_never_saw_and_missing_ones_are_taken():
    train, validation = tables(200, 0), tables(100, 1)
    test = tables(50, 2, ("Z",)).assign(mm=np.nan)
    validation.loc[::2, "maker"] = None
    truth = [(part["maker"] == "B").to_numpy(float) for part in (train, validation)]
    for fitted in baselines.fit(baselines.design((train, validation, test)), *truth, 0):
        assert np.isfinite(fitted.test).all() and np.ptp(fitted.test) < 1e-9


def test_where_there_is_one_class_or_no_column_nothing_is_learned():
    data = baselines.design((tables(50, 0), tables(50, 1), tables(50, 2)))
    assert baselines.fit(data, np.ones(50), np.arange(50) % 2.0, 0) == []
    empty = baselines.design((tables(50, 0)[[]], tables(50, 1)[[]], tables(50, 2)[[]]))
    assert baselines.fit(empty, np.arange(50) % 2.0, np.arange(50) % 2.0, 0) == []


# The experiment
def test_each_patient_gives_once_and_never_to_itself():
    samples = np.array([f"{number:03d}" for number in range(90)])
    patients = np.array([f"P{number}" for number in np.repeat(np.arange(40), [1, 2, 3, 3] * 10)][:90])
    giver = donors(samples, patients, 0)
    pairs = {(patients[at], patients[by]) for at, by in enumerate(giver)}
    assert len(pairs) == len({one for one, _ in pairs}) == len({other for _, other in pairs}) == len(set(patients))
    assert all(one != other for one, other in pairs)
    order = np.random.default_rng(0).permutation(90)
    again = donors(samples[order], patients[order], 0)
    assert {samples[order][at]: samples[order][by] for at, by in enumerate(again)} == dict(
        zip(samples, samples[giver], strict=True)
    )
    assert (donors(samples[:1], patients[:1], 0) == -1).all()


def test_a_graft_brings_the_rim_and_nothing_else():
    images = np.random.default_rng(0).integers(0, 255, (5, 1, 32, 32)).astype(np.uint8)
    rows, givers, rim = np.array([0, 1, 2]), np.array([3, 4, 0]), rim_of(32, 32, 1 / 16)
    mixed = np.concatenate(list(grafted(images, rows, givers, 1 / 16, batch=2)))
    assert (mixed[..., rim] == images[givers][..., rim]).all() and (mixed[..., ~rim] == images[rows][..., ~rim]).all()


@pytest.mark.parametrize("reads_rim", [True, False])
def test_the_experiment_tells_a_network_that_reads_the_rim(reads_rim):
    random = np.random.default_rng(0)
    truth = np.arange(120) % 2
    images = random.integers(90, 110, (120, 1, 32, 32)).astype(np.uint8)
    images[truth == 1, 0, :3, :3] = 250
    images[truth == 1, 0, 14:18, 14:18] = 250
    about = pd.DataFrame({"sample": [f"{n:03d}" for n in range(120)], "patient": [f"P{n}" for n in range(120)]})
    where = (slice(0, 3), slice(0, 3)) if reads_rim else (slice(14, 18), slice(14, 18))

    def score(batches):
        return np.concatenate([batch[:, 0, *where].mean(axis=(1, 2)) for batch in batches])[:, None] / 255

    transplant(about, images, np.arange(120), score, share=1 / 16, batch=32, seed=0)
    table = read_table(TRANSPLANTS, TRANSPLANTS_SCHEMA)
    given = np.stack(table["probabilities"])
    of_donor = Ranking(truth[table["donor"].astype(int), None].astype(float), given, np.arange(120))
    of_receiver = Ranking(truth[table["sample"].astype(int), None].astype(float), given, np.arange(120))
    rim, rest = of_donor.influence, of_receiver.influence
    assert (rim.value > 0.95, rest.value > 0.95) == (reads_rim, not reads_rim)
    assert (above_share(rim, rest, 0.3).value > 0) == reads_rim


# The rule
def check(low: float | None, high: float | None, excess: tuple[float, float] | None = None, value=0.65) -> Check:
    more = Estimate(sum(excess) / 2, *excess) if excess else None
    return Check("rim", "rim", Estimate(value, low, high), low, high, more, *(excess or (None, None)))


@pytest.mark.parametrize(
    ("one", "verdict"),
    [
        (check(0.45, 0.60), "pass"),
        (check(0.61, 0.80), "suspect"),
        (check(0.55, 0.75), "too few patients to tell"),
        (check(0.59, 0.69), "pass"),
        (check(0.61, 0.80, (0.05, 0.2)), "suspect"),
        (check(0.61, 0.80, (-0.05, 0.2)), "too few patients to tell"),
        (check(0.85, 0.95, (-0.2, -0.05)), "pass"),  # the rest tells more: a finding that shows all over
        (check(None, None), "pass"),  # nothing differs
        (Check("rim", "rim", Estimate(None, reason="one class"), None, None), "too few patients to tell"),
    ],
)
def test_the_rule(one, verdict):
    assert judge([one], GOOD, None, None, RULE).verdict == verdict
    assert judge([check(0.61, 0.8), one], GOOD, None, None, RULE).verdict == "suspect"


def test_a_good_thumbnail_is_never_a_shortcut():
    found = judge([check(0.4, 0.6)], GOOD, Estimate(0.9, 0.85, 0.95), Estimate(0.0, -0.03, 0.03), RULE)
    assert (found.verdict, found.low_resolution_suffices) == ("pass", True)
    worse = judge([check(0.4, 0.6)], GOOD, Estimate(0.8, 0.7, 0.9), Estimate(0.1, 0.04, 0.16), RULE)
    assert not worse.low_resolution_suffices
    both_guess = judge([check(0.4, 0.6)], GOOD, Estimate(0.5, 0.4, 0.6), Estimate(0.0, -0.03, 0.03), RULE)
    assert not both_guess.low_resolution_suffices


def test_the_rule_is_in_params():
    assert judge([check(0.61, 0.8)], GOOD, None, None, Shortcuts(tolerated=0.65)).verdict == "too few patients to tell"
    assert judge([check(0.45, 0.6)], GOOD, None, None, Shortcuts(tolerated=0.5, excluded=0.55)).verdict != "pass"


def test_a_perfect_shortcut_in_few_patients_is_found():
    truth = np.arange(40) % 2.0
    perfect = alone("acquisition", "", Ranking(truth[:, None], truth[:, None], np.arange(40)), corrected(0.95, 4), 0.95)
    assert perfect.fires(RULE)
    handful = alone(
        "acquisition", "", Ranking(truth[:8, None], truth[:8, None], np.arange(8)), corrected(0.95, 4), 0.95
    )
    assert not handful.fires(RULE) and handful.open(RULE)
    assert not nothing("size", "", "").fires(RULE) and not nothing("size", "", "").open(RULE)


def test_a_perfect_shortcut_among_several_classes_is_found():
    truth = np.eye(3)[np.arange(90) % 3]
    perfect = alone("acquisition", "", Ranking(truth, truth, np.arange(90)), corrected(0.95, 7), 0.95)
    assert perfect.auroc.value == 1 and perfect.fires(RULE)
    assert judge([perfect], GOOD, None, None, RULE).verdict == "suspect"
    handful = alone("acquisition", "", Ranking(truth[:9], truth[:9], np.arange(9)), corrected(0.95, 7), 0.95)
    assert not handful.fires(RULE) and handful.open(RULE)


def test_chance_alone_is_suspect_less_often_than_promised():
    random = np.random.default_rng(0)
    level = corrected(0.95, 4)
    fired = 0
    for _ in range(400):
        truth, score = random.permutation(100) % 2.0, random.random(100)
        fired += alone("size", "", Ranking(truth[:, None], score[:, None], np.arange(100)), level, 0.95).fires(RULE)
    assert fired <= 2  # 0.6 lies two standard errors from 0.5 already


# Sites
def scores(offset: float, spread: float, patients: int = 400) -> tuple[np.ndarray, Ranking]:
    random = np.random.default_rng(1)
    truth, south = np.arange(patients) % 2.0, np.arange(patients) // 2 % 2 == 1
    score = (2 * truth - 1) * np.where(south, spread, 1.0) + offset * south + random.normal(size=patients)
    return south, Ranking(truth[:, None], score[:, None], np.arange(patients))


def test_a_shift_of_the_score_tells_the_site_and_a_lesser_certainty_does_not():
    shifted, flatter, alike = (given_truth(*scores(*how)) for how in ((1.0, 1.0), (0.0, 0.2), (0.0, 1.0)))
    assert shifted.estimate(0.95).low > 0.65
    for found in (flatter, alike):
        assert found.estimate(0.95).low < 0.5 < found.estimate(0.95).high
    few = Ranking(np.zeros((6, 1)), np.zeros((6, 1)), np.arange(6))
    assert given_truth(np.arange(6) < 3, few) is None


def classes(offset: float, patients: int = 300) -> tuple[np.ndarray, Ranking]:
    """Three classes; whoever is from the south gets a higher score for the first and lower ones for the others."""
    random = np.random.default_rng(2)
    truth, south = np.eye(3)[np.arange(patients) % 3], np.arange(patients) // 3 % 2 == 1
    score = 2 * truth + offset * south[:, None] * [2, -1, -1] + random.normal(size=(patients, 3))
    return south, Ranking(truth, score, np.arange(patients))


def test_what_raises_one_class_and_lowers_the_others_is_seen():
    for offset in (0.0, 0.5):
        south, network = classes(offset)
        about = pd.DataFrame({"site": np.where(south, "south", "north")})
        where = Answers(
            network.patient, ("a", "b", "c"), network.truth, network.score, network.score, None, None, about
        )
        found = {place.name: place for place in places(where, network, 0.95)}
        assert (found["south"].p < 0.001) == (offset > 0)
    assert found["south"].question == "a" and found["south"].told.low > 0.6 and found["south"].share is None


def test_whether_the_score_follows_acquisition_is_asked_of_each_class():
    for offset in (0.0, 0.5):
        south, network = classes(offset)
        speaks = Ranking(network.truth, np.where(south[:, None], [0.6, 0.2, 0.2], [0.2, 0.4, 0.4]), network.patient)
        one = Estimate(0.5, 0.4, 0.6)
        found = follows(
            Baseline("acquisition", ["site"], {"trees": one}, "trees", {"trees": speaks}, one), network, 0.95
        )
        assert (found.low > 0.5) == (offset > 0)


# The report
def written(kind: str) -> tuple[dict, str]:
    """shortcuts.json and report.html of a planted study, whose network is a coin that knows a little."""
    from test_evaluation import again, prepare

    from benchmarks.planted import SIDE, draw

    drawn = draw(kind, 0)
    random = np.random.default_rng(0)
    truth = (drawn.index["label"] == "1").to_numpy(float)
    logit = 2 * truth - 1 + random.normal(size=len(truth))
    rows = drawn.parts.assign(study=None, truth=truth, logit=logit, probability=expit(logit), weights="ab" * 32)
    prepare(rows[rows["part"] != "train"])
    for path in (INDEX, PARTS):
        path.unlink()
    write_table(INDEX, drawn.index, INDEX_SCHEMA)
    write_table(PARTS, drawn.parts.assign(reason=None, fold=None), PARTS_SCHEMA)
    keys = {name: name for name in drawn.index["sample"]}
    with rebuild(STORE, keys, np.dtype(np.uint8)) as store:
        for name, image in zip(keys, drawn.images, strict=True):
            store.put(name, Row(image[None], Geometry((SIDE, SIDE))))
    again(label="finding", positive="1")
    return json.loads((EVALUATION / "shortcuts.json").read_text()), (EVALUATION / "report.html").read_text()


def test_the_report_s_first_screen_carries_the_verdict():
    plain, report = written("metadata")
    assert plain["verdict"] == "suspect" and plain["fired"] == ["acquisition"]
    first = report.partition("<section>")[0]
    assert "Shortcut audit" in first and "suspect. Something other than the finding" in first
    assert {place["name"] for place in plain["places"]} == {"north", "south", "Aurelia Imaging", "Borealis Medical"}
    assert plain["checks"]["transplant"]["note"] == "the experiment was not made"
    assert "experiment was not made" in report
    assert plain["baselines"]["clinical"]["columns"] == ["age", "sex"]
    assert set(plain["baselines"]["thumbnail"]["auroc"]) == {"one neuron", "boosted trees"}


def test_without_a_train_part_the_audit_says_that_it_was_not_made():
    from test_evaluation import predictions, report, run

    run(predictions())
    assert "not made: there is no train part here" in report().partition("<section>")[0]


# The whole
@pytest.mark.slow
@pytest.mark.campaign
@pytest.mark.parametrize("kind", ["metadata", "marker", "none", "style", "diffuse", "both"])
def test_what_is_planted_is_found_and_nothing_else(kind):
    import os

    found = [study(kind, seed) for seed in (range(20) if os.environ.get("MEDIMG_CAMPAIGN") == "all" else [3])]
    suspect = sum(audit.judgement.verdict == "suspect" for audit in found)
    if kind in ("metadata", "marker"):
        assert suspect == len(found)
    elif kind == "both":  # a marker beside a finding that shows all over: its rim is sometimes too close to call
        assert not any(audit.judgement.verdict == "pass" for audit in found)
    else:
        assert suspect <= 1
    if kind == "diffuse":
        assert sum(audit.judgement.low_resolution_suffices for audit in found) >= 0.8 * len(found)
    part = section(found[0], RULE)
    assert json.dumps(part.plain) and part.first == ("Shortcut audit", sentence(found[0]))
    assert part.plain["verdict"] == found[0].judgement.verdict
