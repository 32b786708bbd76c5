"""Which slices of a series may form a volume together, and by what the others are set apart."""

from collections import defaultdict
from collections.abc import Iterable

import numpy as np

from medimg.errors import ImageError, Refusal
from medimg.images.geometry import FAR, alike, directions
from medimg.images.headers import KIND, Slice

Kind = tuple[str, ...]
"""The number of a direction, and the values of the elements in ``KIND``"""

_NAMES = ("ImageOrientationPatient", *KIND)


def grouped(slices: list[Slice], bad: dict[str, tuple[Refusal, str]]) -> dict[Kind, list[Slice]]:
    """Slices that may form one volume at one or several times, by what they share: direction and kind."""
    placed = [one for one in slices if _is_placed(one, bad)]
    numbers, drifting = alike([one.orientation or () for one in placed])
    groups: dict[Kind, list[Slice]] = defaultdict(list)
    for one, direction in zip(placed, numbers, strict=True):
        if direction in drifting:
            detail = (
                "the direction of the slices (ImageOrientationPatient) drifts from slice to slice: they are no stack"
            )
            bad[one.path] = (Refusal.UNEVEN, detail)
        else:
            groups[(str(direction), *one.kind)].append(one)
    return groups


def _is_placed(one: Slice, bad: dict[str, tuple[Refusal, str]]) -> bool:
    """Whether a slice says where it lies, and can be believed."""
    if one.position is None or one.orientation is None or one.spacing is None:
        bad[one.path] = (Refusal.NOT_3D, "it does not say where its slices lie")
        return False
    if not (np.abs([*one.position, *one.orientation]) < FAR).all():  # NaN is not below either
        bad[one.path] = (Refusal.GEOMETRY, "the position or direction of a slice is not finite, or a kilometre off")
        return False
    try:
        directions(one.orientation)
    except ImageError as error:
        bad[one.path] = (error.code, error.detail)
        return False
    return True


def set_apart(kind: Kind, groups: Iterable[Kind]) -> str:
    """By which elements too few slices for a volume differ from others of their series; empty where there are none."""
    others = [
        [name for name, own, other in zip(_NAMES, kind, group, strict=False) if own != other]
        for group in groups
        if group != kind
    ]
    if not others:
        return ""
    nearest = min(others, key=len)
    names = " and ".join(nearest)
    return (
        f"; others of the series have another {names}, and are volumes of their own. If all are one, give them the "
        "same before the import"
    )
