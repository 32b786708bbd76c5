"""NIfTI-1 and NIfTI-2, single file, plain or gzip: one slice."""

import math
import zlib

import numpy as np

from medimg.errors import ImageError, Refusal
from medimg.images import Facts, Image
from medimg.images.geometry import axis_codes, spacing_of
from medimg.images.headers import Header, Slice
from medimg.images.sniff import MAX_BYTES, is_nifti

_MM = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}  # xyzt_units: unknown taken as mm, metre, mm, micron
_FLAT = 1e-9
"""A voxel of less mm³ is none"""

_GZIP = b"\x1f\x8b"
_BIGGEST = MAX_BYTES + 2**20
_PIECE = 2**18


def read(data: bytes) -> Image:
    """Read the bytes of a NIfTI file that holds one slice, shape (X, Y) or (X, Y, 1).

    Pixels ``(1, H, W)``: stored integers when scl_slope and scl_inter are 1 and 0 (or unset), else float32. When qform
    or sform says how the slice lies, columns run along the lower of its two world axes and rows along the other, each
    toward left, posterior or inferior: axial and coronal slices as radiologists view them, sagittal ones with the face
    to the left. When neither says, H is Y and W is X as stored.

    Raises:
        ImageError: NOT_2D, UNSUPPORTED (a pair of files, colour, complex), TRUNCATED, GEOMETRY, MEMORY, CORRUPT.
        Exception: whatever nibabel makes of a broken header; ``medimg.images.read`` translates it.
    """
    data = inflate(data)
    header = parse(data)
    shape = header.get_data_shape()
    slices = math.prod(shape[2:])
    if len(shape) < 2 or slices != 1 or min(shape) < 1:
        raise ImageError(Refusal.NOT_2D, f"{len(shape)} dimensions, {slices} slices")
    stored = _stored(data, header, shape[:2])
    row, column = _spacing(header)
    pixels = stored.T
    placed = _lie(header)
    axes, flips = placed or ((0, 1), (False, False))
    if axes[0] > axes[1]:
        pixels, row, column, flips = pixels.T, column, row, flips[::-1]
    pixels = pixels[:: -1 if flips[1] else 1, :: -1 if flips[0] else 1]
    pixels = np.ascontiguousarray(_scaled(pixels, header)[None])
    height, width = pixels.shape[1:]
    facts = Facts(
        "nifti",
        1,
        height,
        width,
        stored.dtype.itemsize * 8,
        "MONOCHROME2",
        spacing_row=row,
        spacing_column=column,
        orientation="LPI"[max(axes)] + "LPI"[min(axes)] if placed else None,
    )
    return Image(pixels, facts)


def inflate(data: bytes) -> bytes:
    """The bytes of the plain file, at most ``MAX_BYTES`` and a header of them.

    A gzip file may have several members, one behind the other (RFC 1952, 2.2), as bgzip and pigz write them; zeros, or
    anything that is no member, may follow the last.

    Raises:
        ImageError: MEMORY, it inflates to more; TRUNCATED, a gzip stream has no end; CORRUPT.
    """
    if not data.startswith(_GZIP):
        return data
    parts: list[bytes] = []
    size = at = 0
    while data.startswith(_GZIP, at):
        stream = zlib.decompressobj(31)
        while not stream.eof:
            piece = data[at : at + _PIECE]
            if not piece:
                raise ImageError(Refusal.TRUNCATED, "the gzip stream has no end")
            try:
                parts.append(stream.decompress(piece, _BIGGEST - size + 1))
            except zlib.error:
                raise ImageError(Refusal.CORRUPT, "the gzip stream does not inflate") from None
            size += len(parts[-1])
            if size > _BIGGEST:
                raise ImageError(Refusal.MEMORY, f"the file inflates to more than {_BIGGEST} bytes")
            at += len(piece) - len(stream.unused_data)
    return b"".join(parts)


def parse(data: bytes):  # type: ignore[no-untyped-def]  # nibabel has no types
    """The nibabel header of a plain NIfTI file.

    Raises:
        ImageError: UNSUPPORTED, the pixels are in another file; CORRUPT.
    """
    from nibabel.nifti1 import Nifti1Header
    from nibabel.nifti2 import Nifti2Header

    if not is_nifti(data[:540]):
        raise ImageError(Refusal.CORRUPT, "no NIfTI header")
    second = (540).to_bytes(4, "little") in (data[:4], data[:4][::-1])
    kind, size, magic = (Nifti2Header, 540, data[4:7]) if second else (Nifti1Header, 348, data[344:347])
    if magic[1:2] == b"i":
        raise ImageError(Refusal.UNSUPPORTED, "a NIfTI header whose pixels are in another file")
    header = kind(data[:size], check=False)
    pixdim = header["pixdim"]
    if pixdim[0] == 0:  # of the quaternion's handedness: nifti1.h takes 0 for 1, which nibabel refuses
        pixdim[0] = 1
    pixdim[1:4] = np.abs(pixdim[1:4])  # nibabel, FSL and ITK overlook a sign
    return header


def _stored(data: bytes, header, shape: tuple[int, ...], first: int = 0) -> np.ndarray:  # type: ignore[no-untyped-def]
    """The stored numbers, ``shape``, native byte order, from the number ``first`` on."""
    dtype = header.get_data_dtype()
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise ImageError(Refusal.UNSUPPORTED, "pixels that are not plain integers or floats")
    count = math.prod(shape)
    if count * dtype.itemsize > MAX_BYTES:
        raise ImageError(Refusal.GEOMETRY, f"{' x '.join(map(str, shape))} pixels: too many")
    offset = int(header["vox_offset"])
    if offset < header.sizeof_hdr:
        raise ImageError(Refusal.CORRUPT, "the pixels start inside the header")
    if len(data) < offset + (first + count) * dtype.itemsize:
        raise ImageError(Refusal.TRUNCATED, f"fewer pixel bytes than the header's {(first + count) * dtype.itemsize}")
    flat = np.frombuffer(data, dtype, count, offset + first * dtype.itemsize)
    return flat.astype(dtype.newbyteorder("=")).reshape(shape, order="F")


