"""PNG, JPEG and NIfTI files, and the codestreams inside DICOM, without all that is not needed to see the pixels."""

import zlib

import numpy as np

from medimg.errors import ImageError, Refusal
from medimg.images import Image, jpeg, nifti, raster

PNG_KEPT = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND"})
_PNG = b"\x89PNG\r\n\x1a\n"

# SOI, EOI, frames, DHT, DAC, SOS, DQT, DNL, DRI; JPEG-LS: its frame and its parameters
JPEG_KEPT = frozenset(range(0xC0, 0xD0)) - {0xC8} | {0xD8, 0xD9, 0xDA, 0xDB, 0xDC, 0xDD, 0xF7, 0xF8}
# A decoder takes the colour space from these, so they stay, each in one fixed form without thumbnail or density.
_JFIF = b"\xff\xe0\x00\x10JFIF\x00\x01\x02\x00\x00\x01\x00\x01\x00\x00"
_ADOBE = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00"

_NIFTI_KEPT = (
    "dim datatype bitpix pixdim scl_slope scl_inter xyzt_units qform_code sform_code quatern_b quatern_c quatern_d "
    "qoffset_x qoffset_y qoffset_z srow_x srow_y srow_z magic"
)


def clean_picture(data: bytes, image: Image) -> tuple[bytes, str]:
    """Clean the bytes of a PNG or JPEG file that reads as ``image``.

    An EXIF orientation goes with its segment; a picture that needs it is turned and written as PNG.

    Returns:
        the clean bytes, and the extension for them.
    """
    if raster.orientation(data) != 1:
        return encode_png(image.pixels), ".png"
    if image.facts.format == "jpeg":
        return clean_jpeg(data), ".jpg"
    return clean_png(data, image), ".png"


def encode_png(pixels: np.ndarray) -> bytes:
    """``(C, H, W)``, uint8 or uint16, C 1 or 3, as PNG."""
    import imagecodecs

    rows = np.ascontiguousarray(pixels.transpose(1, 2, 0))
    return bytes(imagecodecs.png_encode(rows[..., 0] if rows.shape[2] == 1 else rows, level=6))


def clean_png(data: bytes, image: Image) -> bytes:
    """Keep the chunks that hold pixels.

    Bytes hidden behind the end of the compressed stream cost a new encoding, and so does transparency, which no reader
    shows and no detector looks at.
    """
    if data[25] & 4 or any(kind == b"tRNS" for kind, _, _ in raster.chunks(data)):  # of IHDR, the colour type
        return encode_png(image.pixels)
    kept = [(kind, data[start:end]) for kind, start, end in raster.chunks(data) if kind in PNG_KEPT]
    stream = zlib.decompressobj()
    rows = image.facts.height + 7  # interlacing adds a few filter bytes
    stream.decompress(b"".join(chunk[8:-4] for kind, chunk in kept if kind == b"IDAT"), rows * image.facts.width * 9)
    if stream.unused_data or stream.unconsumed_tail or not stream.eof:
        return encode_png(image.pixels)
    return _PNG + b"".join(chunk for _, chunk in kept)


def clean_jpeg(data: bytes) -> bytes:
    """Keep the segments of a JPEG or JPEG-LS stream that hold pixels or say their colour space.

    Raises:
        ImageError: TRUNCATED or CORRUPT.
    """
    parts = []
    for marker, start, end in jpeg.segments(data):
        body = data[start + 4 : end]
        if marker in JPEG_KEPT:
            parts.append(data[start:end])
        elif marker == 0xE0 and body.startswith(b"JFIF\0"):
            parts.append(_JFIF)
        elif marker == 0xEE and body.startswith(b"Adobe") and len(body) >= 12:
            parts.append(_ADOBE + body[11:12])
        elif marker == 0xE8 and body.startswith(b"mrfx"):  # JPEG-LS colour transform
            parts.append(b"\xff\xe8\x00\x07mrfx" + body[4:5])
    return b"".join(parts)


def is_clean_jpeg(data: bytes) -> bool:
    """Whether a stream holds nothing that ``clean_jpeg`` would drop."""
    return clean_jpeg(data) == data


def clean_jpeg_2000(data: bytes) -> bytes:
    """Cut the codestream out of its boxes, drop what follows its end, and blank its comments in place.

    Raises:
        ImageError: CORRUPT.
    """
    start = data.find(b"\xff\x4f\xff\x51")
    end = data.rfind(b"\xff\xd9")
    if start < 0 or end < start:
        raise ImageError(Refusal.CORRUPT, "no JPEG 2000 codestream")
    stream = bytearray(data[start : end + 2])
    position = 2
    tile_end = 0
    while position + 4 <= len(stream) and stream[position] == 0xFF and stream[position + 1] != 0xD9:
        marker = stream[position + 1]
        if marker == 0x93:  # start of data: on to the next part of a tile
            position = tile_end
            continue
        length = int.from_bytes(stream[position + 2 : position + 4], "big")
        if marker == 0x90:  # start of a part of a tile; a length of 0 reaches to the end
            size = int.from_bytes(stream[position + 6 : position + 10], "big")
            tile_end = position + size if size else len(stream) - 2
        if marker == 0x64:  # comment
            stream[position + 6 : position + 2 + length] = bytes(length - 4)
        position += 2 + length
    if position != len(stream) - 2:
        raise ImageError(Refusal.CORRUPT, "the JPEG 2000 codestream has gaps")
    return bytes(stream)


def clean_nifti(data: bytes) -> bytes:
    """A plain NIfTI file with the numbers of the header that say shape and place, no text, no extension.

    Raises:
        ImageError: as ``nifti.parse``.
    """
    plain = nifti.inflate(data)
    old = nifti.parse(plain)
    new = type(old)(endianness=old.endianness)
    for name in _NIFTI_KEPT.split():
        new[name] = old[name]
    first = old.sizeof_hdr + 4
    new["vox_offset"] = first
    if "regular" in new.keys():  # noqa: SIM118  # a nibabel header is no dict
        new["regular"] = b""
    size = int(np.prod(old.get_data_shape())) * old.get_data_dtype().itemsize
    offset = int(old["vox_offset"])
    return bytes(new.binaryblock) + bytes(4) + plain[offset : offset + size]
