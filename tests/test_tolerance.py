"""Limits that few exceed: known answers, and how often they are exceeded in fact."""

import numpy as np
import pytest

from medimg.tolerance import fences, upper_limit

SHARE, CONFIDENCE = 0.02, 0.9
DRAWS = 400


def test_with_enough_values_the_limit_is_one_of_them_and_of_the_rank_that_wilks_gives() -> None:
    for count, rank in ((114, 114), (193, 193), (194, 193), (264, 263), (265, 263)):  # 0.98^114 < 0.1 < 0.98^113
        assert upper_limit(np.arange(1.0, count + 1), SHARE, CONFIDENCE) == rank
    assert upper_limit(np.arange(1.0, 114), SHARE, CONFIDENCE) > 113  # type: ignore[operator]


def test_of_few_values_it_is_the_factor_of_the_tables_times_their_deviation() -> None:
    logs = np.random.default_rng(0).normal(size=10)
    logs = (logs - logs.mean()) / logs.std(ddof=1)
    assert np.log(upper_limit(np.exp(logs), 0.01, 0.95)) == pytest.approx(3.981, abs=5e-4)  # Odeh and Owen 1980
    assert upper_limit(np.array([3.0]), SHARE, CONFIDENCE) is None
    assert upper_limit(np.full(5, 3.0), SHARE, CONFIDENCE) == pytest.approx(3)


def test_fewer_than_five_values_or_none_that_is_a_number_set_no_limit() -> None:
    assert [upper_limit(np.array([1.0, 1.2, 0.9, 1.1][:n]), SHARE, CONFIDENCE) for n in range(5)] == [None] * 5
    assert upper_limit(np.array([1.0, 1.2, 0.9, 1.1, 1.0]), SHARE, CONFIDENCE) is not None
    for wrong in (np.nan, np.inf):
        assert upper_limit(np.array([1.0, 1.2, 0.9, 1.1, wrong]), SHARE, CONFIDENCE) is None
    assert upper_limit(np.zeros(10), SHARE, CONFIDENCE) is None


def test_a_distance_of_0_does_not_make_the_limit_endless() -> None:
    values = np.random.default_rng(4).lognormal(0, 0.2, 12)
    usual, with_zero = (upper_limit(one, SHARE, CONFIDENCE) for one in (values, np.append(values[1:], 0.0)))
    assert usual is not None and with_zero is not None
    assert usual < with_zero < 5 * usual


@pytest.mark.parametrize("count", [6, 12, 30, 60])
def test_more_than_the_share_exceed_it_no_oftener_than_promised(count: int) -> None:
    random = np.random.default_rng(count)
    within = random.lognormal(0, 0.3, (DRAWS, count))
    others = random.lognormal(0, 0.3, 20_000)
    exceed = np.array([(others > upper_limit(one, SHARE, CONFIDENCE)).mean() for one in within])
    assert (exceed > SHARE).mean() < 1 - CONFIDENCE + 0.05
    assert exceed.mean() < SHARE
    largest = np.array([(others > one.max()).mean() for one in within])
    assert largest.mean() == pytest.approx(1 / (count + 1), rel=0.25)  # what the largest would have promised


def test_whatever_the_distribution_no_more_exceed_it_than_exceed_the_largest() -> None:
    random = np.random.default_rng(1)
    for heavy in (random.pareto(1.5, (50, 20)), random.uniform(size=(50, 20))):
        assert all(upper_limit(one, SHARE, CONFIDENCE) >= one.max() for one in heavy)  # type: ignore[operator]


def test_few_lie_beyond_the_fences_of_a_handful() -> None:
    random = np.random.default_rng(2)
    others = random.exponential(size=20_000)
    beyond, outside = [], []
    for values in random.exponential(size=(DRAWS, 25)):
        low, high = fences(values, len(values), 0.001, 0.01)
        outside.append(((values < low) | (values > high)).any())
        beyond.append(((others < low) | (others > high)).mean())
    assert np.mean(beyond) < 0.01
    assert np.mean(outside) < 0.05  # the outermost of them is seldom taken for spoiled
    assert fences(np.zeros(10), 10, 0.001, 0.01) == pytest.approx((-0.03, 0.03))


def test_one_spoiled_value_has_no_say_in_the_fences_of_the_others() -> None:
    random = np.random.default_rng(5)
    for count, spoiled in ((25, 1), (100, 1), (200, 4)):
        values = random.normal(0.4, 0.02, count)
        alone = fences(values, count, 0.001, 0.01)
        for end, at in ((1.0, 1), (0.0, 0)):
            mixed = values.copy()
            mixed[:spoiled] = end
            assert abs(fences(mixed, count, 0.001, 0.01)[at] - alone[at]) < 0.05
    values[:20] = 1.0  # a tenth are no accident
    assert fences(values, 200, 0.001, 0.01)[1] > 1


def test_patients_with_many_images_count_once() -> None:
    values = np.random.default_rng(3).normal(size=200)
    alone, together = fences(values, 200, 0.001, 0), fences(values, 20, 0.001, 0)
    assert together[0] < alone[0] and together[1] > alone[1]
