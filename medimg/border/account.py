"""What an import did: in counts for the one who ran it, as a statement for a data-protection officer."""

from dataclasses import dataclass
from typing import Any

from medimg import __version__
from medimg.border import profile
from medimg.border.identity import refused_path

KEPT = (
    "The pixels, unchanged in value.",
    "Of DICOM headers: geometry, rescale and display numbers, a few acquisition numbers, modality, body part, view, "
    "laterality, sex, age (90 stands for 90 and over), the name of a known maker. Codes are kept only when they are "
    "words of the standard.",
    "Patients, studies, series, instances, institutions, unknown makers and models are replaced by keyed pseudonyms.",
    "Of the table: sex, age, pseudonyms of patient and site, and the label columns named here.",
)
NOT_PROMISED = (
    "Text burned into the pixels is not looked for; images whose header admits to it are refused.",
    "A face can be rebuilt from scans of a head; nothing is defaced.",
    "Dates and times are removed, so the order of examinations is lost.",
    "A label column crosses if its values look like classes; a name that several patients share (a physician's, say) "
    "can look like one. Look at what the import says has crossed.",
    "A label that names a rare disease can point to a person. Whoever holds the site key can undo the pseudonyms.",
)
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

    def __str__(self) -> str:
        """The counts in words, for whoever ran the import."""
        lines = [f"{self.imported} images imported, of {self.patients} patients; {self.already} were there already"]
        if self.batch is None:
            lines[0] += ": nothing new, no batch written"
        if self.copies:
            lines.append(f"{self.copies} files are copies of another one")
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
        if self.kept_columns:
            kept = ", ".join(f"{name} ({_some(values)})" for name, values in self.kept_columns.items())
            lines.append(f"crossed as they are: {kept}: check that no value names a person")
        if self.dropped_columns:
            lines.append(
                f"left behind: {', '.join(self.dropped_columns)} (they do not look like classes and may name someone; "
                "--keep COLUMN brings one through)"
            )
        return "\n".join(lines)

    def statement(self, fingerprint: str, forced: list[str]) -> dict[str, Any]:
        """The import statement, under the key of ``fingerprint``, with label columns ``forced`` through.

        It only counts the columns dropped: a cell of a header can hold a name.
        """
        return {
            "tool": "medimg import",
            "tool_version": __version__,
            "profile": profile.PROFILE,
            "key_fingerprint": fingerprint,
            "counts": {
                "imported": self.imported,
                "already": self.already,
                "copies": self.copies,
                "relabelled": self.relabelled,
                "not_images": self.not_images,
                "patients": self.patients,
                "labels_unmatched": self.labels_unmatched,
                "images_unlabelled": self.images_unlabelled,
            },
            "refused": self.refused,
            "kept_columns": list(self.kept_columns),
            "dropped_columns": len(self.dropped_columns),
            "forced_columns": forced,
            "kept": list(KEPT),
            "not_promised": list(NOT_PROMISED),
        }


def _some(values: list[str]) -> str:
    more = len(values) - _SHOWN
    return ", ".join(values[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
