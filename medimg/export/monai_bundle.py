"""A bundle of MONAI's form: what ``python -m monai.bundle run`` needs to score image files without medimg.

The network, its normalisation inside, is TorchScript; what goes before it is MONAI's own transforms, the ones that
``preprocess.kernel: monai`` runs. Files are read by MONAI: of PNG, JPEG and NIfTI files it sees what medimg sees; DICOM
has rules (MONOCHROME1, windows, gaps of series) that its readers do not know.
"""

import json
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from medimg import __version__
from medimg.bundle import opened
from medimg.errors import DataError
from medimg.export import check_packages, difference, metadata
from medimg.files import publish_folder, write_json, write_text
from medimg.inference import load_network
from medimg.params import Params, Preprocess
from medimg.preprocess.intensity import coding, window_of
from medimg.tasks import task_of

SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
PACKAGES = ("fire", "ignite")
_IMAGE = {"keys": "image"}


def export_monai(bundle: Path, out: Path) -> float:
    """Write ``bundle`` as a MONAI bundle into the folder ``out``, once its TorchScript has given the same logits.

    Args:
        bundle: a study's ``artifacts/bundle``, or a copy of it.
        out: the folder; it must not be there yet.

    Returns:
        the largest difference of a logit that was seen.

    Raises:
        DataError: the bundle is not whole, packages are missing, the folder is there, the logits differ, or MONAI has
            no transform for a parameter.
    """
    check_packages(PACKAGES)
    if out.exists():
        raise DataError(f"{out} is there already. Name a folder that is not.")
    params = opened(bundle)
    network, _ = load_network(bundle)
    shape = tuple(network.architecture.shape)
    config = _config(params, len(shape) - 1)
    with publish_folder(out) as folder:
        for name in ("configs", "models", "docs"):
            (folder / name).mkdir()
        off = difference(network, _traced(network, shape, folder / "models" / "model.ts"), "TorchScript")
        about = metadata(bundle, params)
        write_json(folder / "configs" / "inference.json", config)
        write_json(folder / "configs" / "metadata.json", _metadata(params, shape, about))
        write_text(folder / "docs" / "README.md", _readme(params, about))
        write_text(folder / "LICENSE", "The weights belong to whoever trained them, who has stated no licence here.\n")
    return off


def _traced(network: Any, shape: tuple[int, ...], path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """Write the network, and read it again."""
    import torch

    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is the old form, and the one that MONAI's bundles hold
        traced = torch.jit.trace(network.cpu().eval(), torch.zeros((2, *shape)))  # type: ignore[no-untyped-call]
        traced.save(str(path))
        again = torch.jit.load(str(path))  # type: ignore[no-untyped-call]
    return lambda images: torch.inference_mode()(again)(torch.from_numpy(images)).numpy()


def _config(params: Params, rank: int) -> dict[str, Any]:
    """``configs/inference.json``: the files of ``dataset_dir`` through transforms and network to a table."""
    return {
        "imports": ["$import glob", "$import os", "$import monai", "$import numpy", "$import torch"],
        "bundle_root": ".",
        "dataset_dir": "$@bundle_root + '/images'",
        "output_dir": "$@bundle_root + '/eval'",
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "batch_size": params.predict.batch_size,
        "files": "$sorted(path for path in glob.glob(@dataset_dir + '/**', recursive=True) if os.path.isfile(path))",
        "network_def": {
            "_target_": "torch.jit.load",
            "f": "$@bundle_root + '/models/model.ts'",
            "map_location": "@device",
        },
        "network": "$@network_def.eval()",
        "preprocessing": {"_target_": "Compose", "transforms": transforms(params.preprocess, rank)},
        "dataset": {
            "_target_": "Dataset",
            "data": "$[{'image': path} for path in @files]",
            "transform": "@preprocessing",
        },
        "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": "@batch_size", "num_workers": 0},
        "inferer": {"_target_": "SimpleInferer"},
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [{"_target_": "Lambdad", "keys": "pred", "func": _activation(params)}],
        },
        "handlers": [
            {
                "_target_": "ClassificationSaver",
                "output_dir": "@output_dir",
                "filename": "predictions.csv",
                "batch_transform": "$lambda batch: [item['image'].meta for item in batch]",
                "output_transform": "$monai.handlers.from_engine(['pred'])",
            }
        ],
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": "@network",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
            "val_handlers": "@handlers",
        },
        "run": ["$@evaluator.run()"],
    }


