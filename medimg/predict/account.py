"""What becomes of each file: images that are to be scored, and all others with a reason."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from medimg.border.account import reasons
from medimg.border.identity import SiteKey
from medimg.familiar import Familiar
from medimg.predict.inputs import Job
from medimg.predict.look import Look
from medimg.predict.volumes import Stack
from medimg.work import Failure

COPY, UNLIKE = "copy", "unlike"
DECISIVE = ("modality", "body_part")
"""Facts that the training data must share for an image to be scored at all."""


@dataclass
class Account:
    """The files that are not scored."""

    familiar: Familiar
    score_all: bool
    key: SiteKey
    refused: list[tuple[str, str, str, str]] = field(default_factory=list)
    """pseudonym of the file, code, detail, and the file's own name"""
    not_images: int = 0
    seen: set[str] = field(default_factory=set)

    def looks(self, results: Iterator[tuple[Job | Stack, list[Look] | Failure | None]]) -> Iterator[Look]:
        """The images that are to be scored, each once; the others are noted."""
        for job, found in results:
            if found is None:
                self.not_images += 1
            elif isinstance(found, Failure):
                self.refuse(job, found.code.value, found.detail)
            else:
                fresh = [one for one in found if one.sample not in self.seen]
                if len(fresh) < len(found):
                    self.refuse(job, COPY, "the same image as that of another input, which is scored once")
                yield from (one for one in fresh if self._may_be_scored(job, one))

    @property
    def codes(self) -> dict[str, int]:
        """Code → files refused."""
        return dict(sorted(Counter(code for _, code, *_ in self.refused).items()))

    def __str__(self) -> str:
        refused = reasons((code, detail) for _, code, detail, _ in self.refused)
        return f"Files that are no images: {self.not_images}; refused: {refused}."

    def _may_be_scored(self, job: Job | Stack, one: Look) -> bool:
        other = [name for name in DECISIVE if name in self.familiar.strange(one.facts, one.numbers)]
        if other and not self.score_all:
            words = " and ".join(name.replace("_", " ") for name in other)
            self.refuse(job, UNLIKE, f"its {words} never occurred in the training data")
            return False
        self.seen.add(one.sample)
        return True

    def refuse(self, job: Job | Stack, code: str, detail: str) -> None:
        """Note that a file, or every file of a volume, is not scored."""
        for file in job.files:
            name = file.known.path if file.known else self.key.row(file.item.name)
            self.refused.append((name, code, detail, file.item.name))
