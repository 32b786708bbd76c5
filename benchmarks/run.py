"""Measure and write BENCHMARKS.md: ``python -m benchmarks.run`` for all topics, or with the names of some.

A topic is a module of this folder that has ``measure() -> list[Row]``; the first line of its docstring is its heading,
and ``NOT_MEASURED``, where it has one, says what is left out. Topics that are not named keep the section they have.
"""

import importlib
import platform
import re
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.paired import PAIRS, ROOT
from medimg.work import cores

PAGE = ROOT / "BENCHMARKS.md"
PACKAGES = ("torch", "monai", "pytorch-lightning", "numpy", "pydicom", "imagecodecs", "scikit-learn")
INTRODUCTION = f"""# Benchmarks

Written by `make bench`. How many times as fast as the peer, in the same run, alternating, unless a line says otherwise:
median of {PAIRS} paired ratios, and their range. Above 1 medimg is faster.
"""


def topics() -> list[str]:
    """Names of the modules that measure."""
    modules = sorted(Path(__file__).parent.glob("*.py"))
    return [path.stem for path in modules if "\ndef measure(" in path.read_text(encoding="utf-8")]


def section(topic: str) -> str:
    """Measure a topic → its section of the page."""
    module = importlib.import_module(f"benchmarks.{topic}")
    rows = module.measure()
    lines = [f"## {topic}: {str(module.__doc__).splitlines()[0]}", ""]
    lines += ["| what | median | range | goal |", "|---|---|---|---|"]
    lines += [f"| {row.what} | {row.median:.2f} | {row.low:.2f} – {row.high:.2f} | {row.goal} |" for row in rows]
    lines += ["", f"{platform.machine()}, {cores()} cores; Python {platform.python_version()}, {_versions()}."]
    if hasattr(module, "NOT_MEASURED"):
        lines += [f"Not measured: {module.NOT_MEASURED}."]
    return "\n".join(lines) + "\n"


def _versions() -> str:
    found = []
    for package in PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


def main(chosen: list[str]) -> None:
    """Measure the chosen topics, or all, and publish the page."""
    if unknown := sorted(set(chosen) - set(topics())):
        sys.exit(f"No topic of the name {unknown[0]}. There are: {', '.join(topics())}")
    before = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
    sections = {
        match[1]: match[0] for match in re.finditer(r"^## (\w+):.*?(?=^## |\Z)", before, re.DOTALL | re.MULTILINE)
    }
    for topic in chosen or topics():
        print(f"measuring {topic}", flush=True)
        sections[topic] = section(topic)
        kept = "\n".join(sections[name].rstrip("\n") + "\n" for name in topics() if name in sections)
        PAGE.write_text(f"{INTRODUCTION}\n{kept}", encoding="utf-8")
        print(sections[topic])


if __name__ == "__main__":
    main(sys.argv[1:])
