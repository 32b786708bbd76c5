"""One file across the border: its bytes in, the bytes that may cross out, or a refusal."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import numpy as np

from medimg import images
from medimg.border import burned, ocr, pixels, profile
from medimg.border.identity import SiteKey
from medimg.border.issuers import identifier, issuer_of, number_of
from medimg.border.linkage import note_link
from medimg.border.naming import named_after
from medimg.border.options import Policy
from medimg.border.same import Deciding, what_decides, what_decides_written
from medimg.border.table import Row, Table
from medimg.errors import ImageError, Refusal
from medimg.files import sha256_json
from medimg.images import dicom
from medimg.images.scan import scan
from medimg.images.sniff import HEAD, sniff

_NO_HEADER: Mapping[str, str | None] = MappingProxyType({})


_Parts = tuple[bytes, str, dict[str, int], bool, tuple[bytes, ...]]


@dataclass(frozen=True, repr=False)
class Rules:
    """What decides how a file crosses, apart from its bytes and its name."""

    key: SiteKey
    table: Table | None = None
    each_image_is_a_patient: bool = False
    policy: Policy = field(default_factory=Policy)
    linkage: Path | None = None
    """where to note which pseudonym stands for whom until the import ends; None: nowhere"""

    def digest(self) -> str:
        """16 hex digits, keyed, that change with the rules."""
        rows = {key: row.patient for key, row in self.table.rows.items()} if self.table else None
        about = [self.table.key, self.table.columns] if self.table else None
        policy = self.policy.model_dump() | {"detector": ocr.installed()}
        return self.key.file(
            sha256_json([rows, about, self.each_image_is_a_patient, policy, str(self.linkage or "")]).encode()
        )

    def row_of(self, name: str, header: Mapping[str, str | None] = _NO_HEADER) -> str | None:
        """The key of the table's row about a file ``name`` whose header holds these of ``table.KEYS``."""
        return self.table.key_of(name, header) if self.table else None


@dataclass(frozen=True, repr=False)
class Crossing:
    """What of one file may cross."""

    data: bytes
    extension: str
    """.dcm, .png, .jpg or .nii"""
    patient: str
    """pseudonym"""
    site: str
    """pseudonym of the institution that the header names, or empty"""
    row: str | None
    """key of the row in the hospital's table: holds the hospital's words"""
    actions: dict[str, int]
    """elements of a DICOM header by what was done: K kept, C cleaned, U UID replaced, D dummy, Z emptied, X removed"""
    nobody: bool
    """neither header nor table says whose it is"""
    issuer: str = ""
    """pseudonym of who gave the patient the number, or empty"""
    named: tuple[int, ...] = ()
    """which label columns of the table are called as somebody is in the header"""


@dataclass(frozen=True, repr=False)
class _Seen:
    """What a file shows."""

    image: images.Image
    frames: tuple[str, ...]
    """of several frames or slices the hash of each"""
    deciding: Deciding | None = None
    """of DICOM, all that decides the pixels"""


def deidentify(data: bytes, name: str, rules: Rules, owner: str | None = None) -> Crossing:
    """Take the bytes of one file across.

    Args:
        data: the whole file.
        name: what the source calls it, to find its row in the table.
        rules: key, table, and what to do without a patient.
        owner: of a mask, the pseudonym of its image's patient.

    Raises:
        ImageError: it must not cross, or cannot be read.
        NotAnImage: it is no image.
    """
    with images.quiet():
        return _deidentify(data, name, rules, owner)


def _deidentify(data: bytes, name: str, rules: Rules, owner: str | None) -> Crossing:
    seen = _read(data)
    image = seen.image
    row = rules.row_of(name, _keys(data, image, rules)) if owner is None else None
    said = rules.table.rows[row] if rules.table and row is not None else None
    whose, issuer = _whose(image.facts, said, rules.policy.issuer_of_patient_id)
    if owner is not None and whose is not None and rules.key.patient(whose) != owner:
        raise ImageError(Refusal.CONFLICT, "its header names another patient than its image's")
    if whose is None and owner is None and not rules.each_image_is_a_patient:
        raise ImageError(Refusal.NO_PATIENT, "neither header nor table says whose image it is")
    patient = owner or rules.key.patient(whose or nobody(image, data, rules.key))
    clean, extension, actions, masked, persons = _clean(data, image, rules, patient)
    if not masked and not _shows(clean, seen):
        raise ImageError(Refusal.CORRUPT, "what may cross of the file does not show the same pixels")
    if rules.linkage and whose:
        note_link(rules.linkage, patient, whose)
    site = rules.key.site(image.facts.site) if image.facts.site else ""
    columns = rules.table.columns if rules.table else []
    named = named_after(columns, [*map(_text, persons), said.patient if said else ""])
    return Crossing(clean, extension, patient, site, row, actions, whose is None, rules.key.issuer(issuer), named)


