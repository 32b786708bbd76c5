"""What came from a PACS before, series by series, so that a series that is here whole is not fetched again.

One small file a series below ``.medimg/fetched/``, in pseudonyms, written when its batch stands in ``data/``. It counts
as long as the rules and the code are the same, the PACS names the same instances, and each file is in ``data/`` as it
was written. A series of which an image was refused is not remembered: it is fetched and refused again.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from medimg.border.sources import Taken
from medimg.border.staging import Staging
from medimg.files import publish


@dataclass
class Fetched:
    """The memory of imports into one study, under the rules of one of them."""

    staging: Staging
    new: dict[str, dict[str, Taken | None]] = field(default_factory=dict)
    """series → instance → what became of it, None for a refusal"""
    again: int = 0
    """series that were here whole"""

    def known(self, series: str, instances: frozenset[str]) -> dict[str, Taken]:
        """For each instance of a series what became of it; empty unless all of them are here."""
        path = self._path(series)
        try:
            said = json.loads(path.read_text(encoding="utf-8"))
            taken = {uid: Taken(**one) for uid, one in said["taken"].items()}
        except (OSError, ValueError, TypeError, KeyError):
            return {}
        found = {uid: taken.get(self._name(uid)) for uid in instances}
        same = said["stamp"] == self.staging.folder.name and len(taken) == len(instances)
        there = same and all(one is not None and self.staging.has(one) for one in found.values())
        self.again += there
        return {uid: one for uid, one in found.items() if one is not None} if there else {}

    def note(self, series: str, instance: str, taken: Taken | None) -> None:
        """What became of an instance that was fetched."""
        self.new.setdefault(series, {})[self._name(instance)] = taken

    def save(self) -> None:
        """Remember the series of a batch that is in place."""
        for series, found in self.new.items():
            taken = {
                uid: asdict(one) for uid, one in sorted(found.items()) if one is not None and self.staging.has(one)
            }
            path = self._path(series)
            path.unlink(missing_ok=True)
            if len(taken) == len(found):
                path.parent.mkdir(mode=0o700, exist_ok=True)
                with publish(path) as partial:
                    partial.write_text(
                        json.dumps({"stamp": self.staging.folder.name, "taken": taken}), encoding="utf-8"
                    )

    def _path(self, series: str) -> Path:
        return self.staging.folder.parent.parent / "fetched" / f"{self._name(series)}.json"

    def _name(self, uid: str) -> str:
        return self.staging.rules.key.row(uid)
