"""Malformed inputs, made from real files and a seed, and what a second decoder makes of those that are accepted."""

import copy
import gzip
import io
import random
import resource
import struct
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image
from pydicom.filewriter import write_file_meta_info
from pydicom.pixels import get_decoder

from medimg.errors import ImageError, NotAnImage
from medimg.images import codecs, dicom, guarded, pixel_sha256, read_bytes
from medimg.images.sniff import load, sniff
from medimg.ingest.reading import read_file
from medimg.records import DATA

ROOT = Path(__file__).parent.parent.parent
FOLDERS = (Path(pydicom.__file__).parent / "data" / "test_files", ROOT.parent / "shared" / "data" / "dicom_corpus")
LARGEST = 200_000  # bytes of a source: the campaign is about many inputs, not about large ones
SYNTAXES = [*sorted(codecs.READABLE), "1.2.840.10008.1.2.4.100", "1.2.840.10008.1.2.4.110", "1.2.3.4"]
_LOSSY = {f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 81, 91, 203)}
TOLERANCE = 2  # grey levels by which two decoders of a lossy syntax may differ
EXPLICIT = "1.2.840.10008.1.2.1"


def sources(corpus: bool) -> list[bytes]:
    """Files that are images: DICOM that pydicom ships (and the corpus's, if asked), and made PNG, JPEG and NIfTI."""
    found = []
    for folder in FOLDERS[: 1 + corpus]:
        for path in sorted(folder.rglob("*")):
            if (
                path.is_file()
                and path.stat().st_size <= LARGEST
                and path.suffix not in (".py", ".pyc", ".json", ".txt")
            ):
                data = path.read_bytes()
                try:
                    read_bytes(data)
                except (ImageError, NotAnImage):
                    continue
                found.append(data)
    return found + pictures()


def pictures() -> list[bytes]:
    """A PNG, a JPEG, a NIfTI and a gzipped NIfTI."""
    import nibabel

    pixels = np.random.default_rng(0).integers(0, 255, (40, 30), np.uint8)
    made = []
    for kind in ("PNG", "JPEG"):
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, kind)
        made.append(buffer.getvalue())
    volume = nibabel.Nifti1Image(pixels[..., None].astype(np.int16), np.eye(4)).to_bytes()
    return [*made, volume, gzip.compress(volume)]