def _read(data: bytes) -> _Seen:
    """The image; of several frames or slices no pixels, but the hash of each frame.

    Raises:
        ImageError, NotAnImage: as ``images.read_bytes``.
    """
    deciding = None
    try:
        if sniff(data[:HEAD]) == "dicom":
            dataset = images.guarded(lambda: dicom.parse(data))
            deciding = what_decides(dataset)
            return _Seen(images.guarded(lambda: dicom.read_parsed(dataset)), (), deciding)
        return _Seen(images.read_bytes(data), ())
    except ImageError as problem:
        if problem.code is not Refusal.NOT_2D:
            raise
        header, hashes = scan(data, "", images.pixel_sha256)
        return _Seen(images.Image(np.empty(0), header.facts), tuple(hashes), deciding)


def _shows(clean: bytes, seen: _Seen) -> bool:
    """Whether the pixels of ``clean`` are those seen: they are decoded again unless all that decides them is equal."""
    if seen.deciding is not None and images.guarded(lambda: what_decides_written(clean)) == seen.deciding:
        return True
    again, before = _read(clean), seen.image.pixels
    now = again.image.pixels
    same = (now.dtype, now.shape) == (before.dtype, before.shape) and now.tobytes() == before.tobytes()
    return same and again.frames == seen.frames


def _keys(data: bytes, image: images.Image, rules: Rules) -> dict[str, str | None]:
    """What the header says of those of ``table.KEYS`` that can stand in one."""
    facts = image.facts
    keys = {"instance": facts.instance, "series": facts.series, "study": facts.study, "patient": facts.patient}
    if rules.policy.issuer_of_patient_id and rules.table is not None:
        full = identifier(facts, True)
        keys["patient"] = full if full in rules.table.rows else number_of(full)
    asked = rules.table is not None and rules.table.key == "accession" and facts.format == "dicom"
    return keys | {"accession": profile.accession(data) if asked else None}


def _text(value: bytes) -> str:
    """A text of a header in UTF-8 or, as most others are, Latin-1."""
    try:
        return value.strip(b" \0").decode("utf-8")
    except UnicodeDecodeError:
        return value.strip(b" \0").decode("latin-1")


def _whose(facts: images.Facts, row: Row | None, issuers: bool) -> tuple[str | None, str]:
    """The patient's identifier, from header or table, None where neither says it; and who issued it, or empty.

    With ``issuers`` the table may leave the issuer out, or name one where the header names none.

    Raises:
        ImageError: CONFLICT.
    """
    full = identifier(facts, issuers)
    plain = number_of(full) if issuers else full
    said = (row.patient if row else "") or full
    named = said if issuers and full == plain and number_of(said) == plain else full
    if full and said not in (plain, named):
        raise ImageError(Refusal.CONFLICT, "header and table name different patients")
    whose = named or said
    return whose or None, issuer_of(whose if issuers else identifier(facts, True))


def nobody(image: images.Image, data: bytes, key: SiteKey) -> str:
    """A patient of its own for an image; the files of one DICOM study are of one patient all the same."""
    return f"nobody\0{image.facts.study or key.file(data)}"


def _clean(data: bytes, image: images.Image, rules: Rules, patient: str) -> _Parts:
    """The bytes that may cross, the extension for them, elements by what was done, whether pixels were masked, and the
    names and numbers of persons in the header.

    Raises:
        ImageError: BURNED_IN, CORRUPT.
    """
    try:
        if image.facts.format == "dicom":
            cleaned = profile.clean(data, rules.key, patient, rules.policy)
            return cleaned.data, ".dcm", dict(cleaned.counts), cleaned.masked, cleaned.persons
        if image.facts.format == "nifti":
            return pixels.clean_nifti(data), ".nii", {}, False, ()
        covered = burned.covered(image.pixels) if rules.policy.clean_pixels else None
        if covered is not None:
            return pixels.encode_png(covered), ".png", {}, True, ()
        return *pixels.clean_picture(data, image), {}, False, ()
    except ImageError:
        raise
    except Exception:
        raise ImageError(Refusal.CORRUPT, "what may cross of the file cannot be written") from None
