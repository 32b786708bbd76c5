"""A bundle's network in a form that other programs run: ONNX, with what they must know in its metadata.

The file's input is an image as the store holds it, scaled to 0…1; its output are logits. Preprocessing is not in the
graph: the metadata say what it was.
"""

import json
import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from medimg import __version__
from medimg.bundle import opened
from medimg.errors import DataError
from medimg.files import publish, sha256_file
from medimg.inference import load_network
from medimg.params import Params
from medimg.tasks import task_of

TOLERANCE = 1e-4
"""By which logits may differ between the two programs"""
INPUT, OUTPUT = "image", "logits"
BATCHES = (1, 2, 5)
"""Images at once in which the two programs are compared"""
_PACKAGES = ("onnx", "onnxscript", "onnxruntime")


def export_onnx(bundle: Path, out: Path) -> float:
    """Write the network of ``bundle`` to the file ``out`` as ONNX, once onnxruntime has given the same logits.

    Args:
        bundle: a study's ``artifacts/bundle``, or a copy of it.
        out: the file; it must not be there yet.

    Returns:
        the largest difference of a logit that was seen.

    Raises:
        DataError: the bundle is not whole, packages are missing, the file is there, or the logits differ.
    """
    check_packages(_PACKAGES)
    if out.exists():
        raise DataError(f"{out} is there already. Name a file that is not.")
    params = opened(bundle)
    network, _ = load_network(bundle)
    about = metadata(bundle, params)
    with publish(out) as partial:
        _write(network, about, partial)
        return difference(network, _session(partial), "onnxruntime")


def metadata(bundle: Path, params: Params) -> dict[str, str]:
    """What a program must know to use the network, as ONNX metadata: texts, most of them JSON."""
    operating = yaml.safe_load((bundle / "operating.yaml").read_text(encoding="utf-8"))
    study = params.study
    about: dict[str, Any] = {
        "outputs": list(task_of(study).names),
        "study": study.model_dump(mode="json"),
        "preprocess": params.preprocess.model_dump(mode="json"),
        "operating": operating,
        "input": "(N, C, H, W) float32 in 0..1, preprocessed as medimg does; brighter is higher",
        "output": "(N, K) float32 logits",
    }
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in about.items()}
    return texts | {
        "medimg": __version__,
        "bundle_sha256": sha256_file(bundle / "bundle.yaml"),
        "intended_use": study.intended_use,
        "notice": "For research use only.",
    }


def check_packages(names: tuple[str, ...]) -> None:
    """Refuse to begin without packages that medimg itself does not need.

    Raises:
        DataError: some are not installed.
    """
    from importlib.util import find_spec

    missing = [name for name in names if find_spec(name) is None]
    if missing:
        raise DataError(f"Not installed: {', '.join(missing)}. Run: pip install -r requirements-export.lock")


def _write(network: Any, about: dict[str, str], path: Path) -> None:
    import onnx
    import torch

    image = torch.zeros((2, *network.architecture.shape))
    dynamic = {INPUT: {0: torch.export.Dim("batch", min=1)}}
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it names packages that no network here needs
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of torch about itself
        program = torch.onnx.export(
            network.cpu(), (image,), dynamo=True, input_names=[INPUT], output_names=[OUTPUT],
            dynamic_shapes=dynamic, verbose=False,
        )  # fmt: skip
    assert program is not None
    model = program.model_proto
    model.producer_name, model.producer_version = "medimg", __version__
    onnx.helper.set_model_props(model, about)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def _session(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    import onnxruntime

    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    return lambda images: session.run([OUTPUT], {INPUT: images})[0]


def difference(network: Any, exported: Callable[[np.ndarray], np.ndarray], program: str) -> float:
    """The largest difference of a logit over images of noise, in batches of several sizes.

    Raises:
        DataError: it is more than ``TOLERANCE``, or a logit is no number.
    """
    import torch

    generator, found = np.random.default_rng(0), []
    for count in BATCHES:
        images = generator.random((count, *network.architecture.shape), np.float32)
        with torch.inference_mode():
            here = network(torch.from_numpy(images)).numpy()
        found.append(np.abs(here - exported(images)).max())
    off = float(np.max(found))  # NaN if one is; max() would pass over it
    if not off <= TOLERANCE:
        raise DataError(
            f"{program} gives logits that differ by up to {off:.2g}, and {TOLERANCE:g} is allowed. Nothing was "
            "written. Please report it with the name of the network."
        )
    return off