def mutations(files: list[bytes], count: int, draw: random.Random) -> Iterator[bytes]:
    """Files with bytes flipped, cleared, cut out, doubled, or a length made absurd; mostly where the header is."""
    for _ in range(count):
        data = bytearray(draw.choice(files))
        for _ in range(draw.choice((1, 1, 2, 5, 20))):
            end = len(data) if draw.random() < 0.5 else min(len(data), 2000)
            at = draw.randrange(max(1, end))
            length = draw.choice((1, 2, 4, 16, 100))
            match draw.randrange(6):
                case 0:
                    data[at : at + 1] = bytes([draw.randrange(256)])
                case 1:
                    data[at : at + length] = draw.randbytes(length)
                case 2:
                    data[at : at + length] = bytes(length)
                case 3:
                    del data[at : at + length]
                case 4:
                    data[at:at] = data[at : at + length]
                case 5:
                    data[at : at + 4] = draw.choice(
                        (b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\x80", b"\xfe\xff")
                    )
        yield bytes(data)


def truncations(files: list[bytes], count: int, draw: random.Random) -> Iterator[bytes]:
    """Files that end too early."""
    for _ in range(count):
        data = draw.choice(files)
        yield data[: draw.randrange(len(data))]


def relabelled(files: list[bytes]) -> Iterator[bytes]:
    """Every DICOM file under every transfer syntax but its own."""
    for data in files:
        if data[128:140] != b"DICM\x02\0\0\0UL\x04\0":
            continue
        start = 144 + int.from_bytes(data[140:144], "little")
        meta = pydicom.dcmread(io.BytesIO(data), specific_tags=[], stop_before_pixels=True).file_meta
        for syntax in SYNTAXES:
            if meta.TransferSyntaxUID != syntax:
                buffer = io.BytesIO()
                changed = copy.deepcopy(meta)
                changed.TransferSyntaxUID = pydicom.uid.UID(syntax)
                write_file_meta_info(buffer, changed, enforce_standard=False)
                yield data[:132] + buffer.getvalue() + data[start:]


def header(syntax: str = EXPLICIT) -> bytes:
    """A preamble and the file meta information."""
    uid = syntax.encode() + b"\0" * (len(syntax) % 2)
    body = struct.pack("<HH2sH", 2, 0x10, b"UI", len(uid)) + uid
    return bytes(128) + b"DICM" + struct.pack("<HH2sHI", 2, 0, b"UL", 4, len(body)) + body


def inflating() -> bytes:
    """A deflated data set of 4 GiB."""
    zeros = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    piece = zeros.compress(bytes(2**24)) + zeros.flush(zlib.Z_FULL_FLUSH)
    return header(codecs.DEFLATED) + piece * 256 + zeros.flush()


def absurd() -> bytes:
    """65535 rows, 65535 columns and 2147483647 frames."""
    dataset = pydicom.dcmread(FOLDERS[0] / "CT_small.dcm")
    dataset.Rows = dataset.Columns = 65535
    dataset.NumberOfFrames = 2**31 - 1
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    return buffer.getvalue()


def nested() -> bytes:
    """A sequence in a sequence, 200,000 levels deep."""
    item = struct.pack("<HH2sHI", 8, 0x1140, b"SQ", 0, 0xFFFFFFFF) + struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    return header() + item * 200_000


def gzipped() -> bytes:
    """A NIfTI of 32000 x 32000 voxels that inflates to 4 GiB."""
    volume = bytearray(gzip.decompress(pictures()[3]))
    volume[40:56] = struct.pack("<8h", 3, 32000, 32000, 1, 1, 1, 1, 1)
    return gzip.compress(bytes(volume)) + gzip.compress(bytes(2**26)) * 64


BOMBS = {work.__name__: work for work in (inflating, absurd, nested, gzipped)}


def weigh(path: str) -> tuple[float, float, str]:
    """CPU seconds, MiB at the peak beyond those at the start, and what was said of the file at ``path``; supervised."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    reading = read_file(path)
    seconds = time.process_time() - start
    more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return seconds, more / 1024, f"{reading.code or reading.fate}: {reading.detail}"


def said_of(data: bytes) -> str:
    """Why the bytes of a file are refused; supervised."""
    try:
        read_bytes(data)
    except ImageError as refusal:
        return refusal.code
    return "accepted"


def compare(path: str) -> str:
    """What two decoders make of the file at ``path`` below data/; runs supervised."""
    try:
        data = load(DATA / path)
        image = read_bytes(data)
    except (ImageError, NotAnImage):
        return "not accepted"
    if sniff(data[:4096]) != "dicom":
        return "one decoder: PNG, JPEG, NIfTI"
    assert pixel_sha256(read_bytes(data).pixels) == pixel_sha256(image.pixels)
    return guarded(lambda: second_opinion(data))


def second_opinion(data: bytes) -> str:
    """Our stored pixels against those of pydicom or one of its plugins."""
    dataset = dicom.parse(data)
    layout = dicom.layout_of(dataset)
    ours = codecs.stored(dataset, layout).astype(np.int64)
    try:
        plugins = "" if layout.syntax in codecs.NATIVE else get_decoder(layout.syntax).available_plugins
    except NotImplementedError:  # pydicom knows no decoder at all
        plugins = ()
    if plugins == ():
        return f"one decoder: {pydicom.uid.UID(layout.syntax).name}"
    if layout.syntax in codecs.JPEG_DCT and layout.stored > 8:
        return "one decoder: JPEG of more than 8 bits"
    if layout.syntax in codecs.JPEG and layout.samples == 3:
        return colour_jpeg(dataset, layout)
    try:
        options = {"decoding_plugin": plugins[-1]} if plugins else {}
        theirs, _ = get_decoder(layout.syntax).as_array(dataset, index=0, raw=True, **options)
    except AttributeError:
        return "the second decoder wants an element of the header that has a default here"
    except Exception:
        return f"the second decoder refuses: {pydicom.uid.UID(layout.syntax).name}"
    theirs = theirs.reshape(ours.shape).astype(np.int64) if theirs.size == ours.size else np.full_like(ours, 1 << 40)
    mask = (1 << layout.stored) - 1
    most = int(np.abs((ours & mask) - (theirs & mask)).max())
    if most == 0 or (layout.syntax in _LOSSY and most <= TOLERANCE):
        return "agree"
    return f"DISAGREE by {most}: {pydicom.uid.UID(layout.syntax).name}"


def colour_jpeg(dataset: pydicom.Dataset, layout: codecs.Layout) -> str:
    """Our RGB against Pillow's, by what the stream says of its colours, or else its components as stored."""
    ours = codecs.decode(dataset, layout).astype(np.int64)
    stream = b"".join(dataset.PixelData[start:end] for start, end in layout.fragments[0])
    for verdict, mode in (("agree", None), ("agree: colours that only the header names", "YCbCr")):
        try:
            image = Image.open(io.BytesIO(stream), formats=["JPEG"])
            image.draft(mode, image.size)  # as it is stored, where Pillow takes RGB for YCbCr
            theirs = np.asarray(image, np.int64)
        except Exception:
            return f"the second decoder refuses: {pydicom.uid.UID(layout.syntax).name}"
        if theirs.shape == ours.shape and np.abs(ours - theirs).max() <= TOLERANCE:
            return verdict
    return f"DISAGREE: {pydicom.uid.UID(layout.syntax).name}, colour"
