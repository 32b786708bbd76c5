"""Where the network looked: for each image a Grad-CAM picture, of DICOM images a secondary capture, the map alone."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medimg import __version__
from medimg.predict.evidence import Evidence, instances, saved, sign, uid
from medimg.predict.look import Look
from medimg.saliency import Case, cams, overlay, target
from medimg.store import Geometry

if TYPE_CHECKING:
    from medimg.models.network import Network

AT_ONCE = 32
VOXELS = 2**22
"""Pixels of images whose maps are made at once, at most"""


@dataclass(frozen=True)
class Heatmap:
    """Where the network looked for its surest answer about one image."""

    picture: np.ndarray
    """``(H, 2 W, 3)`` uint8: the image, beside it the same under the map; of a volume, the slice it is highest in"""
    heat: np.ndarray
    """``(H, W)`` or ``(D, H, W)`` in 0…1, on the grid of the preprocessed image"""


def heatmaps(
    network: "Network", page: list[Look], logits: np.ndarray, called: np.ndarray | None
) -> list[Heatmap | None]:
    """The map of each image; None where the network has none.

    Args:
        network: trained; of several that answer together, the mean of their maps is shown.
        page: N images.
        logits: ``(N, K)``.
        called: ``(N, K)`` bool, which questions are answered with yes: the map explains the surest yes, or why even the
            likeliest is a no. None: the outputs are classes of which one is true, or one number.
    """
    views = network.alone()
    layer = target(views[0], page[0].image[None])
    if layer is None:
        return [None] * len(page)
    yes = np.ones_like(logits, bool) if called is None else called
    surest = np.where(yes | ~yes.any(axis=1, keepdims=True), logits, -np.inf).argmax(axis=1)
    cases = [Case(at, "", "", "", 0.0, True, int(k), 1 if yes[at, k] else -1) for at, k in enumerate(surest)]
    found: list[Heatmap | None] = []
    step = max(1, min(AT_ONCE, VOXELS // page[0].image.size))
    for start in range(0, len(page), step):
        images = np.stack([one.image for one in page[start : start + step]])
        maps = np.mean([cams(view, layer, images, cases[start : start + step])[1] for view in views], axis=0)
        maps /= np.maximum(maps.max(axis=tuple(range(1, maps.ndim)), keepdims=True), 1e-12)
        found += [Heatmap(overlay(image, heat), heat) for image, heat in zip(images, maps, strict=True)]
    return found


def write_heatmap(picture: np.ndarray, sample: str, header: Evidence | None, bundle: str, folder: Path) -> bool:
    """Write ``SAMPLE.png`` and, where the image has a DICOM header, ``SAMPLE.dcm`` into ``folder``; False: not that."""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(folder / f"{sample}.png", format="PNG")
    return header is None or saved(partial(_capture, picture, sample, header, bundle), folder / f"{sample}.dcm")


def write_map(heat: np.ndarray, sample: str, geometry: Geometry, folder: Path) -> None:
    """Write a map on the grid that its image came on, 255 where it is highest, 0 where the network saw nothing of it.

    Of an image it is ``SAMPLE.png``, grey, of the image's height and width. Of a volume it is ``SAMPLE.nii.gz`` of the
    volume's columns, rows and slices, which viewers lay over the original.

    Args:
        heat: ``(H, W)`` or ``(D, H, W)`` in 0…1, on the stored grid.
        sample: names the file.
        geometry: of the sample.
        folder: is made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    whole = geometry.restore(heat[None])[0]
    values = np.rint(np.clip(whole, 0, 1, out=whole) * np.float32(255), out=whole).astype(np.uint8)
    if values.ndim == 2:
        from PIL import Image

        Image.fromarray(values).save(folder / f"{sample}.png", format="PNG")
        return
    import nibabel

    affine = None if geometry.affine is None else np.array(geometry.affine)[:, [2, 1, 0, 3]]
    volume = nibabel.Nifti1Image(values.T, affine)
    if affine is None and geometry.spacing is not None:
        volume.header.set_zooms(geometry.spacing[::-1])
    volume.header.set_xyzt_units("mm")
    nibabel.save(volume, folder / f"{sample}.nii.gz")


def _capture(picture: np.ndarray, sample: str, header: Evidence, bundle: str) -> Any:
    from highdicom.sc import SCImage
    from pydicom import Dataset

    sources = instances(header)
    source = sources[0]
    document = SCImage.from_ref_dataset(
        source,
        picture,
        "RGB",
        8,
        "PATIENT",
        series_instance_uid=uid(source.StudyInstanceUID, bundle, "heatmap series"),
        series_number=9002,
        sop_instance_uid=uid(sample, source.SOPInstanceUID, bundle, "heatmap"),
        instance_number=1,
        manufacturer="medimg",
        patient_orientation=("L", "F"),
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        manufacturer_model_name=bundle[:16],
        software_versions=__version__,
    )
    document.PatientOrientation = None  # unknown: two pictures side by side
    document.Laterality = None
    document.ImageType = ["DERIVED", "SECONDARY"]
    document.DerivationDescription = "Grad-CAM of a trained model. Research use only."
    document.SourceImageSequence = [Dataset() for _ in sources]
    for reference, one in zip(document.SourceImageSequence, sources, strict=True):
        reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = one.SOPClassUID, one.SOPInstanceUID
    document.BurnedInAnnotation = "NO"
    sign(document, source)
    return document
