"""``medimg fetch``: a public set, from its publisher to a folder of images and a table that ``medimg import`` takes."""

import csv
import gzip
import io
import os
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from medimg.errors import DataError, MedimgError
from medimg.fetch import catalog
from medimg.fetch.catalog import PublicSet
from medimg.files import lock, publish_folder, write_text

PARTS = {"train": "train", "val": "validation", "test": "test"}
"""the publisher's names of the parts, and those of ``split.column``"""
_BLOCK = 2**16  # bytes; of a download that is cut off, less than this is lost

_ABOUT = """{name}, {size} pixels: {what}
{counts}
Licence: {licence}. For research; what you publish with it cites Yang et al. 2023, doi:10.1038/s41597-022-01721-8.
Source: {url} (MD5 {md5})

labels.csv: path, set (the publisher's part of each image), {columns}.
The publisher does not say which images are of one patient.
"""


def cache() -> Path:
    """Where downloads stay: MEDIMG_CACHE, by default below the user's cache folder."""
    return Path(os.environ.get("MEDIMG_CACHE") or Path.home() / ".cache" / "medimg") / "public"


def fetch(name: str, size: int, out: Path, mirror: str | None = None) -> str:
    """Download a set once, verify it, and write it as images with a table beside them.

    Args:
        name: one of ``catalog.SETS``.
        size: pixels of a side.
        out: the folder to make: ``PART/NUMBER.png`` or ``.nii.gz`` (volumes; axes as in the array, voxels of 1 mm
            because the publisher gives none), ``labels.csv``, ``ABOUT.txt``.
        mirror: an address below which the publisher's files lie; the publisher's own by default.

    Returns:
        what was fetched, with its licence, for people.

    Raises:
        DataError: there is no such set or size, ``out`` is there, or the file is not what the publisher describes.
        MedimgError: it cannot be downloaded.
    """
    entry = _entry(name, size)
    if out.exists():
        raise DataError(f"{out} is there already. Name another folder with --out, or remove it.")
    file = entry.file(name, size)
    url = f"{(mirror or catalog.URL).rstrip('/')}/{file}"
    path = _download(url, file, entry.md5[size])
    about = ""
    with publish_folder(out) as folder:
        counts = _write(path, entry, folder)
        columns = ", ".join(entry.labels) if entry.multilabel else "label"
        about = _ABOUT.format(
            name=name,
            size=size,
            what=entry.what,
            counts=", ".join(f"{part}: {count}" for part, count in counts.items()),
            licence=entry.licence,
            url=url,
            md5=entry.md5[size],
            columns=columns,
        )
        write_text(folder / "ABOUT.txt", about)
    return about


def _entry(name: str, size: int) -> PublicSet:
    entry = catalog.SETS.get(name)
    if entry is None:
        raise DataError(f"There is no public set {name!r}. There are: {', '.join(catalog.SETS)}.")
    if size not in entry.md5:
        raise DataError(f"{name} is published at {', '.join(map(str, entry.md5))} pixels, not at {size}: --size.")
    return entry


def _download(url: str, file: str, md5: str) -> Path:
    """The verified file in the cache; a download that was cut off goes on where it ended."""
    import pooch
    import requests

    pooch.get_logger().setLevel("WARNING")
    part = cache() / f"{file}.part"

    def resume(url: str, output: str, _: object) -> None:
        _continue(url, part)
        part.replace(output)

    cache().mkdir(parents=True, exist_ok=True)
    try:
        with lock(cache() / f"{file}.lock", "A download of this file"):
            return Path(pooch.retrieve(url, f"md5:{md5}", fname=file, path=cache(), downloader=resume))
    except requests.RequestException as error:
        raise MedimgError(
            f"{url} cannot be downloaded ({type(error).__name__}). What has come stays: the same command goes on from "
            "there. On a machine without a network, name a copy of the publisher's files with --mirror."
        ) from error
    except ValueError as error:  # of pooch: the hash
        raise DataError(
            f"What came from {url} has not the MD5 {md5} that the publisher gives. Nothing of it was kept. Try again; "
            "if it comes out the same, the file there is another one."
        ) from error


