"""Which of medimg's own files a Python file needs, by walking its imports, lazy ones too."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent


def needed(entry: Path) -> set[Path]:
    """Files of medimg, relative to the root, that ``entry`` imports, directly or not; type checking apart."""
    found: set[Path] = set()
    queue = [entry]
    while queue:
        for path in imported(queue.pop()) - found:
            found.add(path)
            queue.append(path)
    return {path.relative_to(ROOT) for path in found}


@cache
def imported(path: Path) -> frozenset[Path]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return frozenset(file for name in _names(tree) for file in _files(name))


def _names(tree: ast.AST) -> Iterator[str]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        yield from _names(node)


def _files(name: str) -> Iterator[Path]:
    """The module and every package above it, where they are medimg's."""
    parts = name.split(".")
    if parts[0] != "medimg":
        return
    for end in range(1, len(parts) + 1):
        path = ROOT.joinpath(*parts[:end])
        if (path / "__init__.py").exists():
            if len(ast.parse((path / "__init__.py").read_text(encoding="utf-8")).body) > 1:  # more than its docstring
                yield path / "__init__.py"
        elif path.with_suffix(".py").exists():
            yield path.with_suffix(".py")
