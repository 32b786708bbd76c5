"""The policy: which options of PS3.15 Annex E an import uses. ``deidentify.yaml`` in the study, or ``--policy FILE``.

Off means the standard's action of the Basic Application Level Confidentiality Profile.
"""

from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from medimg.errors import BorderError

FILE = Path("deidentify.yaml")
PROFILE = "DICOM PS3.15 Annex E, Basic Application Level Confidentiality Profile"
IMPLEMENTATION_UID = "2.25.296485034837285176904310498325166473811"
IMPLEMENTATION_NAME = "MEDIMG_0_2"
BASIC = ("113100", "Basic Application Confidentiality Profile")


class Policy(BaseModel):
    """One switch an option. A policy is part of what decides an import's bytes; the statement holds it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    retain_longitudinal: bool = Field(
        True,
        description="Dates move back by a number of whole days that is secret and the same for all of a patient's "
        "files, so intervals are kept exactly; times of day stay. Off: dates and times go.",
    )
    retain_patient_characteristics: bool = Field(
        True, description="Sex, and age with 90 for 90 and over, stay in the header. Off: they go from the header."
    )
    retain_device: bool = Field(
        True, description="Maker and model stay as they are. Serial numbers and station names always go."
    )
    retain_institution: bool = Field(
        False,
        description="The institution's name, address and department stay as they are. labels.csv holds a pseudonym of "
        "the site either way.",
    )
    retain_safe_private: bool = Field(
        False, description="Private elements that Table E.3.10-1 lists as safe, and that hold numbers, stay."
    )
    clean_descriptors: bool = Field(
        True,
        description="Descriptions (of study, series, protocol, …) keep those of their words that are words of the "
        "standard's vocabulary. Off: they go.",
    )
    clean_graphics: bool = Field(
        False,
        description="Overlays stay if the text detector (extra ocr, without which this option is refused) has looked "
        "at each plane and found no text; graphic annotations keep their points and lose their texts. Off: both go. "
        "Curves always go.",
    )
    clean_pixels: bool = Field(
        False,
        description="Text in pixels is masked: outside the regions that an ultrasound image declares, and, in every "
        "image, what a text detector finds if the extra ocr is installed. Off: no detector looks, and what may show "
        "text by its header is refused.",
    )

    issuer_of_patient_id: bool = Field(
        False,
        description="A patient is who has this PatientID from this issuer (0010,0021). Off: the PatientID alone says "
        "who it is. One data/ is imported under one of the two.",
    )

    @property
    def codes(self) -> list[tuple[str, str]]:
        """Code and meaning (PS3.16 CID 7050) of the profile and each option in use."""
        return [BASIC, *(code for name, code in _CODES.items() if getattr(self, name))]

    @classmethod
    def of_codes(cls, codes: set[str]) -> "Policy":
        """The policy that a file states by its codes."""
        return cls(**{name: code in codes for name, (code, _) in _CODES.items()})

    @property
    def method(self) -> list[str]:
        """The values of De-identification Method (0012,0063): at most 64 characters each."""
        return [_METHOD, *(_METHODS[name] for name in _CODES if getattr(self, name))]


_CODES = {
    "clean_pixels": ("113101", "Clean Pixel Data Option"),
    "clean_graphics": ("113103", "Clean Graphics Option"),
    "clean_descriptors": ("113105", "Clean Descriptors Option"),
    "retain_longitudinal": ("113107", "Retain Longitudinal Temporal Information Modified Dates Option"),
    "retain_patient_characteristics": ("113108", "Retain Patient Characteristics Option"),
    "retain_device": ("113109", "Retain Device Identity Option"),
    "retain_safe_private": ("113111", "Retain Safe Private Option"),
    "retain_institution": ("113112", "Retain Institution Identity Option"),
}
_METHOD = "medimg, PS3.15 Annex E Basic Profile"
_METHODS = {
    "clean_pixels": "text in pixels masked",
    "clean_graphics": "overlays and annotations: only those without text kept",
    "clean_descriptors": "descriptions: words of a closed list kept",
    "retain_longitudinal": "dates shifted by a patient's own number of days",
    "retain_patient_characteristics": "sex, and age up to 90, kept; nothing else of the patient",
    "retain_device": "maker and model kept; no serial number or station",
    "retain_safe_private": "safe private elements that hold numbers kept",
    "retain_institution": "institution kept",
}
METHODS = frozenset({_METHOD, *_METHODS.values()})
"""What may stand in De-identification Method (0012,0063)."""


def load_policy(path: Path | None = None) -> Policy:
    """The policy of ``path``, else of ``deidentify.yaml`` in the current folder, else the defaults.

    Raises:
        BorderError: the file is missing, no YAML of switches, or names an option that does not exist.
    """
    if path is None and not FILE.is_file():
        return Policy()
    path = path or FILE
    options = ", ".join(Policy.model_fields)
    try:
        given = yaml.safe_load(path.read_text(encoding="utf-8"))
        return Policy.model_validate({} if given is None else given, strict=True)
    except FileNotFoundError:
        raise BorderError(f"There is no policy {path}. Name one with --policy, or leave it out.") from None
    except ValidationError as error:
        wrong = ", ".join(sorted({".".join(map(str, found["loc"])) or "the file" for found in error.errors()}))
        raise BorderError(f"{path}: {wrong}: not an option, or not true or false. The options are {options}.") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        raise BorderError(f"{path} cannot be read as YAML. It holds lines such as retain_institution: true.") from None
