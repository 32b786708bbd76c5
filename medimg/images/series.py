"""Series become volumes: which slices belong together, in which order, and where they lie.

1. Files are grouped by series; slices of a series by direction, image type, echo, stack and diffusion weighting, and by
   temporal position where the header numbers it.
2. Several slices at each place are time points: they are told apart by acquisition, trigger time, time of day and
   instance number, in that order.
3. Slices are sorted by the projection of their position on the slice normal (row × column direction, LPS), which D
   follows. The spacing is that of the positions; SliceThickness serves a volume of one slice only.
4. What does not fit is refused, or kept as ``ingest.geometry`` says. A file is used whole or not at all.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np

from medimg.errors import ImageError, Refusal
from medimg.files import sha256
from medimg.images import Facts
from medimg.images.geometry import SAME_PLACE, axis_codes, directions, spacing_of
from medimg.images.groups import grouped, set_apart
from medimg.images.headers import Header, Slice
from medimg.images.stack import Grid, arrange
from medimg.params.geometry import Geometry

_SAME_SPACING = 1e-4
"""By how much pixel spacings may differ within a volume, mm: they are written with few digits"""

MAX_VOXELS = 2**29
"""Larger volumes are refused before memory is taken for them"""

Refused = tuple[str, str, str]
"""path, code, detail"""


@dataclass(frozen=True)
class Plan:
    """One volume that can be read."""

    stack: tuple[tuple[Slice, ...], ...]
    """``[c][d]``: slices along the normal, for each time point that becomes a channel. NIfTI: one slice, the file."""
    grid: Grid
    facts: Facts
    """of the volume; ``pixel`` facts such as bits are those of its first slice"""

    @property
    def paths(self) -> tuple[str, ...]:
        """Its files, sorted."""
        return tuple(sorted({one.path for slices in self.stack for one in slices}))

    @property
    def key(self) -> str:
        """16 hex digits that name the volume: the hash of where its slices come from, in order."""
        sources = [f"{one.path}#{one.frame}#{one.tile}" for slices in self.stack for one in slices]
        return sha256("\n".join(sources).encode())[:16]


def assemble(headers: Iterable[Header], settings: Geometry) -> tuple[list[Plan], list[Refused]]:
    """Make volumes of the files of one or many series; files of one series must come in one call.

    Copies of an instance are to be dropped before: two files with the same slice are a duplicate here.

    Returns:
        the volumes, sorted by series and by first file, and the files that are part of none: every path of
        ``headers`` is in a volume or is refused, never both.
    """
    plans: list[Plan] = []
    refused: list[Refused] = []
    by_series: dict[tuple[str, ...], list[Header]] = defaultdict(list)
    for header in headers:
        facts = header.facts
        whose = [facts.patient or "", facts.study or "", facts.series or ""]
        by_series[(*whose, header.path if header.affine or not facts.series else "")].append(header)
    for _, members in sorted(by_series.items()):
        made, problems = _series(sorted(members, key=lambda header: header.path), settings)
        plans += made
        refused += problems
    return plans, refused


def _series(headers: list[Header], settings: Geometry) -> tuple[list[Plan], list[Refused]]:
    by_path = {header.path: header for header in headers}
    plans: list[Plan] = []
    bad: dict[str, tuple[Refusal, str]] = {}
    usable: list[Slice] = []
    for header in headers:
        if header.localizer and settings.localizers == "refuse":
            bad[header.path] = (Refusal.LOCALIZER, "its image type says that it is a localizer")
        elif header.affine is not None:
            plans += _nifti(header, settings, bad)
        else:
            usable += header.slices
    groups = grouped(usable, bad)
    for kind, slices in groups.items():
        points = _time_points(slices, settings, bad)
        for stack in _channels(points) if settings.time == "channels" else [(point,) for point in points]:
            try:
                plans.append(_plan(stack, by_path, settings))
            except ImageError as error:
                detail = error.detail + (set_apart(kind, groups) if error.code is Refusal.NOT_3D else "")
                bad.update({one.path: (error.code, detail) for point in stack for one in point})
    return _whole_files(plans, bad)


def _whole_files(plans: list[Plan], bad: dict[str, tuple[Refusal, str]]) -> tuple[list[Plan], list[Refused]]:
    """A file of which one frame is refused is refused, and so are the volumes that it is part of."""
    while True:
        spoilt = [plan for plan in plans if not bad.keys().isdisjoint(plan.paths)]
        if not spoilt:
            break
        plans = [plan for plan in plans if plan not in spoilt]
        for plan in spoilt:
            reason = next(bad[path] for path in plan.paths if path in bad)
            bad.update({path: reason for path in plan.paths if path not in bad})
    return plans, [(path, code.value, detail) for path, (code, detail) in sorted(bad.items())]


def _time_points(
    slices: list[Slice], settings: Geometry, bad: dict[str, tuple[Refusal, str]]
) -> list[tuple[Slice, ...]]:
    """Split a group into the volumes of its time points, in order of time; incomplete ones are refused."""
    points: list[list[Slice]] = []
    phases: list[list[Slice]] = []
    for _, numbered in sorted(_by(slices, lambda one: -1 if one.temporal is None else one.temporal).items()):
        places = _places(numbered)
        counts = {len(here) for here in places}
        acquired = [part for _, part in sorted(_by(numbered, lambda one: one.acquisition or 0).items())]
        distinct = all(len({one.order for one in here}) == len(here) for here in places)
        if counts == {1}:
            points.append(numbered)
        elif distinct and len(counts) == 1:
            points += [list(point) for point in zip(*places, strict=True)]
        elif distinct and (consecutive := _consecutive(numbered, places)):
            points += consecutive
        elif len(acquired) > 1 and all(len(_places(part)) == len(part) > 1 for part in acquired):
            phases += acquired  # of a contrast medium, say: they may well cover different lengths
        elif settings.duplicates == "first":
            points.append([here[0] for here in places])
            bad.update(
                {one.path: (Refusal.DUPLICATE, "a copy of another slice") for here in places for one in here[1:]}
            )
        else:
            detail = "several slices lie at one place, and nothing tells them apart"
            bad.update({one.path: (Refusal.DUPLICATE, detail) for one in numbered})
    most = max(map(len, points), default=0)
    for point in points:
        if len(point) < most:
            detail = f"{len(point)} slices at this time, {most} at others"
            bad.update({one.path: (Refusal.MISSING, detail) for one in point})
    return [tuple(point) for point in points if len(point) == most] + [tuple(phase) for phase in phases]


def _by(slices: Iterable[Slice], key: Callable[[Slice], int]) -> dict[int, list[Slice]]:
    found: dict[int, list[Slice]] = defaultdict(list)
    for one in slices:
        found[key(one)].append(one)
    return found


def _places(slices: list[Slice]) -> list[list[Slice]]:
    """Slices by place along the normal, lowest first; those at one place in their order of time."""
    heights = np.array([one.position for one in slices]) @ directions(slices[0].orientation or ())[2]
    order = np.argsort(heights, kind="stable")
    places: list[list[Slice]] = []
    for before, at in zip([None, *order[:-1]], order, strict=True):
        if before is None or heights[at] - heights[before] > SAME_PLACE:
            places.append([])
        places[-1].append(slices[at])
    return [sorted(here, key=lambda one: (one.order, one.path, one.frame)) for here in places]


def _consecutive(slices: list[Slice], places: list[list[Slice]]) -> list[list[Slice]]:
    """Time points that follow each other in the numbering of instances, where some lack slices; else nothing.

    A place that comes again starts the next time point. That is only believed if it makes as many time points as the
    place that is seen most often has slices, two at least, and most places are seen that often.
    """
    place = {id(one): number for number, here in enumerate(places) for one in here}
    points: list[list[Slice]] = []
    seen: set[int] = set()
    for one in sorted(slices, key=lambda one: (one.order[-2:], one.path)):
        if not points or place[id(one)] in seen:
            points.append([])
            seen = set()
        seen.add(place[id(one)])
        points[-1].append(one)
    most = max(map(len, places))
    usual = sum(len(here) == most for here in places) * 2 > len(places)
    return points if len(points) == most and usual else []


def _channels(points: list[tuple[Slice, ...]]) -> list[tuple[tuple[Slice, ...], ...]]:
    """Time points of the same number of slices become the channels of one volume."""
    return [tuple(alike) for _, alike in groupby(points, key=len)]


def _plan(stack: tuple[tuple[Slice, ...], ...], by_path: dict[str, Header], settings: Geometry) -> Plan:
    """One volume of time points of the same length.

    Raises:
        ImageError: SHAPES, NOT_3D, MISSING, UNEVEN, TILT, GEOMETRY, MEMORY.
    """
    slices = [one for point in stack for one in point]
    alike = {(one.rows, one.columns, by_path[one.path].facts.channels) for one in slices}
    if len(alike) > 1 or np.ptp([one.spacing or (0, 0) for one in slices], axis=0).max() > _SAME_SPACING:
        raise ImageError(Refusal.SHAPES, "slices of several sizes, pixel spacings or numbers of channels")
    arranged = [arrange(point, settings) for point in stack]
    grid = arranged[0][1]
    if any(not np.allclose(other.affine, grid.affine, atol=SAME_PLACE) for _, other in arranged):
        raise ImageError(Refusal.GEOMETRY, "the time points lie at different places")
    stack = tuple(point for point, _ in arranged)
    facts = by_path[stack[0][0].path].facts
    return _fitting(Plan(stack, grid, _facts(facts, grid, facts.channels * len(stack), stack)))


def _fitting(plan: Plan) -> Plan:
    """The plan itself.

    Raises:
        ImageError: MEMORY.
    """
    shape = plan.facts.channels, *plan.grid.shape
    if math.prod(shape) > MAX_VOXELS:
        detail = " x ".join(map(str, shape))
        raise ImageError(Refusal.MEMORY, f"its volume has {detail} voxels, and no more than {MAX_VOXELS} are read")
    return plan


def _nifti(header: Header, settings: Geometry, bad: dict[str, tuple[Refusal, str]]) -> list[Plan]:
    facts = header.facts
    if facts.depth < settings.min_slices:
        bad[header.path] = (Refusal.NOT_3D, f"{facts.depth} slices")
        return []
    grid = Grid((facts.depth, facts.height, facts.width), header.affine or ())
    points = [replace(header.slices[0], frame=frame) for frame in range(facts.frames)]
    stacks = [tuple((point,) for point in points)] if settings.time == "channels" else [((point,),) for point in points]
    try:
        plans = [_fitting(Plan(one, grid, _facts(facts, grid, facts.channels * len(one), one))) for one in stacks]
    except ImageError as error:
        bad[header.path] = (error.code, error.detail)
        return []
    if facts.orientation is None:  # nothing says how it lies
        plans = [replace(plan, facts=replace(plan.facts, orientation=None)) for plan in plans]
    return plans


def _facts(facts: Facts, grid: Grid, channels: int, stack: tuple[tuple[Slice, ...], ...]) -> Facts:
    affine = np.array(grid.affine)
    spacing = spacing_of(affine)
    depth, height, width = grid.shape
    return replace(
        facts,
        instance=facts.instance if len({one.path for point in stack for one in point}) == 1 else None,
        channels=channels,
        depth=depth,
        height=height,
        width=width,
        spacing_slice=spacing[0],
        spacing_row=spacing[1],
        spacing_column=spacing[2],
        orientation=axis_codes(affine),
        frames=len({(one.path, one.frame) for point in stack for one in point}),
        files=len({one.path for point in stack for one in point}),
    )
