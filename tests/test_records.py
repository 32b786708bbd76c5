import pandas as pd
import pyarrow as pa
import pytest

from medimg.errors import DataError
from medimg.records import read_table, write_table

SCHEMA = pa.schema([pa.field("sample", pa.string(), nullable=False), pa.field("age", pa.float64())])


def test_a_table_survives_and_is_byte_equal_whatever_index_it_had(tmp_path):
    table = pd.DataFrame({"age": [1.5, None], "sample": ["a", "b"]})
    write_table(tmp_path / "a", table, SCHEMA)
    write_table(tmp_path / "b", table.set_axis([7, 9]), SCHEMA)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    back = read_table(tmp_path / "a", SCHEMA)
    assert back["sample"].tolist() == ["a", "b"]
    assert back["age"].isna().tolist() == [False, True]


@pytest.mark.parametrize(
    "table",
    [
        pd.DataFrame({"sample": ["a"]}),
        pd.DataFrame({"sample": ["a"], "age": [1.0], "name": ["x"]}),
        pd.DataFrame({"sample": [None], "age": [1.0]}),
    ],
    ids=["a column missing", "a column too many", "a required value missing"],
)
def test_a_table_that_does_not_fit_its_schema_is_not_written(tmp_path, table):
    with pytest.raises(ValueError):
        write_table(tmp_path / "a", table, SCHEMA)
    assert not (tmp_path / "a").exists()


def test_a_missing_or_foreign_file_says_what_to_do(tmp_path):
    with pytest.raises(DataError, match="Run dvc repro"):
        read_table(tmp_path / "none", SCHEMA)
    write_table(tmp_path / "a", pd.DataFrame({"sample": ["a"]}), pa.schema([SCHEMA.field("sample")]))
    with pytest.raises(DataError, match="another version"):
        read_table(tmp_path / "a", SCHEMA)
