"""Housekeeping after a night: what no champion and no history needs goes, and what is kept is bounded."""

import json
import re
import shutil
import time
from pathlib import Path

from medimg.errors import NightError
from medimg.promote.champion import KEPT, Champion
from medimg.promote.history import read_history
from medimg.retrain.clone import Clone
from medimg.retrain.git import run_git
from medimg.retrain.outcome import Status
from medimg.retrain.repository import ROOM, TRAILER

DAY = 86_400  # seconds
POINTERS = (":(top,glob)**/dvc.lock", ":(top,glob)**/*.dvc")
OBJECT = re.compile(r"[0-9a-f]{32}(?:\.dir)?")
MD5 = re.compile(r"\bmd5: ([0-9a-f]{32}(?:\.dir)?)\b")

MARK = "== a file of "
"""Before what Git says of each file; no file of DVC's holds it."""


def tidy(clone: Clone, champion: Champion | None, nights: int, models: int) -> None:
    """Remove old logs and reports, unpacked bundles of other models, and old refused models from DVC's cache.

    Args:
        clone: of the study.
        champion: whose bundle, and whose anchor's, stay unpacked.
        nights: whose logs and reports stay.
        models: refused ones whose weights stay in the cache of this machine. Older ones stay in DVC's remote; without a
            remote, or where other studies share the cache, all stay.
    """
    folders = sorted((clone.study / ROOM / "nights").glob("*"))
    for folder in folders[:-nights]:
        shutil.rmtree(folder, ignore_errors=True)
    used = {bundle.seal[:16] for bundle in (champion.bundle, champion.anchor)} if champion else set()
    for folder in (clone.study / KEPT).glob("*"):
        if folder.name not in used and time.time() - folder.stat().st_mtime > DAY:  # somebody may be reading it
            shutil.rmtree(folder, ignore_errors=True)
    cache = clone.cache / "files/md5"
    if clone.has_remote() and clone.study in cache.parents:
        for name in superfluous(clone, cache, models):
            _at(cache, name).unlink(missing_ok=True)


def sweep(clone: Clone, days: float) -> None:
    """Remove from DVC's cache what nothing names: what nights brought and made that failed, were refused or cut off.

    Where there is no remote, or the cache is shared with other studies, all stays; also when Git does not answer.

    Args:
        clone: of the study.
        days: for which it stays: somebody may be adding it just now, and the next night may need it.
    """
    cache = clone.cache / "files/md5"
    if clone.has_remote() and clone.study in cache.parents:
        for name in unnamed(clone, cache, days):
            _at(cache, name).unlink(missing_ok=True)


def unnamed(clone: Clone, cache: Path, days: float) -> set[str]:
    """Objects in the cache, older than ``days``, that no commit of any branch, no history and no folder names.

    Of a folder whose list is not in the cache the files cannot be told: they are on the remote, which got it last.
    """
    named: set[str] = set()
    for place, refs in ((clone.root, ("--all",)), (clone.study, ("--all", "--reflog"))):
        found = _named_in(place, refs)
        if found is None:
            return set()
        named |= found
    named.update(_names(json.dumps(read_history(clone.place)), r'"md5": "([0-9a-f]{32}(?:\.dir)?)"'))
    keep, before = _expanded(cache, named), time.time() - days * DAY
    objects = {path.parent.name + path.name: path for path in cache.glob("??/*")}
    return {
        name
        for name, path in objects.items()
        if name not in keep and OBJECT.fullmatch(name) and path.lstat().st_ctime < before
    }


