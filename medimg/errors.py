"""Everything that can go wrong and that a person can mend.

::

    MedimgError            a sentence for a person; a command that ends with one exits with status 2
    ├── ParamsError        params.yaml: an unknown key, a value out of range
    ├── DataError          data/: missing, empty, or not what its import statement says
    │   └── LabelsError    labels.csv: missing, a column that is not there, one class only, rows that contradict
    ├── BorderError        medimg import: a source that cannot be read, an output that holds something else
    ├── SplitError         a split that would leak, or that cannot be drawn
    ├── TrainingError      a batch that cannot be shared, weights that do not fit, a loss that is not a number
    ├── BusyError          another process holds the lock
    ├── ImageError         one file that cannot be used: a code of ``Refusal`` and a plain sentence
    └── NotAnImage         one file that was never meant to be one (labels.csv, a DICOM report): counted, no error

Messages say what, where, what is allowed and what to do. They hold counts and pseudonyms, never a name or a value that
was read from an image header.
"""

from enum import StrEnum


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


class BusyError(MedimgError):
    """Another process holds the lock."""


class Refusal(StrEnum):
    """Why a file is quarantined: the closed list. The value is what stands in quarantine.csv."""

    UNREADABLE = "unreadable"  # the file system refuses, or the file is empty
    CORRUPT = "corrupt"  # header or pixels do not decode, or pixels are not numbers
    TRUNCATED = "truncated"  # fewer pixel bytes than the header promises
    UNSUPPORTED = "unsupported"  # a transfer syntax, photometric interpretation or colour type not read yet
    GEOMETRY = "geometry"  # spacing or shape that cannot be true
    NOT_2D = "not-2d"  # several frames or slices
    NO_PATIENT = "no-patient"  # neither header nor labels.csv says whose image it is
    CONFLICT = "conflict"  # same SOP instance, other pixels; or header and labels.csv name different patients
    BURNED_IN = "burned-in"  # the header says that the pixels show text
    CRASHED = "crashed"  # the process that read it died
    TIMEOUT = "timeout"  # reading took longer than the limit
    MEMORY = "memory"  # reading took more memory than the limit


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
