"""Regions of a picture: its rim, where a finding is not expected, and the cells of a thumbnail."""

import numpy as np

CELLS = 16  # a thumbnail's side


def rim_of(height: int, width: int, share: float) -> np.ndarray:
    """The rim, ``(height, width)`` bool: a strip along each edge, ``share`` of the side wide, and the corners' squares.

    The squares are three times as wide: markers, collimator edges and text stand there.
    """
    down, across = _from_edge(height)[:, None], _from_edge(width)[None, :]
    strip = (down < share) | (across < share)
    corners = (down < 3 * share) & (across < 3 * share)
    return strip | corners


def _from_edge(side: int) -> np.ndarray:
    """Distance of each pixel's centre from the nearer edge, as a share of ``side``, ``(side,)``."""
    place = (np.arange(side) + 0.5) / side
    return np.minimum(place, 1 - place)


def cell_edges(side: int) -> np.ndarray:
    """Where each of 16 cells begins, ``(16,)``: of equal width to a pixel."""
    return np.arange(CELLS) * side // CELLS