def _named_in(place: Path, refs: tuple[str, ...]) -> set[str] | None:
    """What DVC's files name in any commit of a repository, and as they lie in its folders; None: Git does not say."""
    top = run_git(place, "rev-parse", "--show-toplevel")
    changes = ("--full-history", "-m", "--raw", "--no-abbrev", "--no-renames", "--format=")
    listed = run_git(place, "-c", "log.showRoot=true", "log", *refs, *changes, "--", *POINTERS)
    lying = run_git(Path(top.stdout.strip() or place), "ls-files", "-z", "--cached", "--others", "--", *POINTERS)
    if any(done.returncode for done in (top, listed, lying)):
        return None
    blobs = {blob for line in listed.stdout.splitlines() for blob in line.split()[2:4] if blob.strip("0")}
    held = run_git(place, "cat-file", "--batch", said="".join(f"{blob}\n" for blob in blobs))
    if held.returncode:
        return None
    paths = [Path(top.stdout.strip()) / name for name in lying.stdout.split("\0") if name]
    texts = [path.read_text(encoding="utf-8", errors="replace") for path in paths if path.is_file()]
    return {name for text in (held.stdout, *texts) for name in MD5.findall(text)}


def superfluous(clone: Clone, cache: Path, models: int) -> set[str]:
    """Objects in the cache that nobody names but the commits of refused models, the last ``models`` excepted."""
    history = read_history(clone.place)
    refused = [line["challenger"]["md5"] for line in history if line["event"] == "kept"]
    old = set(refused[: -models or None]) - {line["bundle"]["md5"] for line in history if "bundle" in line}
    if not old:
        return set()
    keep = {name for line in history for name in _names(json.dumps(line), r'"md5": "([0-9a-f]{32}\.dir)"')} - old
    doomed: set[str] = set()
    nights = set(clone.git("log", "--all", "--format=%H", f"--grep=^{TRAILER}: ").split())
    files = [f"{clone.prefix}{name}" for name in ("dvc.lock", "data.dvc", "registry/champion.dvc")]
    commits = clone.git("log", "--all", "--format=%H", "--", *files).split()
    for commit, names in _named_by(clone.root, commits, files).items():
        (doomed if commit in nights and names & old else keep).update(names)
    for folder in (clone.study, clone.place):
        for name in ("dvc.lock", "data.dvc", "registry/champion.dvc"):
            if (folder / name).exists():
                keep.update(MD5.findall((folder / name).read_text(encoding="utf-8")))
    return _expanded(cache, doomed) - _expanded(cache, keep)


def _named_by(root: Path, commits: list[str], files: list[str]) -> dict[str, set[str]]:
    """What ``files`` named as of each commit: one look for all, for a Git each would take minutes after some years.

    Raises:
        NightError: Git does not say; then nothing may be removed.
    """
    asked = [(commit, file) for commit in commits for file in files]
    said = _cat(root, "--batch-check=%(objectname)", [":".join(one) for one in asked]).splitlines()
    blobs = [line if len(line.split()) == 1 else "" for line in said]  # else: that it is missing
    held = _cat(root, f"--batch={MARK}%(objectname)", sorted(set(blobs) - {""}))
    texts = {text[:end]: text[end:] for text in held.split(MARK)[1:] if (end := text.find("\n"))}
    named: dict[str, set[str]] = {commit: set() for commit in commits}
    for (commit, _), blob in zip(asked, blobs, strict=True):
        named[commit].update(MD5.findall(texts[blob]) if blob else ())
    return named


def _cat(root: Path, words: str, names: list[str]) -> str:
    done = run_git(root, "cat-file", words, said="".join(f"{name}\n" for name in names))
    if done.returncode:
        raise NightError(Status.FAILED, f"git cat-file failed in {root}")
    return done.stdout


def _names(text: str, pattern: str) -> list[str]:
    return re.findall(pattern, text)


def _expanded(cache: Path, names: set[str]) -> set[str]:
    """The objects, and the files of those that are folders."""
    found = set(names)
    for name in names:
        if name.endswith(".dir") and _at(cache, name).exists():
            found.update(entry["md5"] for entry in json.loads(_at(cache, name).read_text(encoding="utf-8")))
    return found


def _at(cache: Path, name: str) -> Path:
    return cache / name[:2] / name[2:]
