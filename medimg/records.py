"""The files in which stages meet: where each stands, its schema, its reader and its atomic writer."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from medimg.errors import DataError
from medimg.files import publish, sha256

if TYPE_CHECKING:
    import pandas as pd  # half of the time that a stage takes to start, and ingest never needs it

DATA = Path("data")
LABELS = DATA / "labels.csv"
IMPORTS = DATA / "imports"

ARTIFACTS = Path("artifacts")
INDEX = ARTIFACTS / "index.parquet"
QUARANTINE = ARTIFACTS / "quarantine.csv"
INGEST = ARTIFACTS / "ingest.json"
LEDGER = Path("splits.csv")
THUMBNAILS = ARTIFACTS / "thumbnails.parquet"
PARTS = ARTIFACTS / "parts.parquet"
DUPLICATES = ARTIFACTS / "duplicates.csv"
SPLIT = ARTIFACTS / "split.json"
STORE = ARTIFACTS / "store"
UNPROCESSED = ARTIFACTS / "unprocessed.csv"
PREVIEW = ARTIFACTS / "preview.png"
PREVIEW_FINDINGS = ARTIFACTS / "preview.json"
WEIGHTS = ARTIFACTS / "weights"
TRAINING = ARTIFACTS / "training"
PREDICTIONS = ARTIFACTS / "predictions.parquet"
TRANSPLANTS = ARTIFACTS / "transplants.parquet"
SALIENCY = ARTIFACTS / "saliency"
EVALUATION = ARTIFACTS / "evaluation"
BUNDLE = ARTIFACTS / "bundle"
TUNED = ARTIFACTS / "tune.csv"
SEEN = "seen.json"
"""In a bundle: the marks of the images that its model learned from or was tuned on, and of their patients."""

# One row a sample: name, type, whether it may be null, meaning. A missing fact is null, never a guess.
# docs/files.md is written from this.
INDEX_COLUMNS = [
    ("sample", pa.string(), False, "16 hex digits that name it, made from the paths of its files"),
    ("path", pa.string(), False, "its file, the first in order where it has several; below `data/`, with `/`"),
    ("paths", pa.string(), True, "JSON list of all its files, slices in order; null: `path` alone"),
    ("frame", pa.int32(), True, "of a file of several, from 0, where each frame is a sample; null: all of its files"),
    ("files", pa.int32(), False, "files behind it: slices, and copies of one instance"),
    ("patient", pa.string(), True, "pseudonym"),
    ("study", pa.string(), True, "StudyInstanceUID, replaced at the border"),
    ("series", pa.string(), True, "SeriesInstanceUID, replaced at the border"),
    ("instance", pa.string(), True, "SOPInstanceUID, replaced at the border"),
    ("format", pa.string(), False, "dicom, png, jpeg or nifti"),
    ("frames", pa.int32(), False, "frames in its files together"),
    ("channels", pa.int32(), False, "1 grey, 3 colour"),
    ("depth", pa.int32(), False, "slices; 1: a 2D image"),
    ("height", pa.int32(), False, "pixels"),
    ("width", pa.int32(), False, "pixels"),
    ("bits", pa.int32(), False, "stored bits of a pixel"),
    ("photometric", pa.string(), False, "as DICOM names it, for every format"),
    ("spacing_slice", pa.float64(), True, "mm between slices"),
    ("spacing_row", pa.float64(), True, "mm between rows"),
    ("spacing_column", pa.float64(), True, "mm between columns"),
    ("orientation", pa.string(), True, "where slices (of a volume), rows and columns increase toward, such as SPL"),
    ("modality", pa.string(), True, "DICOM's term: CR, DX, CT, MR, …"),
    ("body_part", pa.string(), True, "DICOM's term"),
    ("view", pa.string(), True, "DICOM's term: PA, AP, LL, …"),
    ("laterality", pa.string(), True, "L, R or B"),
    ("manufacturer", pa.string(), True, "as the import left it"),
    ("model", pa.string(), True, "as the import left it"),
    ("site", pa.string(), True, "pseudonym of the hospital"),
    ("sex", pa.string(), True, "F, M or O"),
    ("age", pa.float64(), True, "years; 90 stands for 90 and over"),
    ("date", pa.string(), True, "of the study, YYYY-MM-DD, as the import shifted it; null where it removed dates"),
    ("batch", pa.int32(), True, "the import that brought it, as an ordinal"),
    ("file_sha256", pa.string(), False, "of the file's bytes; of several, of their hashes in the order of `paths`"),
    (
        "pixel_sha256",
        pa.string(),
        False,
        "of the decoded pixels, shape and type; of a volume, of its slices' hashes",
    ),
    ("mask", pa.string(), True, "its mask's file below `data/`"),
    ("mask_sha256", pa.string(), True, "of the bytes of its mask's file"),
    ("label", pa.string(), True, "text of the column `study.label`; of several columns, a JSON object; null: no label"),
]
INDEX_SCHEMA = pa.schema([pa.field(name, kind, nullable=null) for name, kind, null, _ in INDEX_COLUMNS])

# One row a sample of the index.
THUMBNAILS_SCHEMA = pa.schema(
    [
        pa.field("sample", pa.string(), nullable=False),
        pa.field("thumbnail", pa.binary()),  # 32 × 32 grey values, row first; null: a volume, or one grey all over
    ]
)

# One row a sample of the index.
PARTS_SCHEMA = pa.schema(
    [
        pa.field("sample", pa.string(), nullable=False),
        pa.field("patient", pa.string(), nullable=False),
        pa.field("part", pa.string(), nullable=False),  # train, validation, test, promotion, excluded
        pa.field("reason", pa.string()),  # why excluded
        pa.field("fold", pa.int32()),  # 0 upwards, where split.folds asks for folds
    ]
)

# One row a sample of validation, test and promotion; lists in the order of the task's outputs (``Task.names``).
PREDICTIONS_SCHEMA = pa.schema(
    [
        pa.field("sample", pa.string(), nullable=False),
        pa.field("patient", pa.string(), nullable=False),
        pa.field("study", pa.string()),
        pa.field("part", pa.string(), nullable=False),
        pa.field("fold", pa.int32()),
        pa.field("truth", pa.list_(pa.float64()), nullable=False),  # NaN: not known
        pa.field("logits", pa.list_(pa.float64()), nullable=False),
        pa.field("probabilities", pa.list_(pa.float64()), nullable=False),  # of a regression: the predicted value
        pa.field("weights", pa.string(), nullable=False),  # SHA-256 of weights.safetensors
    ]
)

_PAGE = 2_000  # rows of a row group

# One row a sample of test that was scored with the rim of another patient's image.
TRANSPLANTS_SCHEMA = pa.schema(
    [
        pa.field("sample", pa.string(), nullable=False),
        pa.field("donor", pa.string(), nullable=False),  # the sample whose rim it was given
        pa.field("probabilities", pa.list_(pa.float64()), nullable=False),  # as in predictions
    ]
)

QUARANTINE_COLUMNS = ["path", "code", "detail"]
UNPROCESSED_COLUMNS = ["sample", "path", "code", "detail"]
DUPLICATES_COLUMNS = ["sample", "copy", "kind", "likeness"]
LEDGER_COLUMNS = ["patient", "part", "batch"]


def write_table(path: Path, table: "pd.DataFrame", schema: pa.Schema) -> None:
    """Publish a table as Parquet, byte-equal for equal rows.

    Raises:
        ValueError, pyarrow.ArrowInvalid: a column is missing, unknown or of another type: a defect of the caller.
    """
    if set(table.columns) != set(schema.names):
        raise ValueError(f"columns differ from the schema of {path}: {set(table.columns) ^ set(schema.names)}")
    arrow = pa.Table.from_pandas(table[schema.names], schema=schema, preserve_index=False).replace_schema_metadata(None)
    for field in schema:
        if not field.nullable and arrow[field.name].null_count:
            raise ValueError(f"{path}: {arrow[field.name].null_count} rows have no {field.name}")
    with publish(path) as partial:
        pq.write_table(arrow, partial, compression="zstd")


def write_rows(path: Path, rows: Iterable[dict[str, Any]], schema: pa.Schema) -> None:
    """Publish rows, given by column, as Parquet; a page of them in memory at a time, byte-equal for equal rows.

    Raises:
        ValueError, pyarrow.ArrowInvalid: a value is missing, or of another type: a defect of the caller.
    """
    pages = iter(rows)
    with publish(path) as partial, pq.ParquetWriter(partial, schema, compression="zstd") as writer:
        while page := list(islice(pages, _PAGE)):
            columns = [[row.get(name) for row in page] for name in schema.names]
            empty = [
                field.name
                for field, values in zip(schema, columns, strict=True)
                if not field.nullable and None in values
            ]
            if empty:
                raise ValueError(f"{path}: rows have no {', '.join(empty)}")
            writer.write_table(pa.table(columns, schema=schema))


def read_table(path: Path, schema: pa.Schema) -> "pd.DataFrame":
    """Read a Parquet file that ``write_table`` wrote; strings missing are None.

    Raises:
        DataError: the file is not there or has another schema.
    """
    table: pd.DataFrame = _read(path, schema).to_pandas()
    return table


def _read(path: Path, schema: pa.Schema) -> pa.Table:
    try:
        arrow = pq.read_table(path)
    except FileNotFoundError:
        raise DataError(f"There is no {path}. Run dvc repro, which makes it.") from None
    if arrow.schema.names != schema.names:
        raise DataError(f"{path} was written by another version of medimg. Run dvc repro to make it again.")
    return arrow


@dataclass(frozen=True)
class Predictions:
    """predictions.parquet, N rows: what is one thing a sample as a table, what is a list as a matrix."""

    rows: "pd.DataFrame"
    """sample, patient, study, part, fold, weights; index 0 … N - 1"""
    truth: np.ndarray
    """``(N, T)`` float64, NaN where not known"""
    logits: np.ndarray
    """``(N, K)`` float64"""
    probabilities: np.ndarray
    """``(N, K)`` float64; of a regression, the predicted value"""

    def __len__(self) -> int:
        return len(self.rows)

    def where(self, chosen: np.ndarray) -> "Predictions":
        """The rows that ``chosen``, ``(N,)`` bool or positions, names."""
        rows = self.rows[chosen] if chosen.dtype == bool else self.rows.iloc[chosen]
        return Predictions(
            rows.reset_index(drop=True), self.truth[chosen], self.logits[chosen], self.probabilities[chosen]
        )

    def part(self, name: str) -> "Predictions":
        """The rows of one part."""
        return self.where((self.rows["part"] == name).to_numpy())


MATRICES = ("truth", "logits", "probabilities")


def write_predictions(predictions: Predictions, path: Path = PREDICTIONS) -> None:
    """Publish predictions; the matrices become lists."""
    columns = {name: list(getattr(predictions, name)) for name in MATRICES}
    write_table(path, predictions.rows.assign(**columns), PREDICTIONS_SCHEMA)


def read_predictions(path: Path = PREDICTIONS) -> Predictions:
    """Read what ``write_predictions`` wrote.

    Raises:
        DataError: the file is not there, has another schema, or its rows have lists of different lengths.
    """
    arrow = _read(path, PREDICTIONS_SCHEMA)
    matrices = {}
    for name in MATRICES:
        column = arrow[name].combine_chunks()
        values = column.flatten().to_numpy(zero_copy_only=False)
        width = len(values) // max(1, len(column))
        if (pc.list_value_length(column).to_numpy() != width).any():
            raise DataError(f"{path} has rows with lists of different lengths. Run dvc repro to make it again.")
        matrices[name] = values.reshape(len(column), width)
    return Predictions(rows=arrow.drop_columns(list(MATRICES)).to_pandas(), **matrices)


def write_csv(path: Path, table: "pd.DataFrame", columns: list[str]) -> None:
    """Publish a table as CSV, UTF-8, ``\\n`` line ends, columns in the given order."""
    with publish(path) as partial:
        table[columns].to_csv(partial, index=False, lineterminator="\n")


def mark(value: str) -> str:
    """16 hex digits that tell a pixel hash or a pseudonym again without naming it."""
    return sha256(f"medimg seen {value}".encode())[:16]


def known(index: "pd.DataFrame", seen: dict[str, list[str]]) -> "pd.Series":
    """Of each row of the index, whether a model knows the image or its patient; ``seen`` is what ``SEEN`` holds."""
    images = index["pixel_sha256"].map(mark).isin(seen["images"])
    return images | index["patient"].map(mark, na_action="ignore").isin(seen["patients"])
