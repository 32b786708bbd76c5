"""One sample of the index: its files read, its mask beside it, brought to what the store keeps."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medimg import images
from medimg.errors import ImageError, Refusal
from medimg.images.headers import header
from medimg.images.series import Plan, assemble
from medimg.images.volume import Volume, read_volume
from medimg.params import Preprocess
from medimg.params.geometry import Geometry as Stacking
from medimg.preprocess.steps import Picture, process
from medimg.store import Row

_SAME_PLACE = 0.1
"""Voxels by which a mask may lie beside its volume"""


@dataclass(frozen=True)
class Source:
    """Where a sample's pixels are; paths below a root."""

    sample: str
    paths: tuple[str, ...]
    frame: int | None = None
    volume: bool = False
    mask: str | None = None

    @property
    def path(self) -> str:
        """The file that names it."""
        return self.paths[0]


def compute(item: tuple[str, Source], root: Path, settings: Preprocess, stacking: Stacking) -> Row:
    """Read and process one sample; ``item`` is its key and source.

    Raises:
        ImageError: as ``images.read``, ``read_volume`` and ``process``; GEOMETRY, its mask does not lie on its grid.
    """
    _, source = item
    return process((_volume if source.volume else _image)(source, root, settings, stacking), settings)


def _image(source: Source, root: Path, settings: Preprocess, _: Stacking) -> Picture:
    image = images.read(root / source.path, source.frame, voi=settings.window == "header")
    mask = None if source.mask is None else images.read(root / source.mask).pixels
    _check(mask, image.pixels)
    return picture_of(image, mask)


def picture_of(image: images.Image, mask: np.ndarray | None = None) -> Picture:
    """A 2D image as it was read, and its mask."""
    row, column = image.facts.spacing_row, image.facts.spacing_column
    return Picture(image.pixels, mask, (row, column) if row and column else None, windowed=image.windowed)


def _volume(source: Source, root: Path, settings: Preprocess, stacking: Stacking) -> Picture:
    volume = _read(source.paths, source.sample, root, stacking)
    mask = None
    if source.mask is not None:
        mask = _aligned(_read((source.mask,), None, root, stacking), volume)
        _check(mask, volume.pixels)
    return picture_of_volume(volume, mask)


def picture_of_volume(volume: Volume, mask: np.ndarray | None = None) -> Picture:
    """A volume as it was read, and its mask."""
    affine = volume.affine if volume.facts.orientation else None
    spacing = volume.spacing if min(volume.spacing) > 0 else None
    colour = not volume.facts.photometric.startswith("MONOCHROME")
    return Picture(volume.pixels, mask, spacing, affine, colour=colour)


def _read(paths: tuple[str, ...], sample: str | None, root: Path, stacking: Stacking) -> Volume:
    """The volume that ingest named ``sample``; None: the only one in these files."""
    plans, refused = assemble([header(root / path, path) for path in paths], stacking)
    found: list[Plan] = [plan for plan in plans if sample in (None, plan.key)]
    if len(found) == 1:
        return read_volume(found[0], root)
    if refused:
        _, code, detail = refused[0]
        raise ImageError(Refusal(code), detail)
    raise ImageError(Refusal.CONFLICT, "its files make another volume than ingest found. Run ingest again")


def _aligned(mask: Volume, volume: Volume) -> np.ndarray:
    """The mask's voxels in the order of the volume's: axes in another order or direction are turned.

    Raises:
        ImageError: GEOMETRY, it lies elsewhere.
    """
    if mask.facts.orientation is None or volume.facts.orientation is None:
        return mask.pixels
    from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation, ornt_transform

    change = ornt_transform(io_orientation(mask.affine), io_orientation(volume.affine))
    turned = mask.affine @ inv_ornt_aff(change, mask.pixels.shape[1:])
    away = np.linalg.solve(volume.affine, turned) - np.eye(4)
    corner = np.append(np.array(volume.pixels.shape[1:]) - 1.0, 1.0)
    if max(np.abs(away[:3, 3]).max(), np.abs(away @ corner).max()) > _SAME_PLACE:
        raise ImageError(Refusal.GEOMETRY, "its mask does not lie on its grid")
    return np.stack([apply_orientation(channel, change) for channel in mask.pixels])


def _check(mask: np.ndarray | None, pixels: np.ndarray) -> None:
    if mask is not None and (len(mask) != 1 or mask.shape[1:] != pixels.shape[1:]):
        raise ImageError(Refusal.GEOMETRY, "its mask is not grey or has another shape")
