"""The bundle: all that is needed to use the model elsewhere, in one folder, each file named by its hash."""

import shutil
from pathlib import Path
from typing import Any

import yaml

from medimg import __version__
from medimg.errors import DataError
from medimg.familiar import FEATURES, FILE, describe
from medimg.files import publish_folder, sha256_file, write_json, write_text
from medimg.params import NO_RESULT, Params, check
from medimg.records import (
    BUNDLE,
    EVALUATION,
    INDEX,
    INDEX_SCHEMA,
    PARTS,
    PARTS_SCHEMA,
    SEEN,
    WEIGHTS,
    mark,
    read_table,
)

FILES = {
    "weights.safetensors": WEIGHTS / "weights.safetensors",
    "model.yaml": WEIGHTS / "model.yaml",
    "operating.yaml": EVALUATION / "operating.yaml",
    "metrics.json": EVALUATION / "metrics.json",
}


MADE = (SEEN, FILE, FEATURES)
"""What is computed for the bundle; the rest is copied."""


def bundle(params: Params) -> None:
    """Write ``artifacts/bundle/``: weights, architecture, operating point, metrics, and the seal ``bundle.yaml``.

    ``bundle.yaml`` holds the parameters (what the model answers, of whom, what an image goes through first) and the
    hash of every other file; ``seen.json`` holds by which one can tell an image or a patient that the model knows,
    ``familiar.json`` and ``features.safetensors`` by which one can tell an image unlike those that it knows.
    """
    with publish_folder(BUNDLE) as folder:
        for name, source in FILES.items():
            shutil.copyfile(source, folder / name)
        write_json(folder / SEEN, _seen())
        describe(params, folder)
        about: dict[str, Any] = {
            "medimg": __version__,
            **params.model_dump(mode="json", exclude=set(NO_RESULT)),
            "sha256": {name: sha256_file(folder / name) for name in (*FILES, *MADE)},
        }
        write_text(folder / "bundle.yaml", yaml.safe_dump(about, sort_keys=False))
    print(f"{BUNDLE} holds {', '.join((*FILES, *MADE))}")


def _seen() -> dict[str, list[str]]:
    """Marks of the images that the model learned from or was tuned on, and of their patients."""
    parts = read_table(PARTS, PARTS_SCHEMA)
    known = parts[parts["part"].isin(["train", "validation"])]
    index = read_table(INDEX, INDEX_SCHEMA).set_index("sample")
    named = index.loc[known["sample"], "patient"].dropna()  # who has no id is known by the image alone
    return {
        "images": sorted({mark(pixels) for pixels in index.loc[known["sample"], "pixel_sha256"]}),
        "patients": sorted({mark(patient) for patient in named}),
    }


def opened(folder: Path) -> Params:
    """The parameters of a bundle whose every file is the one that its seal names.

    Raises:
        DataError: there is no bundle, a file of it is missing or another, or another medimg made it.
        ParamsError: its parameters are none of this medimg's.
    """
    path = folder / "bundle.yaml"
    try:
        about = yaml.safe_load(path.read_text(encoding="utf-8"))
        made_by, hashes = about.pop("medimg"), about.pop("sha256")
    except (OSError, UnicodeDecodeError, yaml.YAMLError, AttributeError, KeyError):
        raise DataError(
            f"There is no bundle in {folder}: it has no bundle.yaml that can be read. Name the folder "
            f"{BUNDLE} of a study in which dvc repro has run."
        ) from None
    missing = {*FILES, *MADE} - set(hashes)
    if made_by != __version__ or missing:
        lacking = f" without {', '.join(sorted(missing))}" if missing else ""
        raise DataError(
            f"{folder} was made by medimg {made_by}{lacking}; this is {__version__}, which may treat images in another "
            "way. Use the medimg that made it, or make the bundle anew: dvc repro."
        )
    for name, expected in hashes.items():
        if not (folder / name).is_file() or sha256_file(folder / name) != expected:
            raise DataError(
                f"{folder / name} is missing or is not the file that {path} names. Copy the bundle again, whole."
            )
    return check(about, path)
