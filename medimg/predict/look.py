"""One file as the network will see it, under pseudonyms: read, preprocessed and measured in a process of its own."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from medimg import images
from medimg.border import profile
from medimg.border.deidentify import nobody
from medimg.border.identity import SiteKey
from medimg.border.issuers import identifier
from medimg.border.staging import place
from medimg.border.standard import vocabulary
from medimg.errors import ImageError, NotAnImage
from medimg.familiar import KINDS, SIZES, intensities
from medimg.files import sha256
from medimg.images import nifti, raster
from medimg.images.headers import header_of
from medimg.images.sniff import HEAD, sniff
from medimg.params import Preprocess
from medimg.predict.evidence import Evidence, crossed, evidence
from medimg.predict.inputs import Job, Known
from medimg.preprocess.sample import picture_of
from medimg.preprocess.steps import Picture, process
from medimg.store import Geometry

NEEDED = ("medimg.images.dicom", "medimg.images.hushed", "pydicom", "imagecodecs", "scipy.sparse", "pandas")
"""What ``look`` imports late."""
_OTHER = "OT"  # what an import writes for a modality that is none
_EXTENSIONS = {"dicom": ".dcm", "nifti": ".nii", "png": ".png", "jpeg": ".jpg"}


@dataclass(frozen=True, repr=False)
class Rules:
    """How files are looked at."""

    key: SiteKey
    settings: Preprocess
    frames: bool
    """whether each frame of a DICOM file is an image"""
    identified: bool
    """whether what the hospital calls file, patient and study is to be told"""
    issuers: bool = False
    """whether the study's imports told patients apart by who issued their PatientIDs"""
    documents: bool = False
    """whether pictures or reports are to be written"""
    numbers: bool = False
    """whether NIfTI files that hold NaN are refused"""


@dataclass(frozen=True, repr=False)
class Look:
    """One image. Only ``identity`` and ``own`` hold words of the hospital."""

    sample: str
    """16 hex digits: those of the index of a study that imported the file under the same site key"""
    patient: str
    study: str | None
    frame: int | None
    image: np.ndarray
    """``(C, …)`` as the store would hold it"""
    geometry: Geometry
    """the grid that it came on, and the way back"""
    facts: dict[str, Any]
    """of ``familiar.KINDS`` and ``SIZES``"""
    numbers: dict[str, float]
    """of ``familiar.INTENSITIES``"""
    identity: dict[str, str] | None = None
    shown: bool = True
    """whether an import would let the picture cross, so that it may be shown under a pseudonym"""
    header: Evidence | None = None
    """of a DICOM file, what a document repeats of its header, under pseudonyms"""
    own: Evidence | None = None
    """the same in the hospital's words"""


def load(job: Job, rules: Rules) -> tuple[bytes, Known | None] | None:
    """The bytes of a file and, if an import wrote these very bytes, what it knows of them; None: it is no image.

    Raises:
        ImageError: it cannot be used.
    """
    try:
        data = job.item.load()
    except NotAnImage:
        return None
    check_numbers(data, rules)
    return data, job.known if job.known and sha256(data) == job.known.sha256 else None


def look(job: Job, rules: Rules) -> list[Look] | None:
    """The images of one file; None: it is no image.

    Raises:
        ImageError: it cannot be used.
    """
    loaded = load(job, rules)
    if loaded is None:
        return None
    data, known = loaded
    frames: list[int | None] = [None]
    if rules.frames and sniff(data[:HEAD]) == "dicom":
        count = images.guarded(lambda: header_of(data, "")).facts.frames
        frames = list(range(count)) if count > 1 else [None]
    documents = _documents(data, job, known is not None, rules) if rules.documents else {}
    looks: list[Look] = []
    for frame in frames:
        image = images.read_bytes(data, frame, voi=rules.settings.window == "header")
        facts = image.facts if known else as_crossed(image.facts)
        if known:
            path, study = known.path, facts.study
            patient = known.patient or facts.patient or f"image-{_name(path, frame)}"
        else:
            patient = rules.key.patient(identifier(facts, rules.issuers) or nobody(image, data, rules.key))
            path = place(data, patient, _extension(data, facts.format), rules.key)
            study = rules.key.uid(facts.study) if facts.study else None
        said = {"identity": identity(job, facts, data) if rules.identified else None}
        about = {"patient": patient, "study": study, "frame": frame} | said | documents
        looks.append(look_of(_name(path, frame), facts, picture_of(image), rules, about))
    return looks


def look_of(sample: str, facts: images.Facts, picture: Picture, rules: Rules, about: dict[str, Any]) -> Look:
    """What was read, preprocessed and measured; ``about``: the other fields of a ``Look``.

    Raises:
        ImageError: as ``preprocess.steps.process``.
    """
    row = process(picture, rules.settings)
    known = {name: getattr(facts, name) for name in (*KINDS, *SIZES)}
    return Look(sample, image=row.image, geometry=row.geometry, facts=known, numbers=intensities(row.image), **about)


def check_numbers(data: bytes, rules: Rules) -> None:
    """Refuse what ingest refused of the training data.

    Raises:
        ImageError: NOT_A_NUMBER.
    """
    if rules.numbers and sniff(data[:HEAD]) == "nifti":
        images.guarded(lambda: nifti.check_numbers(data))


def _documents(data: bytes, job: Job, known: bool, rules: Rules) -> dict[str, Any]:
    """``shown``, ``header`` and ``own`` of a ``Look``."""
    clean = data if known else crossed(data, job.item.name, rules.key, rules.issuers)
    dicom = sniff(data[:HEAD]) == "dicom"
    return {
        "shown": clean is not None,
        "header": evidence(clean) if dicom and clean is not None else None,
        "own": evidence(data) if dicom and rules.identified else None,
    }


def _name(path: str, frame: int | None) -> str:
    """As ingest names a sample."""
    return sha256((path if frame is None else f"{path}#{frame}").encode())[:16]


def as_crossed(facts: images.Facts) -> images.Facts:
    """Facts with those terms that an import keeps: the training data were read behind one, which drops any other."""
    if facts.format != "dicom":
        return facts
    known = vocabulary()
    modality, part, view, side = (
        term if term in known else None for term in (facts.modality, facts.body_part, facts.view, facts.laterality)
    )
    other = _OTHER if facts.modality else None
    return replace(facts, modality=modality or other, body_part=part, view=view, laterality=side)


def _extension(data: bytes, kind: str) -> str:
    turned = kind == "jpeg" and raster.orientation(data) != 1  # the import writes it anew, the right way up
    return ".png" if turned else _EXTENSIONS[kind]


def identity(job: Job, facts: images.Facts, data: bytes) -> dict[str, str]:
    """What the hospital calls a file, its patient, study, series and instance."""
    accession = None
    if facts.format == "dicom":
        try:
            accession = profile.accession(data)
        except ImageError:
            accession = None
    said = {"file": job.item.name, "patient_id": facts.patient, "study_uid": facts.study}
    said |= {"series_uid": facts.series, "instance_uid": facts.instance, "accession": accession}
    return {name: value or "" for name, value in said.items()}
