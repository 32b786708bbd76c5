"""NIfTI-1 and NIfTI-2, single file, plain or gzip: one slice."""

import math
import zlib

import numpy as np

from medimg.errors import ImageError, Refusal
from medimg.images import Facts, Image
from medimg.images.sniff import MAX_BYTES, is_nifti

_MM = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}  # xyzt_units: unknown taken as mm, metre, mm, micron
_BIGGEST = MAX_BYTES + 2**20


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
    stored = _stored(data, header, shape[0], shape[1])
    row, column = _spacing(header)
    pixels = stored.T
    axes, flips = _lie(header)
    if axes[0] > axes[1]:
        pixels, row, column, flips = pixels.T, column, row, flips[::-1]
    pixels = pixels[:: -1 if flips[1] else 1, :: -1 if flips[0] else 1]
    pixels = np.ascontiguousarray(_scaled(pixels, header)[None])
    height, width = pixels.shape[1:]
    facts = Facts(
        "nifti", 1, height, width, stored.dtype.itemsize * 8, "MONOCHROME2", spacing_row=row, spacing_column=column
    )
    return Image(pixels, facts)


def inflate(data: bytes) -> bytes:
    """The bytes of the plain file, at most ``MAX_BYTES`` and a header of them.

    Raises:
        ImageError: MEMORY, it inflates to more; TRUNCATED, the gzip stream has no end; CORRUPT.
    """
    if not data.startswith(b"\x1f\x8b"):
        return data
    stream = zlib.decompressobj(31)
    try:
        plain = stream.decompress(data, _BIGGEST)
    except zlib.error:
        raise ImageError(Refusal.CORRUPT, "the gzip stream does not inflate") from None
    if stream.unconsumed_tail:
        raise ImageError(Refusal.MEMORY, f"the file inflates to more than {_BIGGEST} bytes")
    if not stream.eof:
        raise ImageError(Refusal.TRUNCATED, "the gzip stream has no end")
    return plain


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
    return kind(data[:size], check=False)


def _stored(data: bytes, header, width: int, height: int) -> np.ndarray:  # type: ignore[no-untyped-def]
    """The stored numbers, ``(X, Y)``, native byte order."""
    dtype = header.get_data_dtype()
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise ImageError(Refusal.UNSUPPORTED, "pixels that are not plain integers or floats")
    count = width * height
    if count * dtype.itemsize > MAX_BYTES:
        raise ImageError(Refusal.GEOMETRY, f"{height} x {width} pixels: too many")
    offset = int(header["vox_offset"])
    if offset < header.sizeof_hdr:
        raise ImageError(Refusal.CORRUPT, "the pixels start inside the header")
    if len(data) < offset + count * dtype.itemsize:
        raise ImageError(Refusal.TRUNCATED, f"fewer pixel bytes than the header's {count * dtype.itemsize}")
    flat = np.frombuffer(data, dtype, count, offset)
    return flat.astype(dtype.newbyteorder("=")).reshape(width, height, order="F")


def _scaled(pixels: np.ndarray, header) -> np.ndarray:  # type: ignore[no-untyped-def]
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


def _lie(header) -> tuple[tuple[int, int], tuple[bool, bool]]:  # type: ignore[no-untyped-def]
    """For X and Y as stored: the world axis that each runs along, and whether it is to be flipped."""
    as_stored = (0, 1), (False, False)
    if int(header["qform_code"]) <= 0 and int(header["sform_code"]) <= 0:
        return as_stored
    from nibabel.orientations import io_orientation

    found = io_orientation(header.get_best_affine())[:2]
    if not np.isfinite(found).all():
        return as_stored
    # nibabel's world axes run to right, anterior, superior; ours to the opposite
    return (int(found[0, 0]), int(found[1, 0])), (bool(found[0, 1] > 0), bool(found[1, 1] > 0))
