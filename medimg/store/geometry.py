"""Where a sample of the store came from: the original grid, and the way back to it."""

from dataclasses import dataclass

import numpy as np

Matrix = tuple[tuple[float, ...], ...]
"""``(n, n)``, its last row 0, …, 0, 1"""


@dataclass(frozen=True)
class Geometry:
    """The original grid of a sample, and how the stored one lies in it; r axes: H, W or D, H, W."""

    shape: tuple[int, ...]
    """pixels of the original, ``(r,)``"""
    spacing: tuple[float, ...] | None = None
    """mm between them along each axis; None: not known"""
    affine: Matrix | None = None
    """of a volume: 4×4, original index ``(d, h, w, 1)`` → RAS mm; None: nothing says how it lies"""
    to_original: Matrix | None = None
    """``(r + 1, r + 1)``: stored index → original index, centres of pixels; None: they are the same"""

    @property
    def stored_affine(self) -> np.ndarray | None:
        """Of a volume: 4×4, stored index → RAS mm."""
        return None if self.affine is None else np.array(self.affine) @ self._back

    @property
    def _back(self) -> np.ndarray:
        return np.eye(len(self.shape) + 1) if self.to_original is None else np.array(self.to_original)

    def restore(self, stored: np.ndarray, nearest: bool = False, fill: float = 0.0) -> np.ndarray:
        """Bring what lies on the stored grid, such as a heat map or a mask, back to the original one.

        Args:
            stored: ``(C, …)`` on the stored grid.
            nearest: the nearest value, as labels need; otherwise linear interpolation.
            fill: where the stored grid does not reach.

        Returns:
            ``(C, *shape)``: the dtype of ``stored`` with ``nearest``, else float32.
        """
        if nearest:
            result = np.empty((len(stored), *self.shape), stored.dtype)
            for channel, one in zip(result, stored, strict=True):
                self._bring(one, channel, 0, fill)
            return result
        result = np.empty((len(stored), *self.shape), np.float32)
        for channel, one in zip(result, stored, strict=True):  # a pixel reaches half a step beyond its centre:
            self._bring(np.pad(one.astype(np.float32), 1, mode="edge"), channel, 1, first=1)  # the last must not fade
        reached = np.empty(self.shape, np.uint8)
        self._bring(np.ones(stored.shape[1:], np.uint8), reached, 0)
        result[:, reached == 0] = fill
        return result

    def _bring(self, stored: np.ndarray, into: np.ndarray, order: int, fill: float = 0, first: int = 0) -> None:
        """Interpolate ``(…)`` into ``(*shape)``; ``first``: where the stored grid begins in it."""
        from scipy.ndimage import affine_transform

        back = np.linalg.inv(self._back)
        affine_transform(
            stored,
            back[:-1, :-1],
            back[:-1, -1] + first,
            output_shape=self.shape,
            output=into,
            order=order,
            mode="grid-constant",
            cval=fill,
        )


def as_matrix(values: np.ndarray) -> Matrix:
    """An array ``(n, n)`` as nested tuples; numbers nearer to a whole one than 1e-12 are that one."""
    whole = np.rint(values)
    return tuple(map(tuple, np.where(np.abs(values - whole) < 1e-12, whole + 0.0, values).tolist()))
