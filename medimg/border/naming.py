"""Names of label columns: which may cross. They cross as they are, and a column can be called after somebody."""

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

from medimg.border.values import coded_words, description_words

_LENGTH, _DIGITS = 32, 3
_PLAIN = re.compile(r"(?=.*a)[a0-9]+([_+-][a0-9]+)*")  # where a stands for a letter
_SPACED = re.compile(r"[a0-9]+([ _/+-][a0-9]+)*")
_TITLES = frozenset(["dr", "prof", "professor", "doktor", "dott", "mr", "mrs", "herr", "frau", "mme", "mlle"])
_LABELLING = frozenset(
    [
        *("abnormal", "absent", "any", "aortic", "benign", "devices", "enlarged", "enlargement", "malignant"),
        *("referable", "class", "covid", "covid19", "diagnosis", "disease", "finding", "grade", "label", "lesion"),
        *("level", "no", "nodule", "other", "outcome", "pneumonia", "positive", "present", "quality", "score"),
        *("severity", "stage", "status", "subtype", "tumor", "tumour", "type"),
    ]
)
"""Words of labels that the standard's vocabulary may lack."""

# Words of a column's name that speak of a person or of a day, in English, German, French and Spanish, without accents;
# whole, or (those that hardly stand there by chance) inside another word
_IDENTIFYING = frozenset(
    [
        *("accession", "address", "author", "birth", "city", "comment", "date", "day", "dob", "doctor", "email", "id"),
        *("ids", "initials", "insurance", "mail", "mrn", "name", "nhs", "note", "notes", "operator", "phone"),
        *("physician", "postcode", "radiologist", "reader", "reporter", "ssn", "street", "technician", "tel"),
        *("telephone", "time", "uid", "zip", "studyid", "caseid", "imageid", "subjectid", "fileid", "file"),
        *("clinician", "consultant", "nurse", "referrer", "referring", "remark", "remarks", "surgeon"),
        *("befunder", "fallnummer", "geb", "geboren", "initialen", "kuerzel", "kurzel", "notiz", "notizen", "ort"),
        *("patientennummer", "plz", "radiologe", "uhrzeit", "untersucher", "wohnort", "zeit", "zuweiser"),
        *("docteur", "heure", "jour", "nom", "noms", "observations", "prenom", "prenoms", "rue", "ville"),
        *("calle", "ciudad", "correo", "dni", "doctora", "hora", "medica", "medico", "nota", "notas", "observaciones"),
    ]
)
_INSIDE = (
    *("accession", "address", "birth", "comment", "mail", "name", "phone", "physician", "insurance"),
    *("adress", "aerzt", "anmerkung", "anschrift", "arzt", "bemerkung", "datum", "geburt", "kommentar", "strasse"),
    *("telefon", "versicher", "medecin", "naissance", "remarque"),
    *("apellido", "comentario", "direccion", "fecha", "nacimiento", "nombre"),
)


def is_identifying(column: str) -> bool:
    """Whether a column's name sounds as if it held a person's data."""
    parts = re.findall(r"[a-z]+", _apart(_bare(column)).casefold())
    return any(part in _IDENTIFYING or any(word in part for word in _INSIDE) for part in parts)


def is_plain(column: str) -> bool:
    """Whether a column's name is a short word, or several joined by ``_``, ``+`` or ``-``, with few digits.

    A title with a name behind it is none. Names of words of the standard's vocabulary alone may have spaces or
    a stroke between them.
    """
    if not column.isprintable() or not _parts(column):
        return False
    if description_words(column.encode("utf-8", "surrogateescape")):
        return True
    title, *others = _parts(_apart(column))
    if title in _TITLES and not all(map(_labels, others)):
        return False
    shape = "".join("a" if unicodedata.category(sign)[0] in "LM" else sign for sign in column)
    runs = re.findall("[0-9]+", shape)
    few = all(len(run) <= 2 for run in runs) and sum(map(len, runs)) <= _DIGITS
    if len(column) > _LENGTH or not few:
        return False
    if _PLAIN.fullmatch(shape):
        return True
    return bool(_SPACED.fullmatch(shape)) and set(_parts(column)) <= coded_words() | _LABELLING


def named_after(columns: list[str], persons: Iterable[str]) -> tuple[int, ...]:
    """Which columns (their places) have a word that names a person, apart from words of imaging and of labels.

    Args:
        columns: names of label columns.
        persons: names and identifiers, as a header or a table has them.
    """
    names = {word for person in persons for word in _words(person)} if columns else set()
    return tuple(
        place
        for place, column in enumerate(columns)
        if any(word in names and not _labels(word) for word in _words(column))
    )


@lru_cache(maxsize=1024)
def _words(text: str) -> frozenset[str]:
    """Its words of three letters or digits and more without accents, those of camel case as one and apart."""
    return frozenset(part for part in [*_parts(text), *_parts(_apart(text))] if len(part) >= 3)


def _parts(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", _bare(text).casefold())


def _bare(text: str) -> str:
    """A text without accents."""
    return "".join(sign for sign in unicodedata.normalize("NFKD", text) if not unicodedata.combining(sign))


def _apart(text: str) -> str:
    """A text with the words of camel case apart."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text)


def _labels(word: str) -> bool:
    return word in _LABELLING or description_words(word.encode("utf-8", "surrogateescape"))