def transforms(settings: Preprocess, rank: int) -> list[dict[str, Any]]:
    """The steps of ``preprocess.plain.compose`` as MONAI's configuration, after reading and before the network.

    Raises:
        DataError: a picture's spacing, which no file says that MONAI reads as medimg does.
    """
    size, spacing = settings.axes(rank)
    if rank == 2 and spacing is not None:
        raise DataError("preprocess.spacing of 2D images is not for a MONAI bundle: pictures do not say their spacing.")
    axes = list(range(rank, 0, -1))  # MONAI's first axis is the fastest of the file, ours the slowest
    turn = [*reversed(range(rank)), *range(rank, 4)]
    steps: list[dict[str, Any]] = [
        {"_target_": "LoadImaged", **_IMAGE},
        {
            "_target_": "EnsureChannelFirstd",
            **_IMAGE,
            "channel_dim": -1 if settings.channels == 3 and rank == 2 else "no_channel",
        },
        _lambda(
            f"monai.data.MetaTensor(x.as_tensor().float().permute(0, {', '.join(map(str, axes))}).contiguous(), "
            f"affine=x.affine[:, {turn}], "
            "meta={key: value for key, value in x.meta.items() if key != 'affine'})"
        ),
    ]
    if settings.channels == 3 and rank == 3:
        steps.append({"_target_": "RepeatChanneld", **_IMAGE, "repeats": 3})
    if settings.orientation:
        steps.append({"_target_": "Orientationd", **_IMAGE, "axcodes": settings.orientation, "labels": None})
    if settings.foreground is not None:
        crop = {"source_key": "image", "select_fn": f"$lambda x: x > {settings.foreground!r}"}
        steps.append(
            {"_target_": "CropForegroundd", **_IMAGE, **crop, "margin": settings.margin, "allow_smaller": True}
        )
    if spacing is not None:
        resample = {"pixdim": list(spacing), "mode": "bilinear", "padding_mode": "border"}
        steps.append({"_target_": "Spacingd", **_IMAGE, **resample})
    steps.append(_intensity(settings))
    if size is not None:
        steps.append(_sized(settings, size))
    code = coding(settings)
    top = int(np.iinfo(code.dtype).max)
    stored = f"torch.clamp(torch.round((x - {code.offset!r}) / {code.scale!r}), 0, {top})"
    return [*steps, _lambda(f"{stored} / {top}")]  # as the store keeps it, and as the network is given it


def _intensity(settings: Preprocess) -> dict[str, Any]:
    bounds = window_of(settings, windowed=False)
    to = {"b_min": 0.0, "b_max": 1.0, "clip": True}
    if settings.intensity == "zscore":
        return {"_target_": "NormalizeIntensityd", **_IMAGE, "nonzero": settings.nonzero}
    if bounds is not None:
        return {"_target_": "ScaleIntensityRanged", **_IMAGE, "a_min": bounds[0], "a_max": bounds[1], **to}
    low, high = settings.percentiles
    if settings.nonzero:
        values = f"numpy.percentile(x.numpy()[x.numpy() != 0], [{low!r}, {high!r}])"
        return _lambda(f"monai.transforms.ScaleIntensityRange(*map(float, {values}), 0.0, 1.0, True)(x)")
    return {"_target_": "ScaleIntensityRangePercentilesd", **_IMAGE, "lower": low, "upper": high, **to}


