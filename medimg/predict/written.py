"""The folders that a run writes: one of pseudonyms and, where the user asks for it, one of the hospital's names."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from medimg.border.spool import base
from medimg.errors import DataError
from medimg.files import lock, publish_folder, sha256, write_json
from medimg.predict.account import Account
from medimg.predict.documents import write_reports
from medimg.predict.evidence import Evidence
from medimg.predict.heatmaps import Heatmap, write_heatmap, write_map
from medimg.predict.look import Look

_OF_A_STUDY = ("params.yaml", "dvc.yaml", ".dvc")


def check_places(out: Path, identified: Path | None) -> None:
    """Refuse folders that hold something, and one of names inside a study or beside the results.

    Raises:
        DataError: see above.
    """
    for folder in (out, *([identified] if identified else [])):
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise DataError(f"{folder} holds something already. Name a folder that is empty or does not exist.")
    if identified is None:
        return
    where = identified.resolve()
    above = (where, *where.parents)
    if out.resolve() in above or any((folder / name).exists() for folder in above for name in _OF_A_STUDY):
        raise DataError(
            f"{identified} would hold the names of patients inside a study or beside the results. Name a folder "
            "elsewhere."
        )


@dataclass
class Written:
    """The folders while they grow; both take their places when the run is over, or neither is left."""

    out: Path
    named: Path | None
    bundle: str
    """its hash"""
    about: list[dict[str, Any]] = field(default_factory=list)
    """of each image the hospital's words, in the order of arrival"""
    headers: dict[str, Evidence] = field(default_factory=dict)
    own: dict[str, Evidence] = field(default_factory=dict)
    unwritten: int = 0
    """documents that could not be written: a header holds what none may repeat"""

    def take(self, page: list[Look]) -> None:
        """Note what documents need of a page of images."""
        for one in page:
            if self.named:
                self.about.append({"sample": one.sample} | (one.identity or {}))
            self.headers |= {one.sample: one.header} if one.header else {}
            self.own |= {one.sample: one.own} if one.own else {}

    def heatmaps(self, page: list[Look], found: list[Heatmap | None], pictures: bool, maps: bool) -> None:
        """Write where the network looked in a page of images: pictures, maps on the images' own grids, or both."""
        for one, heatmap in zip(page, found, strict=True):
            if heatmap is None:
                continue
            if pictures and one.shown:
                done = write_heatmap(heatmap.picture, one.sample, one.header, self.bundle, self.out / "heatmaps")
                self.unwritten += not done
            if pictures and self.named:
                done = write_heatmap(heatmap.picture, one.sample, one.own, self.bundle, self.named / "heatmaps")
                self.unwritten += not done
            if maps:
                write_map(heatmap.heat, one.sample, one.geometry, self.out / "maps")

    def reports(self, table: pd.DataFrame, intended_use: str) -> int:
        """Write the structured reports; how many studies have one."""
        if self.named:
            self.unwritten += write_reports(table, self.own, self.bundle, intended_use, self.named / "sr")[1]
        done, failed = write_reports(table, self.headers, self.bundle, intended_use, self.out / "sr")
        self.unwritten += failed
        return done

    def tables(self, tables: dict[str, pd.DataFrame], account: Account, summary: dict[str, Any]) -> None:
        """Write what is no document."""
        for name, table in tables.items():
            _csv(table, self.out / f"{name}.csv")
            table.to_parquet(self.out / f"{name}.parquet", index=False)
        refused = [row[:3] for row in sorted(account.refused)]
        _csv(pd.DataFrame(refused, columns=["file", "code", "detail"]), self.out / "refused.csv")
        write_json(self.out / "summary.json", summary)
        if self.named:
            who = pd.DataFrame(self.about)
            _csv(who.merge(tables["predictions"], on="sample").sort_values("file"), self.named / "predictions.csv")
            rows = sorted((row[3], *row[1:3]) for row in account.refused)
            _csv(pd.DataFrame(rows, columns=["file", "code", "detail"]), self.named / "refused.csv")


@contextmanager
def writing(out: Path, identified: Path | None, bundle: str) -> Iterator[Written]:
    """Both folders, published when the block ends; that of names can be entered by its owner alone.

    Raises:
        BusyError: another run of this user on this machine is about to write one of them.
        DataError: one holds something by now.
    """
    with ExitStack() as stack:
        for folder in (out, identified) if identified else (out,):
            place = base() / f"out-{sha256(str(folder.resolve()).encode())[:16]}.lock"
            stack.enter_context(lock(place, f"medimg predict into {folder}"))
        check_places(out, identified)  # another run may have ended since
        named = stack.enter_context(publish_folder(identified)) if identified else None
        if named:
            named.chmod(0o700)
        yield Written(stack.enter_context(publish_folder(out)), named, bundle)


def _csv(table: pd.DataFrame, path: Path) -> None:
    table.to_csv(path, index=False, lineterminator="\n")
