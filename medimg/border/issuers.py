"""A patient as a number and who gave it: ``ID^^^ISSUER``, where the policy's ``issuer_of_patient_id`` is on."""

from dataclasses import replace

from medimg.border.table import Row, Table
from medimg.errors import LabelsError
from medimg.images import Facts

BETWEEN = "^^^"
"""stands between a patient's number and its issuer, as in HL7"""


def identifier(facts: Facts, issuers: bool) -> str:
    """Whose a header says an image is: PatientID, with ``issuers`` ``ID^^^ISSUER`` where it names one; or empty.

    A PatientID that is of this form by itself needs no issuer beside it.
    """
    patient = (facts.patient or "").strip()
    if not issuers or not patient:
        return patient
    return normal(patient if BETWEEN in patient else f"{patient}{BETWEEN}{facts.issuer or ''}")


def normal(identifier: str) -> str:
    """The same with the issuer in one form: capitals and spaces tell no two hospitals apart."""
    patient, _, issuer = identifier.partition(BETWEEN)
    return patient.strip() + (BETWEEN + " ".join(issuer.split()).casefold() if issuer.strip() else "")


def number_of(identifier: str) -> str:
    """The number in ``ID^^^ISSUER``, or all of it."""
    return identifier.partition(BETWEEN)[0]


def issuer_of(identifier: str) -> str:
    """The issuer in ``ID^^^ISSUER``, or empty."""
    return identifier.partition(BETWEEN)[2]


def by_issuer(hospital: Table) -> Table:
    """The table with its patients in one form.

    Raises:
        LabelsError: rows about one patient contradict each other.
    """
    rows: dict[str, Row] = {}
    contradicted = set()
    for key, row in hospital.rows.items():
        key = normal(key) if hospital.key == "patient" else key
        row = replace(row, patient=normal(row.patient))
        if rows.setdefault(key, row) != row:
            contradicted.add(key)
    if contradicted:
        raise LabelsError(
            f"The table's rows about {len(contradicted)} patients contradict each other: their issuers differ in "
            "capitals or spaces alone. Leave one row each."
        )
    return replace(hospital, rows=rows)
