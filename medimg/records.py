"""The files in which stages meet: where each stands, its schema, its reader and its atomic writer."""

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from medimg.errors import DataError
from medimg.files import publish

DATA = Path("data")
LABELS = DATA / "labels.csv"
IMPORTS = DATA / "imports"

ARTIFACTS = Path("artifacts")
INDEX = ARTIFACTS / "index.parquet"
QUARANTINE = ARTIFACTS / "quarantine.csv"
INGEST = ARTIFACTS / "ingest.json"
LEDGER = Path("splits.csv")
PARTS = ARTIFACTS / "parts.parquet"
SPLIT = ARTIFACTS / "split.json"
STORE = ARTIFACTS / "store"
PREVIEW = ARTIFACTS / "preview.png"
WEIGHTS = ARTIFACTS / "weights"
TRAINING = ARTIFACTS / "training"
PREDICTIONS = ARTIFACTS / "predictions.parquet"
EVALUATION = ARTIFACTS / "evaluation"
BUNDLE = ARTIFACTS / "bundle"

# One row a sample. A missing fact is null, never a guess.
INDEX_SCHEMA = pa.schema(
    [
        pa.field("sample", pa.string(), nullable=False),  # 16 hex digits of the SHA-256 of its path
        pa.field("path", pa.string(), nullable=False),  # below data/, with forward slashes
        pa.field("patient", pa.string()),  # pseudonym
        pa.field("study", pa.string()),  # StudyInstanceUID, replaced at the border
        pa.field("series", pa.string()),
        pa.field("instance", pa.string()),
        pa.field("format", pa.string(), nullable=False),  # dicom, png, jpeg, nifti
        pa.field("channels", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),  # pixels
        pa.field("width", pa.int32(), nullable=False),
        pa.field("bits", pa.int32(), nullable=False),  # stored bits of a pixel
        pa.field("photometric", pa.string(), nullable=False),  # as DICOM names it, for every format
        pa.field("spacing_row", pa.float64()),  # mm between rows
        pa.field("spacing_column", pa.float64()),  # mm between columns
        pa.field("modality", pa.string()),
        pa.field("body_part", pa.string()),
        pa.field("view", pa.string()),
        pa.field("laterality", pa.string()),
        pa.field("manufacturer", pa.string()),
        pa.field("model", pa.string()),
        pa.field("site", pa.string()),
        pa.field("sex", pa.string()),  # F, M, O
        pa.field("age", pa.float64()),  # years; 90 stands for 90 and over
        pa.field("batch", pa.int32()),  # the import that brought it, as an ordinal
        pa.field("file_sha256", pa.string(), nullable=False),
        pa.field("pixel_sha256", pa.string(), nullable=False),  # of the decoded pixels, their shape and dtype
        pa.field("label", pa.string()),  # the text in the study's label column; null: no label
    ]
)

# One row a sample of the index.
PARTS_SCHEMA = pa.schema(
    [
        pa.field("sample", pa.string(), nullable=False),
        pa.field("patient", pa.string(), nullable=False),
        pa.field("part", pa.string(), nullable=False),  # train, validation, test, excluded
        pa.field("reason", pa.string()),  # why excluded
    ]
)

# One row a sample of validation and test.
PREDICTIONS_SCHEMA = pa.schema(
    [
        pa.field("sample", pa.string(), nullable=False),
        pa.field("patient", pa.string(), nullable=False),
        pa.field("study", pa.string()),
        pa.field("part", pa.string(), nullable=False),
        pa.field("truth", pa.float64(), nullable=False),
        pa.field("logit", pa.float64(), nullable=False),
        pa.field("probability", pa.float64(), nullable=False),
        pa.field("weights", pa.string(), nullable=False),  # SHA-256 of weights.safetensors
    ]
)

QUARANTINE_COLUMNS = ["path", "code", "detail"]
LEDGER_COLUMNS = ["patient", "part", "batch"]


def write_table(path: Path, table: pd.DataFrame, schema: pa.Schema) -> None:
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


def read_table(path: Path, schema: pa.Schema) -> pd.DataFrame:
    """Read a Parquet file that ``write_table`` wrote; strings missing are None.

    Raises:
        DataError: the file is not there or has another schema.
    """
    try:
        arrow = pq.read_table(path)
    except FileNotFoundError:
        raise DataError(f"There is no {path}. Run dvc repro, which makes it.") from None
    if arrow.schema.names != schema.names:
        raise DataError(f"{path} was written by another version of medimg. Run dvc repro to make it again.")
    table: pd.DataFrame = arrow.to_pandas()
    return table


def write_csv(path: Path, table: pd.DataFrame, columns: list[str]) -> None:
    """Publish a table as CSV, UTF-8, ``\\n`` line ends, columns in the given order."""
    with publish(path) as partial:
        table[columns].to_csv(partial, index=False, lineterminator="\n")
