"""Text burned into pixels: which share of the lines the detector finds, by height of the letters and by contrast.

Made-up names, dates and numbers are drawn over real images. A line counts as found if the boxes cover nine tenths of
its pixels. Needs the extra ocr.
"""

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from pydicom.data.data_manager import DATA_ROOT

from benchmarks.paired import ROOT, Row
from medimg.border import ocr
from medimg.errors import ImageError, NotAnImage
from medimg.images import quiet, read

HEIGHTS = (8, 12, 24)
"""of the letters' font, pixels"""
CONTRASTS = (0.5, 0.2, 0.1, 0.05)
"""over what lies below, as a share of the range from the darkest to the brightest pixel"""
SMALLEST, LARGEST = 256, 1024
LINES = ("ZEBRAFINK^ANNA", "1961-03-02", "ID 4711-0815", "St. Ottilien 14:35", "Dr. Huber", "F 063Y")
NOT_MEASURED = "handwriting; letters of other scripts than Latin; text that a device has blurred or compressed away"


def measure() -> list[Row]:
    """Recall over all lines, by height and contrast; and how often an image without text is masked in part."""
    if not ocr.installed():
        print("the extra ocr is not installed: left out")
        return []
    images = list(_images())
    rows = []
    for contrast in CONTRASTS:
        for height in HEIGHTS:
            shares = [_found(image, height, contrast, seed) for seed, image in enumerate(images)]
            what = f"letters of {height} px, contrast {contrast:.0%}: lines found, over {len(images)} images"
            rows.append(Row(what, float(np.mean(shares)), min(shares), max(shares)))
    areas = [float(_covered(image.shape, ocr.faint(image)).mean()) for image in images]
    rows.append(Row("share of an image without text that is masked", float(np.mean(areas)), min(areas), max(areas)))
    return rows


def _images() -> Iterator[np.ndarray]:
    """Real ones, grey, 0 to 255, of different makers and parts of the body: up to two of each collection."""
    shared = ROOT.parent / "shared" / "data"
    for root in [Path(DATA_ROOT) / "test_files", *(sorted(shared.iterdir()) if shared.is_dir() else [])]:
        files = sorted(path for path in root.rglob("*") if path.is_file())
        usable = (grey for path in files[:: max(1, len(files) // 100)] if (grey := _grey(path)) is not None)
        yield from itertools.islice(usable, 2)


def _grey(path: Path) -> np.ndarray | None:
    """An image that has no text of its own; None for any other file."""
    try:
        with quiet():
            image = read(path)
    except (ImageError, NotAnImage):
        return None
    pixels = image.pixels[0].astype(np.float64)
    small = min(pixels.shape) < SMALLEST or max(pixels.shape) > LARGEST or pixels.max() <= pixels.min()
    if small or len(image.pixels) > 1 or image.facts.modality not in (None, "CT", "MR", "CR", "DX", "MG", "PT"):
        return None
    return ((pixels - pixels.min()) * (255 / (pixels.max() - pixels.min()))).astype(np.uint8)


def _found(image: np.ndarray, height: int, contrast: float, seed: int) -> float:
    """The share of the lines drawn over an image that the detector covers."""
    random = np.random.default_rng(seed)
    font = ImageFont.load_default(height)
    picture, lines = image.astype(np.float64), []
    slots = np.linspace(0, image.shape[0] - 2 * height, len(LINES)).astype(int)
    for text, top in zip(LINES, slots, strict=True):
        canvas = Image.new("L", image.shape[::-1])
        width = round(font.getlength(text))
        left = int(random.integers(0, max(1, image.shape[1] - width)))
        ImageDraw.Draw(canvas).text((left, int(top)), text, fill=255, font=font)
        ink = np.asarray(canvas) / 255
        lines.append(ink > 0.5)
        picture = np.where(ink > 0, np.clip(picture + ink * contrast * 255, 0, 255), picture)
    covered = _covered(image.shape, ocr.faint(picture.astype(np.uint8)))
    return float(np.mean([covered[line].mean() >= 0.9 for line in lines if line.any()]))


def _covered(shape: tuple[int, ...], boxes: list[ocr.Box]) -> np.ndarray:
    mask = np.zeros(shape, bool)
    for top, left, bottom, right in boxes:
        mask[top:bottom, left:right] = True
    return mask