def read_header(data: bytes, name: str) -> Header:
    """The header of a NIfTI file's bytes: a volume of shape (X, Y, Z) is ``(D, H, W)`` = (Z, Y, X), time is frames.

    The affine is sform's, else qform's, in mm. Where neither is set, nothing says how the volume lies: the affine then
    holds the spacing alone and the facts have no orientation.

    Raises:
        ImageError: NOT_3D (more than four dimensions), GEOMETRY, and as ``read``.
    """
    header = parse(inflate(data))
    shape = header.get_data_shape()
    if not 2 <= len(shape) <= 4 and math.prod(shape[4:]) != 1:
        raise ImageError(Refusal.NOT_3D, f"{len(shape)} dimensions")
    width, height, depth, frames = (*shape[:4], 1, 1, 1)[:4]
    if min(width, height, depth, frames) < 1:
        raise ImageError(Refusal.GEOMETRY, f"{frames} x {depth} x {height} x {width} voxels")
    unit = _MM.get(int(header["xyzt_units"]) & 7, 1.0)
    placed = int(header["qform_code"]) > 0 or int(header["sform_code"]) > 0
    zooms = np.array(header["pixdim"][1:4], float)
    stored = np.array(header.get_best_affine(), float) if placed else np.diag([*zooms, 1.0])
    stored[:3] *= unit
    if not np.isfinite(stored).all() or abs(np.linalg.det(stored[:3, :3])) < _FLAT:
        raise ImageError(Refusal.GEOMETRY, "the affine is not finite, or flat")
    affine = stored[:, [2, 1, 0, 3]]
    _, row, column = spacing = spacing_of(affine)
    facts = Facts(
        format="nifti",
        channels=1,
        height=height,
        width=width,
        bits=header.get_data_dtype().itemsize * 8,
        photometric="MONOCHROME2",
        spacing_row=row,
        spacing_column=column,
        depth=depth,
        frames=frames,
        spacing_slice=spacing[0],
        orientation=axis_codes(affine) if placed else None,
    )
    return Header(name, facts, (Slice(name, rows=height, columns=width),), affine=tuple(map(tuple, affine.tolist())))


def read_volume(data: bytes, frames: list[int]) -> np.ndarray:
    """Time points of a NIfTI file: ``(C, D, H, W)``, a channel each; stored integers, or float32 after the scaling.

    Raises:
        ImageError: as ``read``.
    """
    data = inflate(data)
    header = parse(data)
    shape = (*header.get_data_shape()[:3], 1)[:3]
    return np.stack([_scaled(_stored(data, header, shape, frame * math.prod(shape)).T, header) for frame in frames])


def check_numbers(data: bytes) -> None:
    """Refuse a file of which a stored value is not a number (NaN).

    Raises:
        ImageError: NOT_A_NUMBER; and as ``read``.
    """
    data = inflate(data)
    header = parse(data)
    if header.get_data_dtype().kind == "f":
        missing = int(np.isnan(_stored(data, header, header.get_data_shape())).sum())
        if missing:
            detail = f"{missing} pixels are not numbers; ingest.nan: background takes them for background"
            raise ImageError(Refusal.NOT_A_NUMBER, detail)


def _scaled(pixels: np.ndarray, header) -> np.ndarray:  # type: ignore[no-untyped-def]
    """The values after the scaling; what is not a number takes the lowest value of the rest, as padding does."""
    values = _rescaled(pixels, header)
    missing = np.isnan(values) if values.dtype.kind == "f" else None
    if missing is not None and missing.any() and not missing.all():
        values[missing] = values[~missing].min()
    return values


def _rescaled(pixels: np.ndarray, header) -> np.ndarray:  # type: ignore[no-untyped-def]
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if not math.isfinite(slope) or slope == 0 or (slope == 1 and intercept == 0):
        return pixels.astype(np.float32) if pixels.dtype.kind == "f" else pixels
    if not math.isfinite(intercept):
        raise ImageError(Refusal.CORRUPT, "the scaling is not a usable number")
    return (pixels * np.float64(slope) + intercept).astype(np.float32)


def _spacing(header) -> tuple[float, float]:  # type: ignore[no-untyped-def]
    """Distance along Y, then along X, in mm."""
    unit = _MM.get(int(header["xyzt_units"]) & 7, 1.0)
    x, y = (float(value) * unit for value in header["pixdim"][1:3])
    if not all(math.isfinite(value) and value > 0 for value in (x, y)):
        raise ImageError(Refusal.GEOMETRY, "the pixel spacing is not two positive numbers")
    return y, x


def _lie(header) -> tuple[tuple[int, int], tuple[bool, bool]] | None:  # type: ignore[no-untyped-def]
    """For X and Y as stored: the world axis that each runs along, and whether it is to be flipped; None: unknown."""
    if int(header["qform_code"]) <= 0 and int(header["sform_code"]) <= 0:
        return None
    from nibabel.orientations import io_orientation

    found = io_orientation(header.get_best_affine())[:2]
    if not np.isfinite(found).all():
        return None
    # nibabel's world axes run to right, anterior, superior; ours to the opposite
    return (int(found[0, 0]), int(found[1, 0])), (bool(found[0, 1] > 0), bool(found[1, 1] > 0))
