"""registry/history.jsonl: what every night decided. It only grows, and each line carries the hash of the one before.

Whoever changes, removes or inserts a line breaks the chain from there on. That lines are missing at the end shows in
``champion.yaml``, which names the line that made the champion; what came after that line stands in Git alone.
"""

import json
from pathlib import Path
from typing import Any

from medimg.errors import RegistryError
from medimg.files import sha256, write_text

HISTORY = Path("registry/history.jsonl")
RESTORE = "Restore registry/: git checkout registry, or git revert of the commit that changed it."
NOTHING = "0" * 64
"""What the first line says of the one before."""


def read_history(study: Path = Path()) -> list[dict[str, Any]]:
    """The lines in order, checked; each with its ``line`` (from 1) and the hash ``before``.

    Raises:
        RegistryError: the chain is broken.
    """
    found: list[dict[str, Any]] = []
    before = NOTHING
    for number, text in enumerate(_lines(study), start=1):
        try:
            line = json.loads(text)
            whole = line["line"] == number and line["before"] == before
        except (ValueError, KeyError, TypeError):
            whole = False
        if not whole:
            raise RegistryError(
                f"{HISTORY} was changed: its line {number} does not follow the one before it. {RESTORE}"
            )
        found.append(line)
        before = sha256(text.encode())
    return found


def head(study: Path = Path()) -> str:
    """The hash of the last line; of an empty history, ``NOTHING``."""
    lines = _lines(study)
    return sha256(lines[-1].encode()) if lines else NOTHING


def _lines(study: Path) -> list[str]:
    """A reason may hold what Unicode counts as the end of a line; here only a newline is one."""
    path = study / HISTORY
    try:
        text = path.read_text(encoding="utf-8") if path.exists() else ""
    except UnicodeDecodeError:
        raise RegistryError(f"{HISTORY} was changed: it is no UTF-8 any more. {RESTORE}") from None
    return text.removesuffix("\n").split("\n") if text else []


def append(study: Path, entry: dict[str, Any]) -> dict[str, Any]:
    """Add a line that says ``entry``, and return it with its number and the hash of the line before.

    Raises:
        RegistryError: the chain is broken already.
        ValueError: ``entry`` holds NaN or what is no JSON: a defect of the caller.
    """
    lines = read_history(study)
    line = {"line": len(lines) + 1, "before": head(study)} | entry
    path = study / HISTORY
    so_far = path.read_text(encoding="utf-8") if path.exists() else ""
    write_text(path, so_far + json.dumps(line, allow_nan=False, ensure_ascii=False) + "\n")
    return line