def _continue(url: str, part: Path) -> None:
    """Append to ``part`` what it lacks; from the start where the server cannot go on in the middle."""
    import requests

    have = part.stat().st_size if part.is_file() else 0
    headers = {"Range": f"bytes={have}-", "Accept-Encoding": "identity"} if have else {"Accept-Encoding": "identity"}
    with requests.get(url, headers=headers, stream=True, timeout=60) as answer:
        if answer.status_code == requests.codes.requested_range_not_satisfiable:
            return  # it is whole already; its hash is looked at next
        answer.raise_for_status()
        goes_on = answer.status_code == requests.codes.partial_content
        done = have if goes_on else 0
        total = done + int(answer.headers.get("Content-Length", 0))
        with part.open("ab" if goes_on else "wb") as file:
            for block in answer.iter_content(_BLOCK):
                file.write(block)
                done += len(block)
                if sys.stderr.isatty():
                    print(f"\r{done / 1e6:.0f} of {total / 1e6:.0f} MB", end="", file=sys.stderr)
        if done < total:
            raise requests.ConnectionError("the connection ended early")


def _write(path: Path, entry: PublicSet, folder: Path) -> dict[str, int]:
    """Images and table into ``folder``; how many in each part."""
    counts = {}
    labels = list(entry.labels) if entry.multilabel else ["label"]
    with zipfile.ZipFile(path) as archive, (folder / "labels.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["path", "set", *labels])
        for theirs, ours in PARTS.items():
            (folder / ours).mkdir()
            said = _labels(archive, f"{theirs}_labels.npy", entry)
            counts[ours] = len(said)
            images = _images(archive, f"{theirs}_images.npy", len(said), 3 if entry.volumes else 2)
            for number, (image, row) in enumerate(zip(images, said, strict=True)):
                name = f"{ours}/{number:06d}{'.nii.gz' if entry.volumes else '.png'}"
                (folder / name).write_bytes(_volume(image) if entry.volumes else _png(image))
                table.writerow([name, ours, *row])
    return counts


@contextmanager
def _member(archive: zipfile.ZipFile, name: str) -> Iterator[tuple[IO[bytes], tuple[int, ...], np.dtype[Any]]]:
    """An array in the archive: its bytes to come, shape and type. Nothing in it is ever run."""
    try:
        with archive.open(name) as file:
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, fortran, dtype = read(file)
            if fortran or dtype.hasobject:
                raise DataError(f"{name} is no array of numbers, row by row, as the publisher describes it.")
            yield file, shape, dtype
    except KeyError as error:
        raise DataError(f"The file has no {name}, which the publisher describes.") from error


def _labels(archive: zipfile.ZipFile, name: str, entry: PublicSet) -> list[list[str]]:
    """A row an image: its class, or 0 and 1 for each finding."""
    with _member(archive, name) as (file, shape, dtype):
        numbers = np.frombuffer(file.read(), dtype).reshape(shape).astype(int)
    width, top = (len(entry.labels), 1) if entry.multilabel else (1, len(entry.labels) - 1)
    if numbers.ndim != 2 or numbers.shape[1] != width or not (0 <= numbers.min() <= numbers.max() <= top):
        raise DataError(f"{name} holds other labels than the publisher describes.")
    if entry.multilabel:
        return [[str(value) for value in row] for row in numbers]
    return [[entry.labels[value]] for value in numbers[:, 0]]


def _images(archive: zipfile.ZipFile, name: str, count: int, dims: int) -> Iterator[NDArray[np.uint8]]:
    """One image after the other: (H, W), (H, W, 3) or (D, H, W); sets of twelve gigabytes do not fit into memory."""
    with _member(archive, name) as (file, shape, dtype):
        one = shape[1:]
        grey, colour = len(one) == dims, dims == 2 and len(one) == 3 and one[-1] == 3
        if dtype != np.uint8 or shape[0] != count or not (grey or colour):
            raise DataError(f"{name} holds other images than the publisher describes.")
        size = int(np.prod(one))
        for _ in range(count):
            yield np.frombuffer(file.read(size), np.uint8).reshape(one)


def _png(image: NDArray[np.uint8]) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    return stream.getvalue()


def _volume(image: NDArray[np.uint8]) -> bytes:
    from nibabel.nifti1 import Nifti1Image

    return gzip.compress(Nifti1Image(image, np.eye(4)).to_bytes(), mtime=0)
