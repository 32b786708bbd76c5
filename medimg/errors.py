"""Everything that can go wrong and that a person can mend.

::

    MedimgError            a sentence for a person; a command that ends with one exits with status 2
    ├── ParamsError        params.yaml: an unknown key, a value out of range
    ├── DataError          data/: missing, empty, or not what its import statement says
    │   └── LabelsError    labels.csv: missing, a column that is not there, one class only, rows that contradict
    ├── BorderError        medimg import: a source that cannot be read, an output that holds something else
    ├── SplitError         a split that would leak, or that cannot be drawn
    ├── TrainingError      a batch that cannot be shared, weights that do not fit, a loss that is not a number
    ├── ClusterError       the Ray cluster does not answer, or a node cannot do its share
    ├── BusyError          another process holds the lock
    ├── RegistryError      registry/: no champion, a history that was changed, a model that may not be champion
    │   └── AwayError      a bundle that is neither in DVC's cache nor to be had from its remote now
    ├── NightError         a night that ends before its decision, with the exit status that says why
    ├── ImageError         one file that cannot be used: a code of ``Refusal`` and a plain sentence
    └── NotAnImage         one file that was never meant to be one (labels.csv, a DICOM report): counted, no error

Messages say what, where, what is allowed and what to do. They hold counts and pseudonyms, never a name or a value that
was read from an image header.
"""

from enum import StrEnum
from typing import Self


class MedimgError(Exception):
    """A sentence for a person: what is wrong, where, what is allowed, what to do."""


class ParamsError(MedimgError):
    """params.yaml holds an unknown key or a value that is not allowed."""


class DataError(MedimgError):
    """data/ is missing, empty, or not what its import statement says."""


class LabelsError(DataError):
    """labels.csv is missing or cannot be used."""


class BorderError(MedimgError):
    """An import cannot start or must not go on."""


class SplitError(MedimgError):
    """A split would leak or cannot be drawn."""


class TrainingError(MedimgError):
    """Training cannot start, or its result cannot be used."""


class ClusterError(MedimgError):
    """The Ray cluster that RAY_ADDRESS names does not answer, or a node cannot do its share."""


class BusyError(MedimgError):
    """Another process holds the lock."""


class RegistryError(MedimgError):
    """registry/ names no champion, its history was changed, or a model is not whole."""


class AwayError(RegistryError):
    """A bundle is neither in DVC's cache nor to be had from its remote now."""


class NightError(MedimgError):
    """A night ends before its decision; ``status`` is what ``medimg retrain`` exits with."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(status, sentence)
        self.status = status
        self.sentence = sentence

    def __str__(self) -> str:
        return self.sentence


class Refusal(StrEnum):
    """Why a file is quarantined: the closed list. The value is what stands in quarantine.csv."""

    sentence: str
    """what it means, for people"""

    def __new__(cls, code: str, sentence: str = "") -> Self:
        """A code and what it means."""
        member = str.__new__(cls, code)
        member._value_ = code
        member.sentence = sentence
        return member

    UNREADABLE = "unreadable", "The file cannot be read, or it is empty."
    CORRUPT = "corrupt", "Header or pixels do not decode."
    TRUNCATED = "truncated", "The file ends before its pixels do."
    UNSUPPORTED = "unsupported", "A format, compression or colour that medimg does not read."
    GEOMETRY = "geometry", "A pixel spacing or shape that cannot be true, or a mask of another shape."
    NOT_2D = "not-2d", "Several frames or slices where one image is expected."
    NOT_A_NUMBER = "not-a-number", "Pixels that are not numbers (NaN), as around a resampled volume."
    NOT_3D = "not-3d", "Too few slices for a volume, or slices that do not say where they lie."
    LOCALIZER = "localizer", "A scout image, no slice of a volume."
    SHAPES = "mixed-shapes", "Slices of one volume differ in size or pixel spacing."
    MISSING = "missing-slice", "A gap between the slices of a volume, or fewer of them than at other times."
    UNEVEN = "uneven-spacing", "Slices at uneven distances, or out of line."
    BLANK = "blank", "No pixel is as bright as preprocess.foreground asks for."
    TILT = "gantry-tilt", "Slices stacked at a slant."
    DUPLICATE = "duplicate-position", "Two slices at one place, which nothing tells apart."
    NO_PATIENT = "no-patient", "Nothing says whose image it is."
    CONFLICT = "conflict", "Two files, or a file and labels.csv, contradict each other about pixels, patient or label."
    BURNED_IN = "burned-in", "The header says that the pixels show text, which may identify the patient."
    UNSAFE = "unsafe", "A link, a device, or a name that leads out of its archive."
    PACKED = "packed", "An archive or a compressed file within the source: what is in it was not looked at."
    INCOMPLETE = "incomplete", "The archive of the hospital did not give the whole series."
    WITHHELD = (
        "withheld",
        "The archive of the hospital lists it, and refuses it to us or names it by no UID.",
    )
    CRASHED = "crashed", "The process that read it died."
    TIMEOUT = "timeout", "Reading it took longer than the limit."
    MEMORY = "memory", "Reading it took more memory than the limit."


class ImageError(MedimgError):
    """One file that cannot be used; the caller quarantines it and goes on."""

    def __init__(self, code: Refusal, detail: str) -> None:
        super().__init__(code, detail)  # both in args, so that it survives pickling
        self.code = code
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}"


class NotAnImage(MedimgError):
    """A file that is no image and was never meant to be one: counted, not an error."""
