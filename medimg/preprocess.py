"""What every image goes through once: MONAI's deterministic transforms, nothing computed across samples."""

from functools import lru_cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from medimg import images
from medimg.errors import DataError
from medimg.files import sha256_file, sha256_json
from medimg.params import Preprocess
from medimg.records import DATA, INDEX, INDEX_SCHEMA, STORE, read_table
from medimg.store import Geometry, Row, Store, rebuild
from medimg.work import Failure, over

LIBRARIES = ("imagecodecs", "monai", "nibabel", "numpy", "pillow", "pydicom", "torch")  # they decide pixels
LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601


def preprocess(settings: Preprocess) -> None:
    """Bring every sample of the index into ``artifacts/store``; samples that the store holds already are copied.

    Raises:
        DataError: a sample that ingest could read cannot be preprocessed.
    """
    index = read_table(INDEX, INDEX_SCHEMA)
    code = code_version()
    keys = {
        sample: key_of(sha, settings, code) for sample, sha in zip(index["sample"], index["file_sha256"], strict=True)
    }
    before = _store_in_place()
    held = before.keys if before else {}
    paths = zip(index["sample"], index["path"], strict=True)
    missing = {keys[sample]: path for sample, path in paths if keys[sample] not in held}
    shape = (settings.channels, settings.size, settings.size)
    with rebuild(STORE, keys, shape, np.dtype(settings.dtype), before) as store:
        job = partial(_compute, settings=settings)
        failed: list[str] = []
        for (key, path), result in over(job, missing.items(), preload=("monai.transforms",)):
            if isinstance(result, Failure):
                failed.append(f"{path} ({result.code}: {result.detail})")
            else:
                store.put(key, result)
        if failed:
            raise DataError(
                f"{len(failed)} of {len(index)} images could be read but not preprocessed. Remove them from the source "
                "and import again, or report it. The first:\n  " + "\n  ".join(sorted(failed)[:5])
            )
    rows = len(set(keys.values()))
    print(f"{len(index)} samples ({rows} different) in {STORE}: {len(missing)} computed, {rows - len(missing)} kept")


def key_of(file_sha256: str, settings: Preprocess, code: str) -> str:
    """What the result depends on, as 32 hex digits: the source bytes, the parameters, the code."""
    return sha256_json([file_sha256, settings.model_dump(mode="json"), code])[:32]


def code_version() -> str:
    """SHA-256 of what computes a sample: this module, the room that reads images, and the libraries' versions."""
    room = Path(images.__file__).parent
    sources = [Path(__file__), *sorted(room.glob("*.py"))]
    libraries = [f"{name} {version(name)}" for name in LIBRARIES]
    return sha256_json([*(sha256_file(path) for path in sources), *libraries])


def apply(pixels: np.ndarray, settings: Preprocess) -> np.ndarray:
    """One image as the network will see it, before augmentation.

    Args:
        pixels: ``(C, H, W)``, brighter is higher, any number type.
        settings: the block ``preprocess`` of params.yaml.

    Returns:
        ``(settings.channels, size, size)`` in ``settings.dtype``; 0 is the darkest, its maximum the brightest.
    """
    image = _channels(pixels.astype(np.float32), settings.channels)
    scaled = np.asarray(transforms(settings, *_fitted(image.shape[1], image.shape[2], settings))(image))
    top = np.iinfo(settings.dtype).max
    result: np.ndarray = np.rint(np.clip(scaled, 0, 1) * top).astype(settings.dtype)
    return result


@lru_cache(maxsize=64)
def transforms(settings: Preprocess, height: int, width: int) -> Any:
    """The MONAI ``Compose`` that ``settings`` describe: ``(C, H, W)`` float32 → ``(C, size, size)`` in 0…1.

    The image becomes ``height`` × ``width`` pixels before it is padded.
    """
    import torch
    from monai.data import set_track_meta
    from monai.transforms import Compose, Resize, ScaleIntensityRange, ScaleIntensityRangePercentiles, SpatialPad

    torch.set_num_threads(1)  # the processes around us are the parallelism
    set_track_meta(False)
    size = settings.size
    scale, bounds = (
        (ScaleIntensityRange, settings.window)
        if settings.window is not None
        else (ScaleIntensityRangePercentiles, settings.percentiles)
    )
    intensity = scale(*bounds, b_min=0.0, b_max=1.0, clip=True)
    resize = Resize((height, width), mode="bilinear", align_corners=False, anti_aliasing=True)
    return Compose([intensity, resize, SpatialPad((size, size))])


def _fitted(height: int, width: int, settings: Preprocess) -> tuple[int, int]:
    """Height and width after the resize: the longer side becomes ``size``, the shorter at least one pixel."""
    if settings.fit == "stretch":
        return settings.size, settings.size
    factor = settings.size / max(height, width)
    return max(1, round(height * factor)), max(1, round(width * factor))


def _store_in_place() -> Store | None:
    """The store of the last run; None when there is none, or none that is whole: then everything is computed."""
    try:
        return Store.open(STORE)
    except DataError:
        return None


def _channels(pixels: np.ndarray, channels: int) -> np.ndarray:
    if len(pixels) == channels:
        return pixels
    if channels == 1:
        return np.tensordot(np.array(LUMINANCE, np.float32), pixels, axes=1)[None]
    return np.repeat(pixels, 3, axis=0)


def _compute(item: tuple[str, str], settings: Preprocess) -> Row:
    _, path = item
    image = images.read(DATA / path)
    facts = image.facts
    geometry = Geometry(facts.height, facts.width, facts.spacing_row, facts.spacing_column)
    return Row(apply(image.pixels, settings), geometry)
