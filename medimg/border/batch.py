"""What one import brings, kept in pseudonyms and counts, the same in whatever order the files arrive."""

import os
import sys
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path

from medimg.border import table
from medimg.border.account import HOW_TO_TELL_APART, Summary, reasons
from medimg.border.audit import audit
from medimg.border.folders import check_folders
from medimg.border.identity import refused_path
from medimg.border.naming import is_plain
from medimg.border.sources import Taken
from medimg.border.staging import Staging
from medimg.border.statement import Imported, next_batch, write_batch
from medimg.errors import BorderError, Refusal
from medimg.files import publish, sha256_file
from medimg.work import Failure, over

_CONTRADICTION = (Refusal.CONFLICT.value, "the table says different things of two equal files")
_SHARED = (Refusal.CONFLICT.value, "the table's row about it fits images of several patients")


@dataclass
class Batch:
    """The files of one import as they are told of, and then what is made of them."""

    where: str
    staging: Staging
    imported: Imported
    rows: dict[str, table.Row]
    """keyed digest of what a row is about → the row"""
    files: dict[str, list[tuple[str, Taken]]] = field(default_factory=dict)
    """path below data/ → the source files that would stand there, by the hospital's names"""
    masks: dict[str, Taken] = field(default_factory=dict)
    """what the table calls a mask → what became of it"""
    refused: list[tuple[str, str, str]] = field(default_factory=list)
    """the hospital's name, code, detail"""
    not_images: int = 0
    actions: dict[tuple[tuple[str, int], ...], dict[str, int]] = field(default_factory=dict)
    """counts of actions that files have in common"""

    def refuse(self, name: str, failure: Failure) -> None:
        """Count a file that must not cross."""
        self.refused.append((name, failure.code.value, failure.detail))

    def take(self, name: str, taken: Taken) -> None:
        """Count a file that may cross."""
        taken = self._shared(taken)
        self.files.setdefault(taken.target, []).append((name, taken))

    def _shared(self, taken: Taken) -> Taken:
        """The same with what many files have in common held once: this stays in memory until the batch is whole."""
        actions = self.actions.setdefault(tuple(taken.actions.items()), taken.actions)
        patient, site = sys.intern(taken.patient), sys.intern(taken.site)
        return replace(taken, patient=patient, site=site, actions=actions, named=tuple(taken.named))

    def take_mask(self, name: str, taken: Taken) -> None:
        """Count a mask that may cross if its image does."""
        self.masks[table.normal(name)] = taken

    def owners(self) -> dict[str, set[str]]:
        """What the table calls a mask → patients of the images taken so far that have it."""
        owners: dict[str, set[str]] = {}
        for taken in (taken for found in self.files.values() for _, taken in found):
            row = self.rows[taken.row] if taken.row is not None else table.Row()
            if row.mask:
                owners.setdefault(row.mask, set()).add(taken.patient)
        return owners

    def finish(self, keep: Collection[str], processes: int | None) -> Summary:
        """Write labels.csv, audit, and vouch: the batch is ready to move, or there is nothing new.

        Raises:
            BorderError: nothing can be imported, or what was written does not pass the audit.
        """
        cells = self._resolve()
        if not cells:
            self.staging.drop()
            raise BorderError(f"No image could be imported from {self.where}. {self._why()}")
        data = self.staging.data
        labels = self.staging.out / "labels.csv"
        before = labels.read_bytes() if labels.is_file() else None
        forced = sorted({*keep, *(name for old in self.imported.statements for name in old.get("forced_columns", []))})
        try:
            text, kept, dropped, relabelled = self._labels(labels, cells, forced)
        except BorderError:
            self.staging.drop()
            raise
        masks = {cell[table.MASK] for cell in cells.values()} - {""}
        new = sorted(target for target in [*cells, *masks] if not self._vouched(target))
        summary = self._summary(cells, new, kept, dropped, relabelled)
        if not new and before == text.encode():
            self.staging.drop()
            return summary(None)
        for target in new:
            self.staging.fetch(target)
        self.staging.keep(set(new))
        with publish(data / "labels.csv") as partial_file:
            partial_file.write_text(text, encoding="utf-8", newline="")
        written = [*new, "labels.csv"]
        self._audit(written, forced, processes)
        rules = self.staging.rules
        done = summary(next_batch(self.staging.out))
        assert done.batch is not None
        issuers = {target: taken.issuer for target in new if (taken := self._taken(target)).issuer}
        write_batch(data, done.batch, done.statement(rules.key.fingerprint, forced, rules.policy), written, issuers)
        self.staging.seal()
        return done

    def _resolve(self) -> dict[str, dict[str, str]]:
        """For each image that may cross, its cells; of equal files that would cross differently, none may."""
        cells = {}
        shared = self._rows_of_several
        for target, found in self.files.items():
            if any(taken.row in shared for _, taken in found):
                self.refused += [(name, *_SHARED) for name, _ in found]
                continue
            said = [self._cells(taken) for _, taken in found]
            if any(other != said[0] for other in said) or len({taken.sha256 for _, taken in found}) > 1:
                self.refused += [(name, *_CONTRADICTION) for name, _ in found]
            else:
                cells[target] = said[0]
        return cells

    @cached_property
    def _rows_of_several(self) -> set[str | None]:
        """Once all is read, rows about an accession or a patient that fit several: such numbers are a hospital's."""
        hospital = self.staging.rules.table
        if hospital is None or hospital.key not in ("accession", "patient"):
            return set()
        whose: dict[str | None, set[str]] = {}
        for taken in (taken for found in self.files.values() for _, taken in found if not taken.nobody):
            whose.setdefault(taken.row, set()).add(taken.patient)
        return {row for row, patients in whose.items() if row is not None and len(patients) > 1}

    def _of_several_issuers(self, crossed: list[Taken]) -> int:
        """Patients of this import whose files, of any import, name several issuers."""
        issuers = self.imported.issuers()
        for taken in crossed:
            if taken.issuer:
                issuers.setdefault(taken.patient, set()).add(taken.issuer)
        return sum(len(issuers.get(patient, ())) > 1 for patient in {taken.patient for taken in crossed})

    def _cells(self, taken: Taken) -> dict[str, str]:
        row = self.rows[taken.row] if taken.row is not None else table.Row()
        mask = self.masks.get(row.mask)
        return table.crossing(row, taken.patient, taken.site, mask.target if mask else "", self.staging.rules.key)

    def _taken(self, target: str) -> Taken:
        if target in self.files:
            return self.files[target][0][1]
        return self._by_target[target]

    @cached_property
    def _by_target(self) -> dict[str, Taken]:
        return {mask.target: mask for mask in self.masks.values()}

    def _vouched(self, target: str) -> bool:
        digest = self._taken(target).sha256
        file = self.staging.out / target
        return self.imported.sha256.get(target) == digest and file.is_file() and sha256_file(file) == digest

    def _audit(self, written: list[str], forced: list[str], processes: int | None) -> None:
        findings = []
        for path, found in over(partial(_look, self.staging.data, forced), written, processes=processes):
            said = [f"{path}: the audit ended with {found.code}"] if isinstance(found, Failure) else found
            self.refused += [(name, "audit", finding) for finding in said for name, _ in self.files.get(path, [])]
            findings += said
        if findings:
            self.staging.drop()
            raise BorderError(
                f"The audit found {len(findings)} files that must not cross; nothing of this import was kept. "
                f"The first: {'; '.join(sorted(findings)[:3])}. Which files of the hospital's they are: "
                f"{refused_path()}, code audit. Leave these out, and report it."
            )

    def _why(self) -> str:
        """What stood in the way of every file."""
        codes = Counter(code for _, code, _ in self.refused)
        why = reasons((code, detail) for _, code, detail in self.refused)
        lines = [f"{self.not_images} files are no images; refused: {why}."]
        hospital = self.staging.rules.table
        if hospital and (rows := hospital.rows.keys() - hospital.made):
            matched = len(self._matched())
            if hospital.by_path:  # files that were refused have a row all the same
                matched = len(rows & self._named_files())
            lines.append(f"{matched} of {len(rows)} rows of the table match a file by their {hospital.key}.")
            if not matched and hospital.by_path:
                lines.append(f"Its column path must name each file as it lies below {self.where}.")
        if codes[Refusal.NO_PATIENT.value]:
            lines.append(
                "PNG, JPEG and NIfTI files need the columns path and patient in the table (--labels); if each is "
                "another person's, say --each-image-is-a-patient."
            )
        if codes[Refusal.CONFLICT.value]:
            lines.append("Header and table name different patients: leave the column patient out for DICOM files.")
        if self._rows_of_several:
            lines.append(f"Rows of the table fit several patients each. {HOW_TO_TELL_APART}")
        return " ".join(lines)

    def _named_files(self) -> set[str]:
        taken = (name for found in self.files.values() for name, _ in found)
        return {table.normal(name) for name in (*taken, *(name for name, *_ in self.refused))}

    def _matched(self) -> set[str]:
        return {taken.row for found in self.files.values() for _, taken in found if taken.row is not None}

    @cached_property
    def _named(self) -> set[str]:
        """Label columns that are called as somebody is in a header; the folders' column is one that the user named."""
        hospital = self.staging.rules.table
        if hospital is None:
            return set()
        places = {place for found in self.files.values() for _, taken in found for place in taken.named}
        return {hospital.columns[place] for place in places} - {hospital.folders}

    def _unmatched(self, hospital: table.Table) -> int:
        key = self.staging.rules.key
        found = {key.row(name) for name in hospital.rows if name not in hospital.made}
        return len(found - self._matched()) + hospital.keyless

    def _labels(
        self, labels: Path, cells: dict[str, dict[str, str]], forced: list[str]
    ) -> tuple[str, dict[str, list[str]], list[str], int]:
        """The text of labels.csv with earlier rows kept, columns kept and their values, those dropped, rows changed."""
        columns, written = table.read_written(labels)
        hospital = self.staging.rules.table
        rows = dict(written)
        vouched = labels.is_file() and self.imported.sha256.get("labels.csv") == sha256_file(labels)
        for target, new in cells.items():
            old = written.get(target, {})
            said = {name: value for name, value in new.items() if value or name not in (*table.FIXED, table.MASK)}
            rows[target] = new | old | said if hospital or not old else old
        candidates = dict.fromkeys([*columns, *(hospital.columns if hospital else [])])
        if hospital and hospital.folders:
            column = hospital.folders
            before = {row.get(column, "") for row in written.values()} if vouched else set()
            now = {cell.get(column, "") for cell in cells.values()} - {""}
            check_folders(column, list(rows.values()), now, before, forced)
        kept, dropped = table.choose(
            candidates, list(rows.values()), [*forced, *(columns if vouched else [])], self._named
        )
        named = [*kept, *table.FIXED, table.MASK]
        changed = sum(
            any(rows[target].get(name, "") != old.get(name, "") for name in named) for target, old in written.items()
        )
        values = {name: sorted({row.get(name, "") for row in rows.values()} - {""}) for name in kept}
        return table.render(kept, rows), values, dropped, changed

    def _summary(
        self,
        cells: dict[str, dict[str, str]],
        new: list[str],
        kept: dict[str, list[str]],
        dropped: list[str],
        changed: int,
    ) -> Callable[[int | None], Summary]:
        rules = self.staging.rules
        by_issuer = rules.policy.issuer_of_patient_id
        crossed = [taken for target in cells for _, taken in self.files[target]]
        actions: Counter[str] = Counter()
        for target in new:
            actions.update(self._taken(target).actions)
        return partial(
            Summary,
            imported=len(cells.keys() & set(new)),
            already=len(cells.keys() - set(new)),
            masks=len(set(new) - cells.keys()),
            copies=len(crossed) - len(cells),
            relabelled=changed,
            not_images=self.not_images,
            refused=dict(sorted(Counter(code for _, code, _ in self.refused).items())),
            refused_files={rules.key.row(name): code for name, code, _ in self.refused},
            labels_unmatched=self._unmatched(rules.table) if rules.table else 0,
            images_unlabelled=sum(taken.row is None for taken in crossed) if rules.table else 0,
            kept_columns=kept,
            dropped_columns=[name for name in dropped if is_plain(name) and name not in self._named],
            hidden_columns=sum(not is_plain(name) or name in self._named for name in dropped),
            patients=len({row["patient"] for row in cells.values()}),
            each_image_is_a_patient=rules.each_image_is_a_patient,
            actions=dict(sorted(actions.items())),
            rows_of_several=len(self._rows_of_several),
            several_issuers=0 if by_issuer else self._of_several_issuers(crossed),
            no_issuer=sum(not taken.issuer and not taken.nobody for taken in crossed) if by_issuer else 0,
            nobody=sum(self.files[target][0][1].nobody for target in cells),
        )


def _look(data: Path, forced: list[str], path: str) -> list[str]:
    """The audit of one staged file, in a process of its own; the disk has it then, for good."""
    with (data / path).open("rb") as file:
        os.fsync(file.fileno())
    return audit(data, [path], forced)
