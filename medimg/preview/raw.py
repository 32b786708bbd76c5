"""The raw picture of a sample: the file as it came, or the middle slice of a volume."""

import json

import numpy as np
import pandas as pd

from medimg import images
from medimg.errors import ImageError, MedimgError, Refusal
from medimg.images.headers import header
from medimg.images.series import assemble
from medimg.images.volume import read_volume
from medimg.params.geometry import Geometry
from medimg.records import DATA


def raw(row: pd.Series, stacking: Geometry | None = None) -> tuple[np.ndarray, float] | None:
    """``(C, H, W)`` in 0…1, its 0.5 and 99.5 percentiles black and white; and a row's spacing by a column's.

    Args:
        row: of the index.
        stacking: how volumes are put together, ``ingest.geometry``; None: the sample is an image.

    Returns:
        None where the files make no picture by themselves.
    """
    try:
        pixels = _image(row) if stacking is None else _slice(row, stacking)
    except MedimgError:
        return None
    values = pixels.astype(np.float32)
    low, high = np.percentile(values, (0.5, 99.5))
    spacing = (row["spacing_row"], row["spacing_column"])
    known = all(pd.notna(value) and value > 0 for value in spacing)
    return ((values - low) / max(high - low, 1e-6)).clip(0, 1), spacing[0] / spacing[1] if known else 1.0


def _image(row: pd.Series) -> np.ndarray:
    return images.read(DATA / row["path"], None if pd.isna(row["frame"]) else int(row["frame"])).pixels


def _slice(row: pd.Series, stacking: Geometry) -> np.ndarray:
    paths = json.loads(row["paths"]) if pd.notna(row["paths"]) else [row["path"]]
    plans, _ = assemble([header(DATA / path, path) for path in paths], stacking)
    plan = next((plan for plan in plans if plan.key == row.name), None)
    if plan is None:
        raise ImageError(Refusal.CONFLICT, "its files make another volume than ingest found")
    pixels = read_volume(plan, DATA).pixels
    return pixels[:1, pixels.shape[1] // 2]
