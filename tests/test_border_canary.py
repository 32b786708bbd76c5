"""Canaries: a made-up name wherever a file or a table can hold one, and then the search for it in all that is left."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from canary import NEEDLES, poisoned
from pictures import CANARY, study_files, tree
from pydicom.data.data_manager import DATA_ROOT

from medimg.border import profile
from medimg.border.identity import SiteKey
from medimg.border.options import Policy
from medimg.errors import ImageError, NotAnImage

OFF = Policy(**dict.fromkeys(Policy.model_fields, False))
SHARED = Path(__file__).parent.parent.parent / "shared" / "data"
CORPUS = sorted(
    path
    for root in (Path(DATA_ROOT), SHARED / "dicom_corpus", SHARED / "dicognito_cases")
    for path in (root.rglob("*") if root.is_dir() else ())
    if path.is_file() and path.stat().st_size < 2**20
)


def chosen() -> list[Path]:
    if os.environ.get("MEDIMG_CAMPAIGN") == "all":
        return CORPUS
    return random.Random(4).sample(CORPUS, min(60, len(CORPUS)))


@pytest.mark.parametrize("policy", [OFF, Policy(retain_device=False)], ids=["off", "dates and sex kept"])
def test_no_canary_is_in_the_bytes_written(policy: Policy) -> None:
    written, leaks = 0, []
    for path in chosen():
        data = poisoned(path)
        if data is None:
            continue
        try:
            clean = profile.clean(data, SiteKey(bytes(32)), "P000000000000", policy).data
        except (ImageError, NotAnImage) as refusal:
            assert CANARY.lower() not in f"{refusal!r}{refusal}".lower()
            continue
        written += 1
        if any(needle in clean.lower() for needle in NEEDLES):
            leaks.append(path.name)
    assert not leaks
    assert written >= 15


def hospital(folder: Path) -> tuple[Path, Path]:
    """Files, and a table, full of canaries; some files are broken in ways of their own."""
    source = folder / f"archive of {CANARY}"
    for name, data in study_files():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(data)
    for number, path in enumerate(path for path in CORPUS if path.suffix == ".dcm" and not number_of(path) % 4):
        data = poisoned(path)
        if data is not None:
            (source / f"{CANARY}-real-{number}").write_bytes(data if number % 3 else data[: len(data) * 2 // 3])
    table = folder / f"{CANARY}.csv"
    rows = [f"{CANARY} {n}/deep/er/{n}.x,{CANARY}{n},{CANARY},{CANARY},a,{CANARY} {n}" for n in range(8)]
    table.write_text("\n".join([f"path,patient,sex,site,finding,said by {CANARY}", *rows]))
    return source, table


def number_of(path: Path) -> int:
    return sum(path.name.encode())


def leaks(root: Path, but: tuple[Path, ...]) -> list[str]:
    """Files below ``root`` that hold the canary, in their name or bytes, but those below ``but``."""
    found = []
    for name, data in tree(root).items():
        if any(path == root / name or path in (root / name).parents for path in but):
            continue
        if CANARY.lower() in name.lower() or any(needle in data.lower() for needle in NEEDLES):
            found.append(name)
    return found


@pytest.mark.parametrize("killed", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_no_line_no_temporary_file_and_no_dump_carries_a_canary(tmp_path: Path, killed: bool) -> None:
    source, table = hospital(tmp_path / "outside")
    study = tmp_path / "study"
    for folder in (study, tmp_path / "tmp", tmp_path / "home"):
        folder.mkdir()
    shutil.copy(Path(__file__).parent.parent / "params.yaml", study)
    places = {"TMPDIR": str(tmp_path / "tmp"), "HOME": str(tmp_path / "home"), "PYTHONFAULTHANDLER": "1"}
    places |= {"MEDIMG_SITE_KEY": str(tmp_path / "key" / "site.key"), "PYTHONDEVMODE": "1"}
    command = [sys.executable, "-X", "dev", "-m", "medimg", "import", str(source), "--labels", str(table)]

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command,
            cwd=study,
            env=os.environ | places,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    said = b""
    if killed:
        for seconds in (1.0, 3.0, 6.0):
            process = start()
            time.sleep(seconds)
            os.killpg(process.pid, signal.SIGKILL)
            said += b"".join(process.communicate())
            assert not leaks(tmp_path, (tmp_path / "outside", tmp_path / "key"))
    process = start()
    said += b"".join(process.communicate())
    assert process.returncode == 0, said
    # the column of the table is told on the terminal, so that a person can decide about it; nowhere else
    lines = [line for line in said.splitlines() if not line.startswith(b"left behind: ")]
    typed = str(source).encode().lower()  # what the user typed may be said again
    assert not [line for line in lines if CANARY.lower().encode() in line.lower().replace(typed, b"")]
    assert not leaks(tmp_path, (tmp_path / "outside", tmp_path / "key" / "refused.csv"))
    if not killed:
        audited = subprocess.run(
            [*command[:5], "audit"], cwd=study, env=os.environ | places, capture_output=True, check=False
        )
        assert audited.returncode == 0, audited.stdout
        assert CANARY.encode() not in audited.stdout + audited.stderr
