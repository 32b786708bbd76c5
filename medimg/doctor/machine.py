"""The machine: Python, packages, tools, disk, memory, clock, devices."""

import os
import shutil
import sys
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryFile

from medimg.doctor import Check
from medimg.params import Params, load
from medimg.records import DATA
from medimg.stage import LOCK, lock_head
from medimg.work import cores

GIB = 2**30
_LEAST_DISK = 5 * GIB  # for a cache, weights and logs of a study of any size
_COPIES = 3  # of the images: data/, DVC's cache, the store and what it replaces
_SHOWN = 5
_SKEW = 5.0  # s


def python() -> Iterator[Check]:
    """The version, and whether it is a virtual environment."""
    found = ".".join(map(str, sys.version_info[:3]))
    old = sys.version_info < (3, 11)
    yield Check("Python", "fail" if old else "ok", found, "medimg needs 3.11 or newer." if old else "")
    if sys.prefix == sys.base_prefix:
        yield Check("environment", "warn", "no virtual environment", "make one: python3 -m venv .venv")


def packages() -> Iterator[Check]:
    """Installed versions against requirements.lock of the current folder."""
    if not LOCK.is_file():
        yield Check("packages", "warn", f"there is no {LOCK} here to compare with", "Go into a study.")
        return
    lines = LOCK.read_text(encoding="utf-8").splitlines()
    if lines and lines[0].startswith("# medimg ") and lines[0] != lock_head():
        yield Check("medimg", "fail", f"not the one that {LOCK} names", "medimg lock, then dvc repro; or install it.")
    wanted = dict(line.split("==", 1) for line in lines if "==" in line and not line.startswith("#"))
    other, missing = [], []
    for name, wants in wanted.items():
        try:
            found = version(name).split("+")[0]  # +cpu is this machine's build
        except PackageNotFoundError:
            missing.append(name)
            continue
        if found != wants.split(";")[0].strip():
            other.append(f"{name} {found} for {wants}")
    told = [*(f"{name} missing" for name in missing), *other]
    yield Check(
        "packages",
        "fail" if missing else "warn" if other else "ok",
        f"{len(wanted)} named in {LOCK}; " + (", ".join(told[:_SHOWN]) + (" …" if len(told) > _SHOWN else "") if told
                                              else "all as it says"),
        f"pip install -r {LOCK}" if told else "",
    )  # fmt: skip


def tools() -> Iterator[Check]:
    """Programs beside Python."""
    git = shutil.which("git")
    yield Check("Git", "ok" if git else "fail", git or "not installed", "" if git else "Install git.")
    from medimg.border import ocr

    there = ocr.installed()
    yield Check(
        "text detector",
        "ok" if there else "warn",
        "installed" if there else "not installed: what a header says of burned-in text is all that is known",
        "" if there else "pip install -r requirements-ocr.lock",
    )


def disk() -> Iterator[Check]:
    """Free space of this folder's disk against what the study may need."""
    free = shutil.disk_usage(Path()).free
    data = sum(path.stat().st_size for path in DATA.rglob("*") if path.is_file()) if DATA.is_dir() else 0
    need = _LEAST_DISK + _COPIES * data
    words = f"{free / GIB:.1f} GiB free; a study with {data / GIB:.1f} GiB of images may need {need / GIB:.1f} more"
    short = free < need
    yield Check("disk", "warn" if short else "ok", words, "Make room, or move cache.dir of DVC." if short else "")


def memory() -> Iterator[Check]:
    """Memory against what reading on every core may take."""
    if not hasattr(os, "sysconf") or "SC_AVPHYS_PAGES" not in os.sysconf_names:
        return
    page = os.sysconf("SC_PAGE_SIZE")
    total = os.sysconf("SC_PHYS_PAGES") * page
    each = _params().ingest.memory if _params() else 4.0  # type: ignore[union-attr]
    need = cores() * each * GIB
    words = f"{total / GIB:.1f} GiB; {cores()} readers may take {each:g} GiB each (ingest.memory)"
    short = total < need
    yield Check("memory", "warn" if short else "ok", words, "Lower ingest.memory." if short else "")


def clock() -> Iterator[Check]:
    """The system's clock against that of the disk, which may be another machine's."""
    with TemporaryFile(dir=Path()) as file:
        file.write(b"1")
        file.flush()
        skew = os.fstat(file.fileno()).st_mtime - time.time()
    wrong = abs(skew) > _SKEW or time.gmtime().tm_year < 2026
    yield Check(
        "clock",
        "warn" if wrong else "ok",
        f"{time.strftime('%Y-%m-%d %H:%M:%S %Z')}; the disk's differs by {abs(skew):.1f} s",
        "Let both keep time by NTP: certificates and schedules depend on it." if wrong else "",
    )


def devices() -> Iterator[Check]:
    """Cores, and accelerators that torch sees."""
    import torch

    names = [torch.cuda.get_device_name(at) for at in range(torch.cuda.device_count())]
    names += ["Apple GPU"] if torch.backends.mps.is_available() else []
    yield Check(
        "devices", "ok", f"{cores()} cores; " + (", ".join(names) or "no accelerator: training runs on the CPU")
    )


def _params() -> Params | None:
    try:
        return load()
    except Exception:  # the study's own check tells what is wrong with it
        return None
