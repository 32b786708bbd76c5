"""The champion: what ``registry/champion.yaml`` says of it, and its bundle as a folder."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from medimg.bundle import opened
from medimg.errors import AwayError, DataError, ParamsError, RegistryError
from medimg.files import sha256_file, write_text
from medimg.promote.history import RESTORE, read_history
from medimg.records import BUNDLE

CHAMPION = Path("registry/champion.yaml")
POINTER = Path("registry/champion.dvc")
KEPT = Path(".medimg/champions")
"""Bundles that were asked for, a folder for each seal: never changed, only removed."""


@dataclass(frozen=True)
class Bundle:
    """A bundle by its names: enough to fetch it, and to tell that it is the one that was meant."""

    seal: str
    """SHA-256 of ``bundle.yaml``, which holds the hash of every other file"""
    weights: str
    """SHA-256 of ``weights.safetensors``"""
    md5: str
    """DVC's name of the folder"""
    size: int
    nfiles: int

    @classmethod
    def of(cls, study: Path) -> "Bundle":
        """The bundle that the pipeline has just made in ``study``.

        Raises:
            RegistryError: ``dvc.lock`` names none, or the folder is not whole.
        """
        folder = study / BUNDLE
        try:
            stages = yaml.safe_load((study / "dvc.lock").read_text(encoding="utf-8"))["stages"]
            out = next(out for out in stages["bundle"]["outs"] if out["path"] == BUNDLE.as_posix())
            opened(folder)
            seal, weights = sha256_file(folder / "bundle.yaml"), sha256_file(folder / "weights.safetensors")
            return cls(seal, weights, out["md5"], out["size"], out["nfiles"])
        except (OSError, KeyError, TypeError, StopIteration, DataError, ParamsError) as error:
            raise RegistryError(f"{folder} is not a whole bundle that dvc.lock names: {error}") from None


@dataclass(frozen=True)
class Champion:
    """The model in use, and why."""

    commit: str
    """what it was trained from: parameters and code as of this commit"""
    batch: int
    """the last import that it learned from, as an ordinal"""
    bundle: Bundle
    anchor: Bundle
    """the best ever promoted: the champion itself, or an earlier one"""
    metrics: dict[str, Any]
    """on promotion, which decided, and on test, which is only reported"""
    decision: dict[str, Any]
    """line of the history, its event, and every rule with its numbers"""

    def write(self, study: Path) -> None:
        """Publish ``champion.yaml`` and the pointer by which DVC finds the bundle."""
        folder = study / CHAMPION.parent
        folder.mkdir(exist_ok=True)
        out = {"md5": self.bundle.md5, "size": self.bundle.size, "nfiles": self.bundle.nfiles}
        write_text(study / POINTER, yaml.safe_dump({"outs": [out | {"hash": "md5", "path": "champion"}]}))
        write_text(folder / ".gitignore", "/champion\n")
        about = "# The model in use. Written by medimg retrain, promote and rollback; not by hand.\n"
        write_text(study / CHAMPION, about + yaml.safe_dump(asdict(self), sort_keys=False, allow_unicode=True))


def read_champion(study: Path = Path()) -> Champion | None:
    """What ``registry/champion.yaml`` says; None before the first model was promoted.

    Raises:
        RegistryError: the file is damaged, or the history does not hold the decision that it names.
    """
    path = study / CHAMPION
    if not path.exists():
        return None
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        bundle, anchor = Bundle(**values.pop("bundle")), Bundle(**values.pop("anchor"))
        champion = Champion(bundle=bundle, anchor=anchor, **values)
        line = int(champion.decision["line"])
    except (yaml.YAMLError, AttributeError, KeyError, TypeError, ValueError):
        raise RegistryError(f"{CHAMPION} is damaged. {RESTORE}") from None
    history = read_history(study)
    about = asdict(champion)
    said = about | about.pop("decision") | {"champion": champion.bundle.seal}
    if not 0 < line <= len(history) or any(history[line - 1].get(name) != value for name, value in said.items()):
        raise RegistryError(f"{CHAMPION} names line {line} of the history, which does not say so. {RESTORE}")
    return champion


