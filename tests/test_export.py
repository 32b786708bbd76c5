"""A bundle in other programs' forms: the same answers there, and in the metadata all that they must know."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from monaibundle import run_monai

from medimg import export
from medimg.cli import main as command_line
from medimg.errors import DataError
from medimg.export.monai_bundle import export_monai, transforms
from medimg.inference import load_network
from medimg.params import Preprocess
from medimg.predict import predict

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
pytest.importorskip("ignite")
pytest.importorskip("fire")
pytestmark = pytest.mark.slow


def test_onnx_gives_the_logits_of_the_bundle_and_says_what_it_needs(
    bundled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    bundle, out = bundled / "artifacts/bundle", tmp_path / "model.onnx"
    monkeypatch.setattr("sys.argv", ["medimg", "export", str(bundle), "--format", "onnx", "--out", str(out)])
    with pytest.raises(SystemExit, match="0"):
        command_line()
    assert "onnxruntime" in capsys.readouterr().out
    session = onnxruntime.InferenceSession(out, providers=["CPUExecutionProvider"])
    about = session.get_modelmeta().custom_metadata_map
    assert json.loads(about["outputs"]) == ["lesion"]
    assert json.loads(about["preprocess"])["size"] == 32
    assert json.loads(about["operating"])["thresholds"]["lesion"]["threshold"] > 0
    images = np.load(bundled / "artifacts/store/images.npy")[:7].astype(np.float32) / 255
    network, _ = load_network(bundle)
    with torch.inference_mode():
        expected = network(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(session.run(None, {"image": images})[0], expected, atol=1e-4)
    with pytest.raises(DataError, match="there already"):
        export.export_onnx(bundle, out)


@pytest.mark.parametrize("by", [1.0, float("nan")])
def test_other_logits_and_a_damaged_bundle_leave_no_file(
    bundled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: float
) -> None:
    bundle, out = bundled / "artifacts/bundle", tmp_path / "model.onnx"
    right = export._write

    def wrong(network, about, path):  # type: ignore[no-untyped-def]
        import copy

        other = copy.deepcopy(network)
        next(other.parameters()).data += by
        right(other, about, path)

    monkeypatch.setattr(export, "_write", wrong)
    with pytest.raises(DataError, match="differ"):
        export.export_onnx(bundle, out)
    copy = tmp_path / "bundle"
    shutil.copytree(bundle, copy)
    (copy / "weights.safetensors").write_bytes(b"")
    with pytest.raises(DataError, match="is missing or is not the file"):
        export.export_onnx(copy, out)
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


FIELDS = {
    **dict.fromkeys(("version", "monai_version", "pytorch_version", "numpy_version", "task", "description"), "string"),
    **dict.fromkeys(("authors", "copyright", "intended_use"), "string"),
    **dict.fromkeys(("changelog", "required_packages_version", "network_data_format"), "object"),
}
"""What MONAI's bundle specification asks of metadata.json; its published schema needs a network."""


@pytest.mark.parametrize("fit", ["pad", "crop"])
def test_monai_s_own_command_gives_the_answers_of_predict(bundled: Path, tmp_path: Path, fit: str) -> None:
    from monai.bundle import verify_metadata

    bundle, images, out = tmp_path / "bundle", tmp_path / "images", tmp_path / "monai"
    shutil.copytree(bundled / "artifacts/bundle", bundle)
    about = yaml.safe_load((bundle / "bundle.yaml").read_text())
    about["preprocess"] |= {"kernel": "monai", "fit": fit}
    (bundle / "bundle.yaml").write_text(yaml.safe_dump(about))
    images.mkdir()
    for path in sorted((bundled / "data/images").rglob("*.png"))[:6]:
        shutil.copy(path, images / path.name)
    export_monai(bundle, out)
    there = run_monai(out, images)
    predict([str(images)], bundle, tmp_path / "ours", identified=tmp_path / "named")
    ours = pd.read_csv(tmp_path / "named/predictions.csv").set_index("file")["probability"].sort_index()
    assert len(ours) == 6 and list(there.index) == list(ours.index)
    np.testing.assert_allclose(there, ours, atol=1e-5, rtol=0)
    schema = {"type": "object", "required": list(FIELDS), "properties": {k: {"type": v} for k, v in FIELDS.items()}}
    (tmp_path / "schema.json").write_text(json.dumps(schema))
    verify_metadata(meta_file=str(out / "configs/metadata.json"), filepath=str(tmp_path / "schema.json"))
    said = json.loads((out / "configs/metadata.json").read_text())
    assert said["network_data_format"]["outputs"]["pred"]["channel_def"] == {"0": "lesion"}
    assert said["medimg"]["operating"]["thresholds"]["lesion"]["threshold"] > 0
    with pytest.raises(DataError, match="there already"):
        export_monai(bundle, out)


def test_what_no_picture_says_is_refused() -> None:
    with pytest.raises(DataError, match=r"preprocess\.spacing"):
        transforms(Preprocess(size=32, spacing=0.5), 2)
