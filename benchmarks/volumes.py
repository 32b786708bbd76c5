"""Volumes against SimpleITK, nnU-Net's preprocessing and TorchIO: processor time of one core.

The peers are not in requirements.lock. To measure against them: pip install SimpleITK==2.5.7 torchio==1.2.1
nnunetv2==2.8.1
"""

import importlib.util
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

from benchmarks.augmentation import ours, pictures
from benchmarks.paired import Row, processor_seconds, ratio
from medimg.images import quiet
from medimg.images.headers import header
from medimg.images.series import assemble
from medimg.images.volume import read_volume
from medimg.params import Augment, Preprocess
from medimg.params.geometry import Geometry
from medimg.preprocess.steps import Picture, process

SLICES, SIDE = 64, 256
SOURCE, TARGET = (3.0, 0.8, 0.8), 1.5
"""mm: of the volume that is resampled, and of what it becomes"""
CUBE, COUNT = 64, 8
PAIRS = 5
_PEERS = {"SimpleITK": "SimpleITK", "nnU-Net": "nnunetv2", "TorchIO": "torchio"}
NOT_MEASURED = "a GPU; several cores; nnU-Net's cubic splines, which medimg has not; ANTs and dcm2niix"


def measure() -> list[Row]:
    """The peers that are installed."""
    before, rows = torch.get_num_threads(), []
    torch.set_num_threads(1)
    for name, each in (("SimpleITK", _reading), ("nnU-Net", _resampling), ("TorchIO", _augmenting)):
        if importlib.util.find_spec(_PEERS[name]) is None:
            print(f"{name} is not installed: left out")
            continue
        rows.append(each())
    torch.set_num_threads(before)
    return rows


def _row(what: str, peer: Callable[[], object], mine: Callable[[], object]) -> Row:
    return Row(what, *ratio(peer, mine, PAIRS, processor_seconds), goal="≥ 1")


def write_series(folder: Path) -> None:
    """One MR series of raw 16-bit slices, their names in no order."""
    random = np.random.default_rng(0)
    for number in range(SLICES):
        file = Dataset()
        file.file_meta = FileMetaDataset()
        file.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        file.file_meta.MediaStorageSOPClassUID = file.SOPClassUID = MRImageStorage
        file.file_meta.MediaStorageSOPInstanceUID = file.SOPInstanceUID = f"1.2.3.{number}"
        file.StudyInstanceUID, file.SeriesInstanceUID, file.Modality = "1.2.1", "1.2.2", "MR"
        file.ImagePositionPatient, file.ImageOrientationPatient = [0, 0, 2.0 * number], [1, 0, 0, 0, 1, 0]
        file.PixelSpacing, file.InstanceNumber = [0.9, 0.9], number + 1
        file.Rows = file.Columns = SIDE
        file.SamplesPerPixel, file.PhotometricInterpretation, file.PixelRepresentation = 1, "MONOCHROME2", 0
        file.BitsAllocated = file.BitsStored = 16
        file.HighBit = 15
        file.PixelData = random.integers(0, 4096, (SIDE, SIDE), np.uint16).tobytes()
        file.save_as(folder / f"{number * 37 % SLICES:03d}.dcm", enforce_file_format=True)


def _reading() -> Row:
    """Headers read, slices sorted, pixels stacked; both give the same voxels."""
    import SimpleITK

    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(1)

    def theirs(folder: str) -> np.ndarray:
        reader = SimpleITK.ImageSeriesReader()
        reader.SetFileNames(reader.GetGDCMSeriesFileNames(folder))
        return np.asarray(SimpleITK.GetArrayFromImage(reader.Execute()))

    def mine(folder: str) -> np.ndarray:
        with quiet():  # once, as in the processes that read
            (plan,), _ = assemble([header(path) for path in sorted(Path(folder).iterdir())], Geometry())
            return read_volume(plan).pixels[0]

    with tempfile.TemporaryDirectory() as folder:
        write_series(Path(folder))
        if not np.array_equal(theirs(folder), mine(folder)):
            raise RuntimeError("SimpleITK reads other voxels")
        what = f"a series of {SLICES} DICOM slices of {SIDE}² to a volume, against SimpleITK"
        return _row(what, partial(theirs, folder), partial(mine, folder))


def _resampling() -> Row:
    """Crop to what is not 0, z-score, resample: linear in both, ours with anti-aliasing and stored in 8 bits."""
    from nnunetv2.preprocessing.cropping.cropping import crop_to_nonzero
    from nnunetv2.preprocessing.normalization.default_normalization_schemes import ZScoreNormalization
    from nnunetv2.preprocessing.resampling.default_resampling import compute_new_shape, resample_data_or_seg_to_shape

    volume = np.zeros((1, 48, 192, 192), np.float32)
    volume[:, 4:-4, 16:-16, 16:-16] = 300 * pictures(1, (40, 160, 160))[0].numpy() + 1
    settings = Preprocess(spacing=TARGET, size=None, intensity="zscore", foreground=0, channels=1)

    def theirs() -> np.ndarray:
        data, seg, _ = crop_to_nonzero(volume)
        data[0] = ZScoreNormalization(False, {}).run(data[0], seg[0])
        goal = (TARGET, TARGET, TARGET)
        shape = compute_new_shape(data.shape[1:], SOURCE, goal)
        return np.asarray(resample_data_or_seg_to_shape(data, shape, SOURCE, goal, order=1))

    def mine() -> np.ndarray:
        return process(Picture(volume, spacing=SOURCE), settings).image

    if np.abs(np.subtract(theirs().shape, mine().shape)).max() > 1:  # the ends are counted in another way
        raise RuntimeError(f"nnU-Net makes {theirs().shape}, medimg {mine().shape}")
    return _row("a volume of 48 × 192² cropped, z-scored, resampled to 1.5 mm, against nnU-Net (order 1)", theirs, mine)


def _augmenting() -> Row:
    """Affine, gamma and noise at the chances and ranges of the preset mild."""
    import torchio

    settings = Augment(preset="mild")
    turn, gamma, noise = (settings.active()[name] for name in ("affine", "gamma", "noise"))
    compose: Any = torchio.Compose(
        [
            torchio.RandomAffine(
                scales=turn["scale"],
                degrees=(-turn["rotate"], turn["rotate"], 0, 0, 0, 0),
                translation=turn["translate"] * CUBE,
                p=turn["probability"],
            ),
            torchio.RandomGamma(tuple(np.log(gamma["exponent"])), p=gamma["probability"]),
            torchio.RandomNoise(std=noise["std"], p=noise["probability"]),
        ]
    )
    images = pictures(COUNT, (CUBE, CUBE, CUBE))
    what = f"augmentation of {COUNT} volumes of {CUBE}³ (mild), against TorchIO"
    return _row(what, lambda: [compose(image) for image in images], partial(ours, settings, images))
