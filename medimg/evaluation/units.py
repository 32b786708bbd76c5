"""What is counted once: scores of images become scores of units before any threshold or metric sees them."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from scipy.special import logit

from medimg.errors import DataError
from medimg.params import Study
from medimg.records import PREDICTIONS

KEYS = {"image": ["sample"], "study": ["patient", "study"], "patient": ["patient"]}
_SMALLEST = 1e-12  # a mean probability is kept this far from 0 and 1, so that its logit is finite


@dataclass(frozen=True)
class Units:
    """The scored units of one part, sorted by key, so that the order of rows in a file never matters.

    A unit is positive when any of its images is: the truth of a group is the maximum of its truths.
    """

    patient: np.ndarray
    """``(N,)`` int64 code of the patient, 0 … patients - 1."""
    truth: np.ndarray
    """``(N,)`` float64, 0 or 1."""
    probability: np.ndarray
    """``(N,)`` float64 in [0, 1]: what thresholds and ranks are taken on."""
    logit: np.ndarray
    """``(N,)`` float64: of the probability; that of the network where a unit is one image."""
    images: int
    """Images behind the units."""
    mixed: int
    """Units whose images disagree about the truth."""

    def __len__(self) -> int:
        return len(self.truth)

    @property
    def patients(self) -> int:
        """Number of patients."""
        return int(self.patient.max()) + 1 if len(self) else 0

    @property
    def positive(self) -> int:
        """Number of positive units."""
        return int(self.truth.sum())

    @property
    def clustered(self) -> bool:
        """Whether some patient has more than one unit."""
        return self.patients < len(self)

    def patients_with(self, truth: int) -> int:
        """Patients who have at least one unit of this truth (0 or 1)."""
        return len(np.unique(self.patient[self.truth == truth]))


def units_of(rows: pd.DataFrame, study: Study, aggregate: Literal["mean", "max"], part: str) -> Units:
    """Rows of one part of predictions.parquet → its units; ``part`` names it in messages.

    Images of a patient that name no study count as one study of that patient.

    Raises:
        DataError: the part is empty.
    """
    if rows.empty:
        raise DataError(
            f"The {part} part of {PREDICTIONS} is empty, so there is nothing to evaluate. "
            f"Raise split.{part} in params.yaml or add patients, and run dvc repro."
        )
    groups = rows.sort_values("sample").groupby(KEYS[study.unit], sort=True, dropna=False)
    table = groups.agg(
        patient=("patient", "first"),
        truth=("truth", "max"),
        lowest=("truth", "min"),
        probability=("probability", aggregate),
        logit=("logit", "max"),
        images=("sample", "size"),
    )
    probability = table["probability"].to_numpy(np.float64)
    averaged = (table["images"].to_numpy() > 1) & (aggregate == "mean")
    return Units(
        patient=np.unique(table["patient"].to_numpy(str), return_inverse=True)[1].astype(np.int64),
        truth=table["truth"].to_numpy(np.float64),
        probability=probability,
        logit=np.where(
            averaged, logit(np.clip(probability, _SMALLEST, 1 - _SMALLEST)), table["logit"].to_numpy(np.float64)
        ),
        images=len(rows),
        mixed=int((table["lowest"] < table["truth"]).sum()),
    )
