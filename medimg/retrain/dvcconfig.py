"""DVC's settings in the clone: the study's own, its cache, and its remotes by absolute paths."""

import configparser
import os
import sys
from pathlib import Path

LOCAL = ".dvc/config.local"


def configure(study: Path, place: Path) -> None:
    """Let DVC in ``place``, the study's clone, use what it uses in ``study``."""
    local = configparser.ConfigParser(interpolation=None)
    shared = configparser.ConfigParser(interpolation=None)
    here = study / ".dvc"
    shared.read(here / "config")
    local.read(here / "config.local")
    for config in (shared, local):
        for section in config.sections():
            url = config.get(section, "url", fallback="")
            if url and "://" not in url and not os.path.isabs(url):  # noqa: PTH117
                if not local.has_section(section):
                    local.add_section(section)
                local.set(section, "url", os.path.normpath(here / url))
    if not local.has_section("cache"):
        local.add_section("cache")
    cache = local.get("cache", "dir", fallback=shared.get("cache", "dir", fallback="cache"))
    local.set("cache", "dir", os.path.normpath(here / cache))
    with (place / LOCAL).open("w", encoding="utf-8") as file:
        local.write(file)


def environment() -> dict[str, str]:
    """In which DVC runs: stages call ``python``, to which the PATH of cron or systemd does not lead."""
    return os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}


def cache_of(place: Path) -> Path:
    """The cache that study and clone share."""
    local = configparser.ConfigParser(interpolation=None)
    local.read(place / LOCAL)
    return Path(local.get("cache", "dir"))
