"""Random numbers keyed by (seed, epoch, sample, purpose): the same in any order, in any company, on any machine.

A counter is hashed with the finaliser of SplitMix64 (Steele, Lea and Flood, Fast splittable pseudorandom number
generators, OOPSLA 2014), for all samples of a batch at once.
"""

from zlib import crc32

import numpy as np

GOLDEN = np.uint64(0x9E3779B97F4A7C15)


class Keyed:
    """Draws for ``N`` samples.

    Args:
        seed: ``study.seed``.
        epoch: from 0.
        samples: a number that is the sample's own, uint64 ``(N,)``.
    """

    def __init__(self, seed: int, epoch: int, samples: np.ndarray) -> None:
        whole = _mixed(_mixed(np.array([seed % 2**64], np.uint64)) + np.array([epoch % 2**64], np.uint64) * GOLDEN)
        self._state = _mixed(samples.astype(np.uint64) + whole)

    def __len__(self) -> int:
        return len(self._state)

    def of(self, at: np.ndarray) -> "Keyed":
        """The draws of the samples at these positions alone."""
        part = object.__new__(Keyed)
        part._state = self._state[at]
        return part

    def bits(self, purpose: str, count: int = 1) -> np.ndarray:
        """``(N, count)`` uint64. Each purpose has a stream of its own: one more draw changes no other."""
        name = np.array([crc32(purpose.encode())], np.uint64)
        start = _mixed(self._state ^ (name * GOLDEN))
        return _mixed(start[:, None] + np.arange(1, count + 1, dtype=np.uint64) * GOLDEN)

    def uniform(self, purpose: str, low: float = 0.0, high: float = 1.0, count: int = 1) -> np.ndarray:
        """``(N, count)`` float64, uniform in [low, high)."""
        share: np.ndarray = (self.bits(purpose, count) >> np.uint64(11)) * 2.0**-53
        return low + share * (high - low)

    def happens(self, chances: dict[str, float]) -> dict[str, np.ndarray]:
        """For each purpose the samples to which it happens, with its probability: positions, int64 ``(n,)``, ascending.

        What happens to none is left out.
        """
        possible = {purpose: chance for purpose, chance in chances.items() if chance}
        if not possible:
            return {}
        names = np.array([crc32(f"{purpose}?".encode()) for purpose in possible], np.uint64)
        bits = _mixed(_mixed(self._state ^ (names * GOLDEN)[:, None]) + GOLDEN)  # the first of each stream
        happening = (bits >> np.uint64(11)) * 2.0**-53 < np.array(list(possible.values()))[:, None]
        found = {purpose: np.flatnonzero(one) for purpose, one in zip(possible, happening, strict=True)}
        return {purpose: at for purpose, at in found.items() if len(at)}


def _mixed(bits: np.ndarray) -> np.ndarray:
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: np.ndarray = bits ^ (bits >> np.uint64(31))
    return mixed
