"""Limits beyond which few of what is like a sample lie, however small the sample is.

The largest of n values is no such limit: of what is like them, one in n + 1 lies beyond it on average, and with 12
values it may well be one in four. Both limits here go as far beyond the largest as few values call for.
"""

import math

import numpy as np

FEWEST = 5
"""Values that a limit needs: one from fewer is many times what it should be, and finds nothing."""
_LOW = 0.1
"""Of the median: a value below says as much of the upper end as one there, and would spread the logarithms"""
_SPOILED = 50
"""One of so many values may be unlike all others"""
_FAR_OFF = 3
"""How many times as far beyond the others as their fence is what is taken for spoiled"""


def upper_limit(values: np.ndarray, share: float, confidence: float) -> float | None:
    """What, with that confidence, at most ``share`` of the values like ``values``, ``(n,)``, exceed.

    None where there are too few, where one is no number, or where most of them are 0.

    With enough values (114 of 2 % and 0.9) it is one of them, whatever their distribution (Wilks 1941, Ann Math Stat
    12:91). With fewer it is the larger of the largest and the limit that log-normal values would have (Owen 1963, by
    the noncentral t distribution); without that assumption one in n + 1 lies beyond the largest on average.
    """
    from scipy.stats import binom, nct, norm

    count = len(values)
    if count < FEWEST or not np.isfinite(values).all() or np.median(values) <= 0:
        return None
    beyond = int(binom.ppf(1 - confidence, count, share))  # so many values may stand beyond it, less one
    if beyond > 0:
        return float(np.sort(values)[count - beyond])
    logs = np.log(np.maximum(values, np.median(values) * _LOW))
    factor = nct.ppf(confidence, count - 1, norm.ppf(1 - share) * math.sqrt(count)) / math.sqrt(count)
    return float(max(values.max(), np.exp(logs.mean() + factor * logs.std(ddof=1))))


def fences(values: np.ndarray, independent: int, share: float, narrowest: float) -> tuple[float, float]:
    """The range of the values like ``values``, ``(n,)``, of which at most ``share`` are thought to lie on each side.

    It reaches to Tukey's outer fences, three interquartile ranges from the quartiles (1977, Exploratory Data Analysis),
    and beyond the most extreme value by as much as an exponential tail needs: such values lie beyond the largest plus
    t mean excesses with a chance of exp(-t) / (n + 1). The mean excess is that over the outermost tenth.

    Of 20 values or more up to one in fifty (one at least) may be spoiled: where the outermost lie three times as far
    beyond the others as the fence that these set, they have no say in it.

    Args:
        values: as they were seen.
        independent: how many of them stand for themselves, such as the number of patients.
        share: of each side.
        narrowest: the interquartile range is taken to be no smaller.
    """
    excesses = max(0.0, math.log(1 / ((independent + 1) * share)))
    below, above = (_fence(np.sort(side), excesses, narrowest) for side in (-values, values))
    return -below, above


def _fence(ascending: np.ndarray, excesses: float, narrowest: float) -> float:
    """The upper one."""
    count = len(ascending)
    most = max(1, count // _SPOILED) if count >= 20 else 0
    for spoiled in range(most, -1, -1):
        kept = ascending[: count - spoiled]
        low, high = np.quantile(kept, [0.25, 0.75])
        outer = float(high) + 3 * max(float(high - low), narrowest)
        fence = max(float(kept[-1]) + excesses * _mean_excess(kept), outer)
        if spoiled and ascending[count - spoiled] - kept[-1] > _FAR_OFF * (fence - kept[-1]):
            break
    return fence


def _mean_excess(values: np.ndarray) -> float:
    start = np.quantile(values, 0.9)
    return float((values[values >= start] - start).mean())
