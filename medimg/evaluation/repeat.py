"""How to get the same numbers again: command, commit, data, parameters, packages."""

import os
import subprocess
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import yaml

from medimg.evaluation.result import Result
from medimg.params import NO_RESULT

PACKAGES = ["medimg", "torch", "monai", "pytorch-lightning", "ray", "pydicom", "numpy", "scipy", "pandas", "matplotlib"]


def repeat(result: Result) -> dict[str, Any]:
    """What the section holds."""
    sources = result.sources
    return {
        "index": sources.index_sha256,
        "bundle": result.external and result.external.bundle,
        "weights": sources.predictions.rows["weights"].iloc[0],
        "given": (sources.model["transferred"] or {}).get("source_sha256"),
        "commit": "" if result.external else commit(),
        "seed": result.study.seed,
        "versions": versions(),
        "params": parameters(result),
    }


def commit() -> str:
    """The commit that is checked out in the study folder; empty outside of Git.

    Whether the folder differed from it is not said: DVC writes dvc.lock after this report, so it always would.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"],  # noqa: S607
            capture_output=True, text=True, check=False, env=environment,
        )  # fmt: skip
    except OSError:  # no Git here
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def parameters(result: Result) -> str:
    """What the parameters were once checked, defaults and all; the preview has no part in any number."""
    values = result.params.model_dump(mode="json", exclude=set(NO_RESULT))
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)


def versions() -> list[tuple[str, str]]:
    """Package and version, of those that decide a number."""
    found = []
    for package in PACKAGES:
        try:
            found.append((package, version(package)))
        except PackageNotFoundError:
            continue
    return found
