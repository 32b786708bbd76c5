"""Studies of public sets beside what was published: ``python -m benchmarks.studies.medmnist STUDY…``.

Each study is one of ``medimg fetch``, after ``dvc repro``. AUC and accuracy are those of Yang et al. 2023 (Scientific
Data, doi:10.1038/s41597-022-01721-8), on the test part: AUC of a yes-or-no question, or the mean over classes or
findings, each against the rest; accuracy at 0.5, of the most probable class, or the mean over findings.
"""

import sys
from pathlib import Path

import numpy as np
from sklearn.metrics import accuracy_score, roc_auc_score

from medimg.errors import DataError, MedimgError
from medimg.params import Params, load
from medimg.records import PARTS, PARTS_SCHEMA, PREDICTIONS, read_predictions, read_table

PUBLISHED = {
    "pathmnist": (0.983, 0.907),
    "chestmnist": (0.768, 0.947),
    "dermamnist": (0.917, 0.735),
    "octmnist": (0.943, 0.743),
    "pneumoniamnist": (0.944, 0.854),
    "retinamnist": (0.717, 0.524),
    "breastmnist": (0.901, 0.863),
    "bloodmnist": (0.998, 0.958),
    "tissuemnist": (0.930, 0.676),
    "organamnist": (0.997, 0.935),
    "organcmnist": (0.992, 0.900),
    "organsmnist": (0.972, 0.782),
}
"""AUC and accuracy of ResNet-18 on 28 × 28 pixels, Table 3 there"""


def scores(truth: np.ndarray, probabilities: np.ndarray) -> tuple[float, float]:
    """AUC and accuracy as the publisher's evaluator defines them.

    Args:
        truth: ``(N, 1)`` 0 or 1, or the number of the class; ``(N, K)`` 0 or 1 of findings.
        probabilities: ``(N, 1)``, or ``(N, K)``.
    """
    if truth.shape == probabilities.shape:
        pairs = list(zip(truth.T, probabilities.T, strict=True))
        auc = np.mean([roc_auc_score(known, given) for known, given in pairs])
        return float(auc), float(np.mean([accuracy_score(known, given > 0.5) for known, given in pairs]))
    known = truth[:, 0].astype(int)
    auc = np.mean([roc_auc_score(known == k, probabilities[:, k]) for k in range(probabilities.shape[1])])
    return float(auc), float(accuracy_score(known, probabilities.argmax(axis=1)))


def row(study: Path) -> str:
    """A row of the table in docs/fetch.md, of a study in a folder named after its set; then what differs.

    Raises:
        DataError: nothing has been predicted there, or the task has no such figures.
        ParamsError: its parameters cannot be read.
    """
    params = load(study / "params.yaml")
    if params.study.task == "regression":
        raise DataError(f"{study} is a regression, which has no AUC.")
    found = read_predictions(study / PREDICTIONS).part("test")
    auc, accuracy = scores(found.truth, found.probabilities)
    name = study.resolve().name
    published = " | ".join(f"{value:.3f}" for value in PUBLISHED[name]) if name in PUBLISHED else "– | –"
    left_out = int(read_table(study / PARTS, PARTS_SCHEMA)["part"].eq("excluded").sum())
    return f"| `{name}` | {published} | {auc:.3f} | {accuracy:.3f} | {_about(params, len(found), left_out)} |"


def _about(params: Params, images: int, left_out: int) -> str:
    parts = "publisher's parts" if params.split.column else "parts of our own"
    return f"{params.model.name}, {params.preprocess.size} pixels, {images} test images, {parts}, {left_out} left out"


def main(studies: list[str]) -> None:
    """Print a row for each."""
    print("| set | AUC, published | accuracy, published | AUC, medimg | accuracy, medimg | how |")
    print("|---|---|---|---|---|---|")
    for study in studies:
        print(row(Path(study)))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except MedimgError as error:
        sys.exit(str(error))
