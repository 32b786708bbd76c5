"""All of ``data/`` held against what may be in it: ``medimg audit``, and each ``ingest``."""

import os
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from medimg.border.audit import audit, shown
from medimg.border.statement import Imported, read_imports
from medimg.errors import DataError
from medimg.files import code_sha256, publish, sha256_file, sha256_json
from medimg.work import Failure, over

_SHOWN = 20
_TOOL = "medimg import"


@dataclass(frozen=True)
class Examined:
    """What an audit saw."""

    files: int
    """read and held against the rules"""
    synthetic: int
    """of the demo study: nobody stands behind them"""
    findings: list[str]

    def __str__(self) -> str:
        """In words; no value that was read."""
        told = f"{self.files} files were read again, {len(self.findings)} findings"
        if self.synthetic:
            told += f"; {self.synthetic} files of a synthetic study were left out"
        more = len(self.findings) - _SHOWN
        return "\n".join([told, *self.findings[:_SHOWN], *([f"and {more} more"] if more > 0 else [])])


def examine(data: Path, processes: int | None = None) -> Examined:
    """Audit each file below ``data``, and that an import vouches for it as it is.

    Raises:
        DataError: there is no such folder, or a statement does not fit its manifest.
    """
    if not data.is_dir():
        raise DataError(f"There is no folder {data} to audit.")
    imported = read_imports(data)
    paths = [Path(folder, name).relative_to(data).as_posix() for folder, _, names in os.walk(data) for name in names]
    batches = [statement["batch"] for statement in imported.statements]
    statements = {f"imports/{batch:04d}.{kind}" for batch in batches for kind in ("json", "csv")}
    found = [path for path in paths if path not in statements]
    findings = [f"{shown(path)}: no import vouches for it" for path in found if path not in imported.sha256]
    findings += [f"{shown(path)}: an import vouches for it, and it is gone" for path in set(imported.sha256) - {*found}]
    vouched = [path for path in found if path in imported.sha256]
    ours = list(_ours(imported, vouched))
    findings += _audited(data, imported, ours, processes)
    findings += [f"{shown(path)}: another one than was imported" for path in vouched if _changed(data, imported, path)]
    return Examined(len(ours), len(vouched) - len(ours), sorted(findings))


def assure(data: Path, imported: Imported, memo: Path, changed: Collection[str] = ()) -> None:
    """Audit the files that imports vouch for and that this code has not found clean before.

    Args:
        data: the folder.
        imported: what its manifests vouch for; the caller has compared the hashes.
        memo: where to note path and hash of the files in which nothing was found.
        changed: paths where other files stand now, for which nothing vouches; left out.

    Raises:
        DataError: something was found.
    """
    rules = sha256_json([code_sha256(), _forced(imported)])
    tools = _tools(imported)
    others = set(changed)
    lines = (
        f"{digest} {path}"
        for path, digest, batch in imported.rows()
        if tools[batch] == _TOOL and path not in others and os.path.isfile(f"{data}/{path}")  # noqa: PTH113  # for every file
    )
    with publish(memo) as partial, partial.open("w", encoding="utf-8") as file:
        file.write(f"{rules}\n")
        count = 0

        def unknown() -> Iterator[str]:
            nonlocal count
            for line, known in _beside(lines, _noted(memo, rules)):
                count += 1
                file.write(f"{line}\n")
                if not known:
                    yield line.partition(" ")[2]

        findings = _audited(data, imported, unknown(), None)
        if findings:
            raise DataError(
                f"The audit found {len(findings)} of {count} files under {data}/ that may identify someone, although "
                f"an import vouches for them. The first: {'; '.join(findings[:3])}. See all: medimg audit {data}"
            )


def _noted(memo: Path, rules: str) -> Iterator[str]:
    """The lines of a memo, in order of their paths; none where it was written under other rules."""
    if memo.is_file():
        with memo.open(encoding="utf-8", errors="replace") as file:
            if file.readline().rstrip("\n") == rules:
                yield from (line.rstrip("\n") for line in file)


def _beside(lines: Iterator[str], noted: Iterator[str]) -> Iterator[tuple[str, bool]]:
    """Each line, and whether it is noted; both in order of the paths behind their first space."""
    other = next(noted, None)
    for line in lines:
        path = line.partition(" ")[2]
        while other is not None and other.partition(" ")[2] < path:
            other = next(noted, None)
        yield line, other == line


def _ours(imported: Imported, paths: Iterable[str]) -> Iterator[str]:
    """Those that ``medimg import`` brought; the demo study is drawn, not imported."""
    tools = _tools(imported)
    return (path for path in paths if tools[imported.batch[path]] == _TOOL)


def _tools(imported: Imported) -> dict[int, str | None]:
    """What wrote each batch."""
    return {statement["batch"]: statement.get("tool") for statement in imported.statements}


def _audited(data: Path, imported: Imported, paths: Iterable[str], processes: int | None) -> list[str]:
    forced = _forced(imported)
    findings: list[str] = []
    for path, found in over(partial(_look, data, forced), paths, processes=processes):
        findings += [f"{shown(path)}: its audit ended with {found.code}"] if isinstance(found, Failure) else found
    return sorted(findings)


def _forced(imported: Imported) -> list[str]:
    return sorted({name for statement in imported.statements for name in statement.get("forced_columns", [])})


def _look(data: Path, forced: list[str], path: str) -> list[str]:
    return audit(data, [path], forced)


def _changed(data: Path, imported: Imported, path: str) -> bool:
    return sha256_file(data / path) != imported.sha256[path]
