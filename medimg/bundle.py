"""The bundle: all that is needed to use the model elsewhere, in one folder, each file named by its hash."""

import shutil
from typing import Any

import yaml

from medimg import __version__
from medimg.files import publish_folder, sha256_file, write_text
from medimg.params import Preprocess, Study
from medimg.records import BUNDLE, EVALUATION, WEIGHTS

FILES = {
    "weights.safetensors": WEIGHTS / "weights.safetensors",
    "model.yaml": WEIGHTS / "model.yaml",
    "operating.yaml": EVALUATION / "operating.yaml",
    "metrics.json": EVALUATION / "metrics.json",
}


def bundle(study: Study, preprocess: Preprocess) -> None:
    """Write ``artifacts/bundle/``: weights, architecture, operating point, metrics, and the seal ``bundle.yaml``.

    Args:
        study: what the model answers, of whom, and what it must not be used for.
        preprocess: what an image goes through before the network sees it.
    """
    with publish_folder(BUNDLE) as folder:
        for name, source in FILES.items():
            shutil.copyfile(source, folder / name)
        about: dict[str, Any] = {
            "medimg": __version__,
            "study": study.model_dump(mode="json"),
            "preprocess": preprocess.model_dump(mode="json"),
            "sha256": {name: sha256_file(folder / name) for name in FILES},
        }
        write_text(folder / "bundle.yaml", yaml.safe_dump(about, sort_keys=False))
    print(f"{BUNDLE} holds {', '.join(FILES)}")