def _sized(settings: Preprocess, size: tuple[int, ...]) -> dict[str, Any]:
    """``Resize`` and ``ResizeWithPadOrCrop``, as ``preprocess.fit`` has it."""
    cut = f"monai.transforms.ResizeWithPadOrCrop({list(size)})"
    if settings.fit == "crop":
        return _lambda(f"{cut}(x)")
    mode = {2: "bilinear", 3: "trilinear"}[len(size)]
    to = f"{list(size)}"
    if settings.fit == "pad":
        factor = f"min(a / b for a, b in zip({list(size)}, x.shape[1:]))"
        to = f"[min(a, max(1, round(b * f))) for f in [{factor}] for a, b in zip({list(size)}, x.shape[1:])]"
    resize = f"monai.transforms.Resize({to}, mode='{mode}', align_corners=False, anti_aliasing=True)"
    return _lambda(f"{cut}({resize}(x))")


def _lambda(expression: str) -> dict[str, Any]:
    return {"_target_": "Lambdad", **_IMAGE, "func": f"$lambda x: {expression}"}


def _activation(params: Params) -> str:
    """From logits to what predictions.csv of medimg calls probability, or value."""
    kinds = {
        "binary": "torch.sigmoid(x)",
        "multilabel": "torch.sigmoid(x)",
        "multiclass": "torch.softmax(x, dim=0)",
    }
    if params.study.task in kinds:
        return f"$lambda x: {kinds[params.study.task]}"
    low, high = params.study.range or (0.0, 1.0)
    return f"$lambda x: {low!r} + (x + 1) / 2 * {high - low!r}"


def _metadata(params: Params, shape: tuple[int, ...], about: dict[str, str]) -> dict[str, Any]:
    """``configs/metadata.json``, as MONAI's bundle specification names its fields."""
    names = task_of(params.study).names
    probabilities = params.study.task != "regression"
    return {
        "schema": SCHEMA,
        "version": "0.1.0",
        "changelog": {"0.1.0": f"exported by medimg {__version__}"},
        "monai_version": version("monai"),
        "pytorch_version": version("torch").split("+")[0],
        "numpy_version": version("numpy"),
        "required_packages_version": {"pytorch-ignite": version("pytorch-ignite"), "nibabel": version("nibabel")},
        "task": params.study.task,
        "description": params.study.question,
        "authors": "not stated",
        "copyright": "not stated",
        "intended_use": f"{params.study.intended_use} {about['notice']}",
        "data_type": "PNG, JPEG or NIfTI files",
        "network_data_format": {
            "inputs": {
                "image": {
                    "type": "image",
                    "format": "magnitude",
                    "num_channels": shape[0],
                    "spatial_shape": list(shape[1:]),
                    "dtype": "float32",
                    "value_range": [0, 1],
                    "is_patch_data": False,
                    "channel_def": {str(at): "image" for at in range(shape[0])},
                }
            },
            "outputs": {
                "pred": {
                    "type": "probabilities" if probabilities else "image",
                    "format": "classification" if probabilities else "regression",
                    "num_channels": len(names),
                    "spatial_shape": [1, len(names)],
                    "dtype": "float32",
                    "value_range": [0, 1] if probabilities else [],
                    "is_patch_data": False,
                    "channel_def": {str(at): name for at, name in enumerate(names)},
                }
            },
        },
        "medimg": {name: _plain(text) for name, text in about.items() if name not in ("input", "output")},
    }


def _plain(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _readme(params: Params, about: dict[str, str]) -> str:
    names = ", ".join(task_of(params.study).names)
    return f"""# {params.study.question}

{about["notice"]} {params.study.intended_use}

Score the files of a folder, from this bundle's folder:

    python -m monai.bundle run --config_file configs/inference.json --meta_file configs/metadata.json \\
        --dataset_dir /path/to/images

`eval/predictions.csv` then has a row a file: its path, and the {"value" if params.study.range else "probability"} of \
{names}, uncalibrated.
PNG, JPEG and NIfTI files are read as medimg reads them; DICOM files are not: MONAI's readers neither invert MONOCHROME1
nor check how slices lie. Thresholds and calibration stand in configs/metadata.json, below medimg.operating.

Made by medimg {about["medimg"]} of the bundle {about["bundle_sha256"]}.
"""