def champion_bundle(study: Path = Path()) -> Path:
    """The folder of the champion's bundle, whole and checked: what ``medimg predict`` uses when none is named.

    It is taken from DVC's cache, or from its remote when it is not there, and stays as it is while others replace the
    champion: each bundle has a folder of its own below ``.medimg``.

    Raises:
        RegistryError: there is no champion, or its bundle is neither in DVC's cache nor in its remote, or it is not
            the one that the registry names.
    """
    champion = read_champion(study)
    if champion is None:
        raise RegistryError(
            f"There is no champion in {study.resolve()}: {CHAMPION} is not there. medimg retrain makes the first; to "
            f"use a model that no rule has judged, name its bundle: {BUNDLE}"
        )
    return materialise(study, champion.bundle)


def materialise(study: Path, bundle: Bundle) -> Path:
    """The folder of ``bundle``, from DVC's cache or remote.

    Raises:
        AwayError: it is in neither.
        RegistryError: it is another one.
    """
    folder = study / KEPT / bundle.seal[:16]
    if not (folder / "bundle.yaml").is_file():
        cache = _cache(study)
        if not _complete(cache, bundle.md5):
            _fetch(study, bundle, cache)
        _copy(cache, bundle.md5, folder)
    _check(folder, bundle)
    return folder


def _check(folder: Path, bundle: Bundle) -> None:
    """Whether every file is the one that was promoted.

    Raises:
        RegistryError: it is not; the folder is removed, so that the next who asks fetches it anew.
    """
    try:
        same = sha256_file(folder / "bundle.yaml") == bundle.seal
        same = same and sha256_file(folder / "weights.safetensors") == bundle.weights
        opened(folder)
    except OSError:
        same = False
    except (DataError, ParamsError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise RegistryError(
            f"The champion's bundle cannot be used: {error} Where no medimg of now can use it: medimg retrain --anew"
        ) from None
    if not same:
        shutil.rmtree(folder, ignore_errors=True)
        raise RegistryError(
            "The bundle in DVC's cache is not the one that the registry names. Fetch it anew: dvc fetch --force "
            f"{POINTER}"
        )


def _cache(study: Path) -> Path:
    """DVC's cache, in which files of hash ``abc…`` stand at ``ab/c…``."""
    command = [sys.executable, "-m", "dvc", "cache", "dir"]
    found = subprocess.run(command, cwd=study, capture_output=True, text=True, check=False)
    if found.returncode:
        raise RegistryError(f"{study.resolve()} is not under DVC, so the champion's bundle cannot be found.")
    return (study / found.stdout.strip()) / "files/md5"


def _at(cache: Path, md5: str) -> Path:
    return cache / md5[:2] / md5[2:]


def _files(cache: Path, md5: str) -> list[tuple[str, Path]]:
    """Name and place of each file of a folder; OSError where the cache does not hold its list."""
    entries = json.loads(_at(cache, md5).read_text(encoding="utf-8"))
    return [(entry["relpath"], _at(cache, entry["md5"])) for entry in entries]


def _complete(cache: Path, md5: str) -> bool:
    try:
        return all(path.is_file() for _, path in _files(cache, md5))
    except OSError:
        return False


def _copy(cache: Path, md5: str, folder: Path) -> None:
    """Unpack a bundle into ``folder``, which is whole or not there, also when several do so at once."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".partial-", dir=folder.parent) as room:
        partial = Path(room) / folder.name
        for name, source in _files(cache, md5):
            (partial / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, partial / name)
        with contextlib.suppress(OSError):  # another process was faster
            partial.rename(folder)


def _fetch(study: Path, bundle: Bundle, cache: Path) -> None:
    """Let DVC bring a bundle from its remote into its cache, by a pointer of its own beside that of the champion."""
    pointer = study / POINTER.with_name(f"{bundle.seal[:16]}-{os.getpid()}.dvc")
    out = {"md5": bundle.md5, "size": bundle.size, "nfiles": bundle.nfiles, "hash": "md5", "path": pointer.stem}
    try:
        write_text(pointer, yaml.safe_dump({"outs": [out]}))
        command = [sys.executable, "-m", "dvc", "fetch", "--quiet", str(pointer.relative_to(study))]
        done = subprocess.run(command, cwd=study, capture_output=True, text=True, check=False)
    finally:
        pointer.unlink(missing_ok=True)
    if done.returncode or not _complete(cache, bundle.md5):
        raise AwayError(
            "The champion's bundle is neither in DVC's cache nor could it be fetched from the remote (dvc remote "
            "list). Where it was promoted: dvc push"
        )
