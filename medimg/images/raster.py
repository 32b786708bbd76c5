"""PNG and JPEG: pixels, and no more than a picture knows of itself."""

from collections.abc import Iterator
from io import BytesIO

import numpy as np

from medimg.errors import ImageError, Refusal
from medimg.images import Facts, Image, jpeg
from medimg.images.sniff import MAX_BYTES

_SIGNATURE = 8


def read_png(data: bytes) -> Image:
    """Read the bytes of a PNG file: ``(C, H, W)``, uint8 or uint16 as stored; 1, 2 and 4 bits scaled to 8.

    Palettes become RGB; alpha is dropped, not blended; three equal channels become one; eXIf orientation is applied.
    pHYs speaks of paper or screen, not of the patient: no spacing.

    Raises:
        ImageError: CORRUPT, TRUNCATED, GEOMETRY, NOT_2D (animated).
    """
    import imagecodecs

    header = next(chunks(data))
    if header[0] != b"IHDR":
        raise ImageError(Refusal.CORRUPT, "a PNG file does not start with its header")
    width, height = (int.from_bytes(data[start : start + 4], "big") for start in (16, 20))
    _check_size(height, width, 8)  # 16-bit RGBA at most
    if any(kind == b"acTL" for kind, _, _ in chunks(data)):
        raise ImageError(Refusal.NOT_2D, "an animated PNG")
    pixels = imagecodecs.png_decode(data)
    pixels = pixels.reshape(height, width, -1)
    samples = 1 if pixels.shape[2] < 3 else 3
    return _image("png", oriented(pixels[..., :samples], orientation(data)), pixels.dtype.itemsize * 8)


def read_jpeg(data: bytes) -> Image:
    """Read the bytes of a JPEG file: ``(C, H, W)``, uint8, or uint16 for 12 bits.

    Three equal channels become one; EXIF orientation is applied; what stands after the end of the image is ignored.

    Raises:
        ImageError: CORRUPT, TRUNCATED, GEOMETRY, UNSUPPORTED (CMYK).
    """
    import imagecodecs

    height, width, samples = jpeg.shape(data)
    if samples not in (1, 3):
        raise ImageError(Refusal.UNSUPPORTED, f"a JPEG of {samples} channels (CMYK)")
    _check_size(height, width, samples * 2)
    pixels = imagecodecs.jpeg8_decode(data).reshape(height, width, samples)
    return _image("jpeg", oriented(pixels, orientation(data)), jpeg.precision(data))


def _check_size(height: int, width: int, bytes_a_pixel: int) -> None:
    if not 0 < height * width * bytes_a_pixel <= MAX_BYTES:
        raise ImageError(Refusal.GEOMETRY, f"{height} x {width} pixels: none, or too many")


def _image(kind: str, pixels: np.ndarray, bits: int) -> Image:
    """``(H, W, S)`` to an ``Image``."""
    if pixels.shape[2] == 3 and (pixels[..., :1] == pixels[..., 1:]).all():  # a radiograph saved as colour
        pixels = pixels[..., :1]
    height, width, channels = pixels.shape
    photometric = "MONOCHROME2" if channels == 1 else "RGB"
    pixels = np.ascontiguousarray(pixels.transpose(2, 0, 1))
    return Image(pixels, Facts(kind, channels, height, width, bits, photometric))


def orientation(data: bytes) -> int:
    """The EXIF orientation of a PNG or JPEG, 1 (upright) to 8; 1 when there is none.

    Raises:
        ImageError: CORRUPT or TRUNCATED.
    """
    if data.startswith(b"\xff\xd8"):
        present = any(
            marker == 0xE1 and data[start + 4 : start + 10] == b"Exif\0\0" for marker, start, _ in jpeg.segments(data)
        )
    else:
        present = any(kind == b"eXIf" for kind, _, _ in chunks(data))
    if not present:
        return 1
    from PIL import Image as Pillow

    with Pillow.open(BytesIO(data), formats=("PNG", "JPEG")) as image:
        if image.format == "PNG":
            image.load()  # eXIf may stand after the pixels
        found = image.getexif().get(0x0112, 1)
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def oriented(pixels: np.ndarray, value: int) -> np.ndarray:
    """Turn ``(H, W, S)`` as the EXIF orientation says: 5 to 8 transpose, so that height and width change places."""
    if value >= 5:
        pixels = pixels.transpose(1, 0, 2)
    if value in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if value in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield (type, start, end) of a PNG's chunks to IEND, each ``data[start:end]`` with length and CRC, checked.

    Raises:
        ImageError: TRUNCATED, no IEND; CORRUPT, a checksum fails.
    """
    from zlib import crc32

    start = _SIGNATURE
    while True:
        end = start + 12 + int.from_bytes(data[start : start + 4], "big")
        if end > len(data) or len(data) < start + 12:
            raise ImageError(Refusal.TRUNCATED, "the PNG file has no end")
        if crc32(data[start + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            raise ImageError(Refusal.CORRUPT, "a PNG checksum fails")
        kind = data[start + 4 : start + 8]
        yield kind, start, end
        if kind == b"IEND":
            return
        start = end
