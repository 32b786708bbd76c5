"""What an import did: in counts for the one who ran it, as a statement for a data-protection officer."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from medimg import __version__
from medimg.border import ocr
from medimg.border.identity import refused_path
from medimg.border.options import PROFILE, Policy

_KEPT = (
    "Pixels, unchanged in value, without what stands above their stored bits or beside their codestream.",
    "Of DICOM headers what Table E.1-1 of PS3.15 and the options named under policy leave. What the table does not "
    "list stays if it is a number, a coded string of the standard, a UID (replaced) or a sequence of such; text, "
    "names, dates, private and unknown elements do not. Of a Siemens mosaic the number of its slices and their normal "
    "stay in a private element that is written anew.",
    "Patients and UIDs are keyed pseudonyms; sites too, in labels.csv.",
    "Of the table: sex, age (90 stands for 90 and over), pseudonyms of patient and site, and the label columns named "
    "here.",
)
_NOT_PROMISED = (
    "Text burned into the pixels is told by the header alone, unless text_detector is true; a detector misses some.",
    "A face can be rebuilt from scans of a head; nothing is defaced.",
    "Rare measurements, or a day of the week and a time of day, can point to a person for who knows the hospital.",
    "A label column crosses if its values look like classes and its name like a word; a name that several patients "
    "share (a physician's, say) can look like one, and so can what a column is called. Look at what the import says "
    "has crossed.",
    "A label that names a rare disease can point to a person. Whoever holds the site key can undo the pseudonyms.",
)
_BY_NUMBER_ALONE = (
    "A patient is known by PatientID alone. Where two hospitals have given the same number to two persons, these count "
    "as one patient."
)
HOW_TO_TELL_APART = (
    "Let the table name each image by path or by UID, or, with issuer_of_patient_id in the policy, each patient as "
    "ID^^^ISSUER."
)
_ACTIONS = {
    "K": "kept",
    "C": "cleaned",
    "U": "uid_replaced",
    "D": "dummy",
    "Z": "emptied",
    "X": "removed",
}
_SHOWN = 8


@dataclass(frozen=True)
class Summary:
    """What an import did, in counts, and for the terminal alone: which label columns crossed, and which did not."""

    batch: int | None
    """the ordinal of the new batch; None when the import brought nothing new"""
    imported: int
    already: int
    """images that an earlier batch had brought"""
    copies: int
    """files that equal another one of this import"""
    relabelled: int
    """images that were there and have other values in labels.csv now"""
    not_images: int
    refused: dict[str, int]
    """code of ``Refusal`` → files"""
    labels_unmatched: int
    """rows of the table that match no file read"""
    images_unlabelled: int
    """images that match no row"""
    kept_columns: dict[str, list[str]]
    """label columns in data/labels.csv, in its order → their values, sorted"""
    dropped_columns: list[str]
    """label columns left behind; ``--keep COLUMN`` brings one through"""
    patients: int
    each_image_is_a_patient: bool = False
    """images that name nobody were let in, each (or each study) as a patient of its own"""
    masks: int = 0
    """masks in this batch; they are no images of their own"""
    nobody: int = 0
    """how many of those"""
    rows_of_several: int = 0
    """rows of the table that fit images of several patients, which are refused"""
    hidden_columns: int = 0
    """label columns left behind whose names may name someone, so that they are not said"""
    several_issuers: int = 0
    """patients whose files name several issuers of the number by which they are known"""
    no_issuer: int = 0
    """images whose patient's number names no issuer, where patients are told apart by it"""
    finished_another: bool = False
    """before, it moved a batch into data/ whose import had been cut off"""
    not_fetched: int = 0
    """series of a PACS that were here whole already"""
    waiting: int = 0
    """files that ``medimg receive`` was sent and that no import has dealt with"""
    refused_files: dict[str, str] = field(default_factory=dict, repr=False)
    """each refused file, by a keyed hash of its name → a code, by which the next import can be told what is new"""
    actions: dict[str, int] = field(default_factory=dict)
    """elements of the DICOM headers of this batch by letter of what was done"""

    def after_another(self) -> "Summary":
        """The same, having first finished an import that had been cut off."""
        return replace(self, finished_another=True)

    def __str__(self) -> str:
        """The counts in words, for whoever ran the import."""
        lines = [f"{self.imported} images imported, of {self.patients} patients; {self.already} were there already"]
        if self.batch is None:
            lines[0] += ": nothing new, no batch written"
        if self.finished_another:
            lines.insert(0, "an earlier import that was cut off has been finished first")
        if self.nobody:
            lines.append(f"{self.nobody} of them name nobody: each of these (each study of them) counts as a patient")
        if self.several_issuers:
            lines.append(
                f"{self.several_issuers} patients have numbers from several issuers (0010,0021), and may be several "
                "persons each: if they are, switch issuer_of_patient_id on in the policy, and import everything into "
                "another folder"
            )
        if self.no_issuer:
            lines.append(
                f"{self.no_issuer} images name no issuer of their patient's number: a patient of whom other images "
                "name one counts as two. Name it in the table's column patient (ID^^^ISSUER)"
            )
        if self.rows_of_several:
            lines.append(
                f"{self.rows_of_several} rows of the labels fit several patients each; their images are refused. "
                f"{HOW_TO_TELL_APART}"
            )
        if self.not_fetched:
            lines.append(f"{self.not_fetched} series were here whole and were not fetched again")
        if self.waiting:
            lines.append(f"{self.waiting} received files wait: run medimg receive again (--idle 0 takes no more)")
        if self.masks:
            lines.append(f"{self.masks} masks imported")
        if self.copies:
            are = "file is a copy" if self.copies == 1 else "files are copies"
            lines.append(f"{self.copies} {are} of another one")
        if self.relabelled:
            lines.append(f"the labels of {self.relabelled} images have changed")
        if self.refused:
            total, reasons = sum(self.refused.values()), ", ".join(f"{n} {code}" for code, n in self.refused.items())
            lines.append(f"{total} refused: {reasons}; which and why: {refused_path()} (holds the hospital's names)")
        if self.not_images:
            lines.append(f"{self.not_images} files are no images")
        if self.labels_unmatched or self.images_unlabelled:
            lines.append(
                f"{self.labels_unmatched} rows of the labels match no image, {self.images_unlabelled} images no row"
            )
        if any(self.kept_columns.values()):
            kept = ", ".join(f"{name} ({_some(values)})" for name, values in self.kept_columns.items() if values)
            lines.append(f"crossed as they are: {kept}: check that no name and no value names a person")
        if self.dropped_columns:
            lines.append(
                f"left behind: {', '.join(self.dropped_columns)} (they do not look like classes and may name someone; "
                "--keep COLUMN brings one through)"
            )
        if self.hidden_columns:
            lines.append(
                f"left behind: {self.hidden_columns} columns whose names are not said here: they may name someone. "
                "Call a column with a short word, or several joined by _; --keep COLUMN brings one through as it is"
            )
        return "\n".join(lines)

    def statement(self, fingerprint: str, forced: list[str], policy: Policy) -> dict[str, Any]:
        """The import statement, under ``policy`` and the key of ``fingerprint``, with label columns ``forced`` through.

        It only counts the columns dropped: a cell of a header can hold a name.
        """
        return {
            "tool": "medimg import",
            "tool_version": __version__,
            "profile": PROFILE,
            "policy": policy.model_dump(),
            "text_detector": policy.clean_pixels and ocr.installed(),
            "header_elements": {name: self.actions.get(letter, 0) for letter, name in _ACTIONS.items()},
            "key_fingerprint": fingerprint,
            "counts": {
                "imported": self.imported,
                "already": self.already,
                "copies": self.copies,
                "masks": self.masks,
                "nobody": self.nobody,
                "relabelled": self.relabelled,
                "not_images": self.not_images,
                "patients": self.patients,
                "labels_unmatched": self.labels_unmatched,
                "images_unlabelled": self.images_unlabelled,
                "rows_of_several_patients": self.rows_of_several,
                "patients_of_several_issuers": self.several_issuers,
                "without_issuer": self.no_issuer,
            },
            "refused": self.refused,
            "each_image_is_a_patient": self.each_image_is_a_patient,
            "kept_columns": list(self.kept_columns),
            "dropped_columns": len(self.dropped_columns) + self.hidden_columns,
            "forced_columns": forced,
            "kept": list(_KEPT),
            "not_promised": [*_NOT_PROMISED, *([] if policy.issuer_of_patient_id else [_BY_NUMBER_ALONE])],
        }


def reasons(refused: Iterable[tuple[str, str]]) -> str:
    """Codes and details of refused files in words: how many of each code, and the detail that most of these have."""
    details: dict[str, Counter[str]] = {}
    for code, detail in refused:
        details.setdefault(code, Counter())[detail] += 1
    counted = ((code, found.total(), found.most_common(1)[0][0]) for code, found in sorted(details.items()))
    return "; ".join(f"{count} {code} ({detail})" for code, count, detail in counted) or "none"


def _some(values: list[str]) -> str:
    more = len(values) - _SHOWN
    return ", ".join(values[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
