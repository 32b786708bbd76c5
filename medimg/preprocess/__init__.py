"""What every image goes through once: MONAI's deterministic transforms, nothing computed across samples."""

import csv
import json
import sys
from collections.abc import Iterator
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medimg import images
from medimg.errors import DataError, Refusal
from medimg.files import publish, sha256, sha256_file, sha256_json
from medimg.params import Preprocess
from medimg.params.geometry import Geometry as Stacking
from medimg.params.preprocess import CT_WINDOWS
from medimg.preprocess.intensity import coding
from medimg.preprocess.sample import Source, compute
from medimg.records import DATA, INDEX, INDEX_SCHEMA, STORE, UNPROCESSED, UNPROCESSED_COLUMNS, read_table
from medimg.store import Row, Store, check_tables, rebuild
from medimg.work import Failure, Limits, Progress, over, spread

if TYPE_CHECKING:
    import pandas as pd

LIBRARIES = (  # they decide pixels
    *("imagecodecs", "monai", "nibabel", "numpy", "pillow", "pydicom", "scipy", "torch"),
    *("pyjpegls", "pylibjpeg", "pylibjpeg-openjpeg"),
)
_NEEDED = (
    *("imagecodecs", "medimg.images.dicom", "medimg.images.hushed", "medimg.preprocess.sample"),
    *("pydicom.encaps", "scipy.sparse"),
)
_CHANCE = (Refusal.CRASHED, Refusal.TIMEOUT, Refusal.MEMORY, Refusal.UNREADABLE)  # may end otherwise another time
Failed = tuple[str, str, str, str]
"""sample, path, code, detail"""


def preprocess(settings: Preprocess, sample: str = "image", stacking: Stacking = Stacking()) -> None:  # noqa: B008
    """Bring every sample of the index into ``artifacts/store``; what the store holds already is copied.

    A sample that cannot be preprocessed is named in ``artifacts/unprocessed.csv``, and the rest goes on.

    Args:
        settings: the block ``preprocess`` of params.yaml.
        sample: ``ingest.sample``: image or volume.
        stacking: ``ingest.geometry``, by which volumes are put together again.

    Raises:
        DataError: the parameters do not fit the samples, or too many of these cannot be preprocessed.
    """
    index = read_table(INDEX, INDEX_SCHEMA)
    _check(index, settings, sample)
    sources: dict[str, list[Source]] = {}
    for key, source in _sources(index, settings, stacking if sample == "volume" else None):
        sources.setdefault(key, []).append(source)
    keys = {source.sample: key for key, alike in sources.items() for source in alike}
    code = coding(settings)
    built = rebuild(
        STORE,
        keys,
        code.dtype,
        scale=code.scale,
        offset=code.offset,
        ragged=settings.size is None,
        before=_in_place(),
        remote=settings.remote,
    )
    failures: list[Failed] = []
    with built as store:
        kept = len(sources) - len(store.missing)
        missing = [(key, sources[key][0]) for key in sorted(store.missing)]
        for (key, _), result in _computed(missing, settings, stacking):
            if isinstance(result, Failure):
                store.drop(key)
                failures += [(one.sample, one.path, result.code, result.detail) for one in sources[key]]
            else:
                store.put(key, result)
        _refuse(failures, len(index), settings.max_quarantined)
        lost = len(missing) + kept - store.rows
    _write(failures)
    print(
        f"{len(keys) - len(failures)} samples ({len(sources) - lost} different) in {STORE}: "
        f"{len(missing) - lost} computed, {kept} kept"
        + (f"; {len(failures)} could not be preprocessed, see {UNPROCESSED}" if failures else "")
    )


def key_of(
    shas: tuple[str | None, ...], which: object, settings: Preprocess, code: str, stacking: Stacking | None = None
) -> str:
    """What the result depends on, as 32 hex digits.

    Args:
        shas: SHA-256 of the file, or of several files' hashes, and of the mask.
        which: the frame of the file, or the volume, where it holds several.
        settings: those parameters that touch it count.
        code: ``code_version()``.
        stacking: how volumes are put together; None: of an image.
    """
    return _key(shas, which, _shared(settings, code, stacking))


def _shared(settings: Preprocess, code: str, stacking: Stacking | None) -> str:
    """What the keys of all samples have in common, hashed."""
    stacked = stacking.model_dump(mode="json") if stacking else None
    return sha256_json([stacked, settings.touching(), code])


def _key(shas: tuple[str | None, ...], which: object, shared: str) -> str:
    return sha256(f"{json.dumps([*shas, which])} {shared}".encode())[:32]


