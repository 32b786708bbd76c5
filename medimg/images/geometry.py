"""Where voxels lie in the patient: directions, positions, affines.

DICOM's patient coordinates are LPS (x to the left, y to posterior, z to superior; PS3.3 C.7.6.2.1.1). Every affine here
is RAS, as in NIfTI: x and y change sign. An affine takes the index ``(d, h, w, 1)`` of a voxel of a ``(C, D, H, W)``
array to the mm of its centre: columns of the affine are in the order of the array's axes.
"""

import numpy as np

from medimg.errors import ImageError, Refusal

Vector = tuple[float, float, float]

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])
SAME_DIRECTION = 1e-3
"""By how much a cosine may differ between neighbours within a volume"""

SAME_PLACE = 0.01
"""Slices nearer than this along their normal lie at one place, mm"""

FAR = 1e6
"""No slice lies this far from the origin, mm"""

_RIGHT_ANGLE = 1e-3
"""How far the cosine between rows and columns may be from 0, and their lengths from 1"""


def directions(orientation: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit vectors, LPS: along a row (columns increase), along a column (rows increase), and the slice normal.

    Args:
        orientation: the six cosines of ImageOrientationPatient.

    Raises:
        ImageError: GEOMETRY, they are not two unit vectors at a right angle.
    """
    along_row, along_column = np.array(orientation[:3], float), np.array(orientation[3:], float)
    lengths = np.linalg.norm(along_row), np.linalg.norm(along_column)
    if not np.isfinite(lengths).all():
        raise ImageError(Refusal.GEOMETRY, "the direction of its rows or columns is not finite")
    if max(abs(lengths[0] - 1), abs(lengths[1] - 1), abs(along_row @ along_column)) > _RIGHT_ANGLE:
        raise ImageError(Refusal.GEOMETRY, "its rows and columns are not unit vectors at a right angle")
    along_row, along_column = along_row / lengths[0], along_column / lengths[1]
    (a, b, c), (d, e, f) = along_row, along_column
    normal = np.array([b * f - c * e, c * d - a * f, a * e - b * d])  # np.cross takes ten times as long
    return along_row, along_column, normal / np.linalg.norm(normal)


def alike(orientations: list[tuple[float, ...]]) -> tuple[list[int], set[int]]:
    """Number the directions among slices of a series: what lies within ``SAME_DIRECTION`` of one another has the same.

    Args:
        orientations: six cosines for each slice.

    Returns:
        a number for each slice, from 0 in the order of the slices; and the numbers of directions that drift: no two
        neighbours differ, and the ends differ by twice as much or more.
    """
    found, back = np.unique(np.array(orientations, float).reshape(-1, 6), axis=0, return_inverse=True)
    label = np.full(len(found), -1)
    drifting = set()
    for number in range(len(found)):
        if label[number] >= 0:
            continue
        label[number], waiting = number, [number]
        while waiting:
            near = np.abs(found - found[waiting.pop()]).max(axis=1) < SAME_DIRECTION
            fresh = np.flatnonzero(near & (label < 0))
            label[fresh] = number
            waiting += fresh.tolist()
        if np.ptp(found[label == number], axis=0).max() >= 2 * SAME_DIRECTION:
            drifting.add(number)
    labels = label[back.reshape(-1)].tolist()
    order = {of: place for place, of in enumerate(dict.fromkeys(labels))}
    return [order[of] for of in labels], {order[of] for of in drifting}


def affine_of(first: np.ndarray, step: np.ndarray, orientation: tuple[float, ...], spacing: np.ndarray) -> np.ndarray:
    """The 4×4 RAS affine of a stack of slices.

    Args:
        first: centre of the first voxel, LPS, mm.
        step: from a slice to the next, LPS, mm.
        orientation: as in ``directions``.
        spacing: mm between rows, then between columns.
    """
    along_row, along_column, _ = directions(orientation)
    affine = np.eye(4)
    affine[:3, 0] = LPS_TO_RAS @ step
    affine[:3, 1] = LPS_TO_RAS @ (along_column * spacing[0])
    affine[:3, 2] = LPS_TO_RAS @ (along_row * spacing[1])
    affine[:3, 3] = LPS_TO_RAS @ first
    return affine


def spacing_of(affine: np.ndarray) -> Vector:
    """Spacing along D, H, W in mm: D's is the distance of slices along their normal, also where they are slanted."""
    columns = affine[:3, :3]
    normal = np.cross(columns[:, 1], columns[:, 2])
    distance = abs(columns[:, 0] @ normal) / np.linalg.norm(normal)
    return float(distance), float(np.linalg.norm(columns[:, 1])), float(np.linalg.norm(columns[:, 2]))


def toward(direction: np.ndarray) -> str:
    """The letter of RLAPSI that a direction, LPS, points to most."""
    axis = int(np.abs(direction).argmax())
    return "LPS"[axis] if direction[axis] > 0 else "RAI"[axis]


def axis_codes(affine: np.ndarray) -> str:
    """Where D, H and W increase toward, as three letters of RLAPSI, such as SPL: slices to superior, rows to
    posterior, columns to the left."""
    from nibabel.orientations import aff2axcodes

    return "".join(code or "?" for code in aff2axcodes(affine))
