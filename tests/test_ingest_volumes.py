"""Volumes and frames as samples: every file accounted for, the index says what they are."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
from series import block, image, write, write_stack

from medimg.images.headers import from_text, header, to_text
from medimg.ingest import ingest
from medimg.params import Ingest, Preprocess
from medimg.params.geometry import Geometry
from medimg.preprocess import preprocess
from medimg.preprocess.sample import Source, compute
from medimg.records import DATA, INDEX, INDEX_SCHEMA, INGEST, QUARANTINE, read_table

PLACES = [(10.0, 20.0, float(height)) for height in (4, 0, 2, 6)]


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "labels.csv").write_text("series,finding\n1.2.3,1\n")
    return folder


def ingested(**settings: object) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, object]]:
    chosen = Ingest(allow_unverified=True, max_quarantined=1, max_unlabelled=1, **settings)
    ingest("finding", chosen)
    summary = json.loads(INGEST.read_text())
    assert summary["seen"] == summary["indexed_files"] + summary["not_an_image"] + summary["quarantined"]
    return read_table(INDEX, INDEX_SCHEMA), pd.read_csv(QUARANTINE), summary


def test_a_series_is_one_sample_with_its_geometry_and_its_label(data: Path) -> None:
    write_stack(data, PLACES)
    shutil.copy(data / "001.dcm", data / "copy.dcm")
    index, refused, summary = ingested(sample="volume")
    assert refused.empty
    assert summary["indexed_files"] == 5
    (row,) = index.to_dict("records")
    assert (row["depth"], row["height"], row["width"], row["frames"], row["files"]) == (4, 5, 4, 4, 4)
    assert (row["spacing_slice"], row["spacing_row"], row["spacing_column"]) == (2, 0.5, 0.25)
    assert (row["orientation"], row["label"], row["series"]) == ("SPL", "1", "1.2.3")
    assert json.loads(row["paths"]) == ["001.dcm", "002.dcm", "000.dcm", "003.dcm"]


def test_a_volume_is_found_by_its_slices_instances(data: Path) -> None:
    write_stack(data, PLACES)
    instances = [str(pydicom.dcmread(path).SOPInstanceUID) for path in sorted(data.glob("*.dcm"))]
    (data / "labels.csv").write_text("\n".join(["instance,finding", *(f"{one},1" for one in instances)]))
    index, _, summary = ingested(sample="volume")
    assert (index["label"].tolist(), summary["labels"]["unmatched"]) == (["1"], 0)
    (data / "labels.csv").write_text(f"instance,finding\n{instances[0]},1\n{instances[1]},0\n")
    _, refused, _ = ingested(sample="volume")
    assert set(refused["code"]) == {"conflict"}


def test_slices_of_no_volume_are_quarantined_by_name_and_time_points_are_samples(data: Path) -> None:
    write_stack(data / "a", PLACES * 2)
    (data / "b").mkdir()
    for number, height in enumerate((1, 2, 3.4, 5)):
        slice_ = image(
            block(4)[number] + 1, 50 + number, SeriesInstanceUID="1.2.4", ImagePositionPatient=[0, 0, height]
        )
        write(data / "b" / f"00{number}.dcm", slice_)
    index, refused, summary = ingested(sample="volume")
    assert len(index) == 2
    assert refused["path"].tolist() == [f"b/00{n}.dcm" for n in range(4)]
    assert summary["by_code"] == {"uneven-spacing": 4}
    kept, refused, _ = ingested(sample="volume", geometry={"uneven": "keep", "time": "channels"})
    assert refused.empty
    assert sorted(kept["channels"]) == [1, 2]


def test_pictures_are_no_volumes_and_what_is_a_sample_is_not_remembered_wrongly(data: Path) -> None:
    write_stack(data, PLACES)
    images, _, _ = ingested()
    assert len(images) == 4
    volumes, _, _ = ingested(sample="volume")
    assert len(volumes) == 1
    again, _, _ = ingested()
    assert again.equals(images)


def test_frames_are_refused_or_samples(data: Path) -> None:
    pixels = block(3) * 100
    write(data / "a.dcm", image(pixels))
    _, refused, _ = ingested()
    assert refused["code"].tolist() == ["not-2d"]
    index, refused, summary = ingested(frames="samples")
    assert refused.empty
    assert (summary["indexed_files"], len(index)) == (1, 3)
    assert sorted(index["frame"]) == [0, 1, 2]
    assert index["label"].eq("1").all()
    assert index["pixel_sha256"].is_unique
    second = compute(("", Source("", ("a.dcm",), 1)), DATA, Preprocess(size=16), Geometry()).image
    write(data / "b.dcm", image(pixels[1]))
    assert np.array_equal(second, compute(("", Source("", ("b.dcm",))), DATA, Preprocess(size=16), Geometry()).image)
    preprocess(Preprocess(size=16))


def test_a_header_survives_as_text(data: Path) -> None:
    write_stack(data, PLACES)
    found = header(data / "000.dcm")
    assert from_text(to_text(found)) == found