def code_version() -> str:
    """SHA-256 of what computes a sample: this room, the one that reads images, and the libraries' versions."""
    rooms = [Path(__file__).parent, Path(images.__file__).parent]
    sources = [path for room in rooms for path in sorted(room.glob("*.py")) if path != Path(__file__)]
    libraries = [f"{name} {version(name)}" for name in LIBRARIES]
    return sha256_json([*(sha256_file(path) for path in sources), *libraries])


def _sources(index: "pd.DataFrame", settings: Preprocess, stacking: Stacking | None) -> Iterator[tuple[str, Source]]:
    """Key and source of each sample."""
    common = _shared(settings, code_version(), stacking)
    several = index.duplicated("path", keep=False)  # volumes of one file
    names = ["sample", "path", "paths", "frame", "mask", "file_sha256", "mask_sha256"]
    known = index[names].astype(object)
    rows: Iterator[tuple[Any, ...]] = known.where(known.notna(), None).itertuples(index=False, name=None)
    for (sample, path, paths, frame, mask, *shas), shared in zip(rows, several, strict=True):
        files = tuple(json.loads(paths)) if paths else (path,)
        at = None if frame is None else int(frame)
        which = (sample if shared else None) if stacking else at
        key = _key(tuple(shas), which, common)
        yield key, Source(sample, files, at, stacking is not None, mask)


def _check(index: "pd.DataFrame", settings: Preprocess, sample: str) -> None:
    """Parameters against samples.

    Raises:
        DataError: they do not fit.
    """
    rank, kind = (3, "volumes") if sample == "volume" else (2, "images")
    try:
        settings.axes(rank)
    except ValueError as error:
        raise DataError(f"{error}, but the samples are {kind}, of {rank} axes. Name {rank} numbers, or one.") from None
    if settings.orientation and rank == 2:
        raise DataError("preprocess.orientation is for volumes (ingest.sample: volume). Set it to null for images.")
    if settings.window == "header" and rank == 3:
        raise DataError("preprocess.window: header is for images. For volumes, name the lowest and highest value.")
    if settings.window in CT_WINDOWS:
        others = index["modality"].notna() & (index["modality"] != "CT")
        if others.any():
            raise DataError(
                f"preprocess.window: {settings.window} is a window of CT, and {int(others.sum())} of {len(index)} "
                "samples are of another modality. Name the lowest and highest value, or null for percentiles."
            )


def _computed(
    missing: list[tuple[str, Source]], settings: Preprocess, stacking: Stacking
) -> Iterator[tuple[tuple[str, Source], "Row | Failure"]]:
    """Each missing sample, in order of completion; what failed in a way that may have been chance, once more, alone."""
    job = partial(compute, root=DATA, settings=settings, stacking=stacking)
    limits, needed = Limits(settings.seconds, settings.memory), [*_NEEDED]
    if settings.kernel == "monai":
        needed.append("monai.transforms")
    progress = Progress("samples", len(missing))
    again = []
    chunk = 4 if missing and missing[0][1].volume else 32  # its results are in memory together
    ours = spread(job, missing, limits=limits, preload=tuple(needed), stage="preprocess", chunk=chunk)
    for item, result in ours:
        if isinstance(result, Failure) and result.code in _CHANCE:
            again.append(item)
            continue
        progress.step()
        yield item, result
    yield from over(job, again, processes=1, limits=limits, preload=tuple(needed))


def _refuse(failures: list[Failed], total: int, allowed: float) -> None:
    """Raises:
    DataError: more than the allowed share of the samples failed.
    """
    if failures and len(failures) > allowed * total:
        first = "\n  ".join(f"{path} ({code}: {detail})" for _, path, code, detail in sorted(failures)[:5])
        raise DataError(
            f"{len(failures)} of {total} samples could be read but not preprocessed, more than "
            f"preprocess.max_quarantined {allowed:g} allows. Remove them from the source and import again, change "
            f"the parameters, or allow more. The first:\n  {first}"
        )


def _write(failures: list[Failed]) -> None:
    with publish(UNPROCESSED) as partial_, partial_.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(UNPROCESSED_COLUMNS)
        rows.writerows(sorted(failures))


def _in_place() -> Store | None:
    """The store of the last run; None when there is none, or none that can be used: then everything is computed."""
    if not STORE.exists():
        return None
    try:
        check_tables(STORE)
        return Store.open(STORE)
    except DataError as error:
        print(f"warning: every sample is computed anew, since the last store cannot be used. {error}", file=sys.stderr)
        return None
