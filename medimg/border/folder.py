"""Import a folder of the hospital's files: de-identify each image, then vouch for it."""

import os
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from medimg import images
from medimg.border import pixels, profile, table
from medimg.border.account import Summary
from medimg.border.audit import audit
from medimg.border.identity import SiteKey, load_key, write_refused
from medimg.border.statement import Imported, next_batch, read_imports, write_batch
from medimg.errors import BorderError, ImageError, NotAnImage, Refusal
from medimg.files import lock, prune_partial, publish, sha256, sha256_file
from medimg.images.sniff import load

_PARTS = frozenset({"images", "imports", "labels.csv"})


def import_folder(source: Path, labels: Path | None, out: Path, keep: Collection[str] = ()) -> Summary:
    """De-identify every image below ``source`` into ``out`` and vouch for it with an import statement.

    Args:
        source: folder of DICOM, PNG, JPEG and NIfTI files; only read.
        labels: the hospital's table, or None.
        out: the study's ``data`` folder.
        keep: label columns to keep although they do not look like classes.

    Raises:
        BorderError: nothing can be imported, or what was written does not pass the audit (it is removed again).
        LabelsError: the table cannot be used; nothing was written.
        DataError: an earlier manifest below ``out`` is damaged.
        BusyError: another import into this study is running.
    """
    files = _files(source, out, labels)
    hospital = table.read_table(labels, source, files, keep) if labels else None
    if keep and not labels:
        raise BorderError("--keep names columns of a table of labels; name the table with --labels.")
    _check_output(out)
    key = load_key()
    with lock(out.parent / ".medimg" / "import.lock", "An import"):
        imported = read_imports(out)
        table.read_written(out / "labels.csv")  # before anything is written: whose is it?
        _check_key(imported, key, out)
        for folder in (out, *(out / "images").glob("*")):
            prune_partial(folder)
        batch = _Batch(source, out, key, hospital, imported)
        try:
            for path in files:
                batch.take(path)
            write_refused(batch.refused)
            return batch.finish(keep)
        except OSError as error:
            raise BorderError(f"Writing below {out} failed: {error.strerror}. Nothing was vouched for.") from None


def _files(source: Path, out: Path, labels: Path | None) -> list[str]:
    """Paths of the files below ``source``, sorted, without the table of labels.

    Raises:
        BorderError: it is missing, empty, or inside the output or around it.
    """
    if not source.is_dir():
        raise BorderError(f"There is no folder {source} to import.")
    inside, around = source.resolve(), out.resolve()
    if inside == around or inside in around.parents or around in inside.parents:
        raise BorderError(f"{source} and {out} lie in one another. Keep what is identifiable apart from {out}.")
    found: list[str] = []
    closed: list[OSError] = []
    for folder, folders, names in os.walk(source, onerror=closed.append):
        folders.sort()
        found += [Path(folder, name).relative_to(source).as_posix() for name in names]
    if closed:
        raise BorderError(f"{len(closed)} folders below {source} cannot be read. Ask for access, or move them away.")
    if labels and labels.exists():
        found = [path for path in found if not (source / path).exists() or not labels.samefile(source / path)]
    if not found:
        raise BorderError(f"The folder {source} holds no files to import.")
    return sorted(found)


def _check_output(out: Path) -> None:
    foreign = (
        [path for path in out.iterdir() if path.name not in _PARTS and path.name[0] != "."] if out.is_dir() else []
    )
    if foreign or (out.exists() and not out.is_dir()):
        raise BorderError(
            f"{out} holds {len(foreign)} things that no import wrote. Import into an empty folder, or move them away."
        )


def _check_key(imported: Imported, key: SiteKey, out: Path) -> None:
    others = {statement.get("key_fingerprint") for statement in imported.statements} - {key.fingerprint}
    if others:
        raise BorderError(
            f"{out} was imported with another site key (fingerprint {', '.join(sorted(map(str, others)))}; this one's "
            f"is {key.fingerprint}). One patient would get two pseudonyms. Use that key, or import into another folder."
        )


@dataclass
class _Batch:
    source: Path
    out: Path
    key: SiteKey
    hospital: table.Table | None
    imported: Imported
    rows: dict[str, dict[str, str]] = field(default_factory=dict)  # path below out → cells of labels.csv
    written: set[str] = field(default_factory=set)
    new: list[str] = field(default_factory=list)
    conflicts: dict[str, str] = field(default_factory=dict)  # path below out → path in the hospital
    refused: list[tuple[str, str, str]] = field(default_factory=list)  # path in the hospital, code, detail
    already: int = 0
    copies: int = 0
    relabelled: int = 0
    not_images: int = 0
    unlabelled: int = 0

    def take(self, path: str) -> None:
        """Import one file, or count why not.

        Raises:
            BorderError: a defect of medimg. Its own exception may quote the file, so only its kind is told.
            OSError: the output cannot be written.
        """
        try:
            return self._take(path, load(self.source / path))
        except NotAnImage:
            self.not_images += 1
            return None
        except ImageError as refusal:
            self.refused.append((path, refusal.code.value, refusal.detail))
            return None
        except OSError:
            raise
        except Exception as error:
            kind = type(error).__name__
        raise BorderError(f"medimg itself failed on a file ({kind}). Nothing was vouched for. Please report it.")

    def _take(self, path: str, data: bytes) -> None:
        image = images.read_bytes(data)
        row = self.hospital.of(path, image.facts.patient) if self.hospital else None
        patient = self.key.patient(_whose(image.facts.patient, row))
        clean, extension = _clean(data, image, self.key, patient)
        target = f"images/{patient}/{self.key.file(data)}{extension}"
        cells = table.crossing(row or table.Row(), patient, image.facts.site, self.key)
        if self.rows.setdefault(target, cells) != cells:
            self.conflicts[target] = path
            raise ImageError(Refusal.CONFLICT, "the table says different things of two equal files")
        self.unlabelled += row is None
        if target in self.written:
            self.copies += 1
            return
        self.written.add(target)
        if self._vouched(target, clean):
            self.already += 1
            return
        if images.pixel_sha256(images.read_bytes(clean).pixels) != images.pixel_sha256(image.pixels):
            del self.rows[target]
            raise ImageError(Refusal.CORRUPT, "what may cross of the file does not show the same pixels")
        with publish(self.out / target) as partial:
            partial.write_bytes(clean)
        self.new.append(target)

    def _vouched(self, target: str, clean: bytes) -> bool:
        digest = sha256(clean)
        file = self.out / target
        return self.imported.sha256.get(target) == digest and file.is_file() and sha256_file(file) == digest

    def finish(self, keep: Collection[str]) -> Summary:
        """Write labels.csv, audit, and vouch."""
        for target, path in self.conflicts.items():
            self._withdraw(target, path)
        if not self.rows:
            raise BorderError(f"No image could be imported from {self.source}. {self._why()}")
        labels = self.out / "labels.csv"
        before = labels.read_bytes() if labels.is_file() else None
        forced = sorted({*keep, *(name for old in self.imported.statements for name in old.get("forced_columns", []))})
        text, kept, dropped = self._labels(labels, forced)
        if not self.new and before == text.encode():
            return self._summary(None, kept, dropped)
        with publish(labels) as partial:
            partial.write_text(text, encoding="utf-8", newline="")
        written = [*self.new, "labels.csv"]
        findings = audit(self.out, written, forced)
        if findings:
            self._undo(labels, before)
            raise BorderError(
                f"The audit found {len(findings)} files that must not cross; this import was undone. "
                f"The first: {'; '.join(findings[:3])}"
            )
        summary = self._summary(next_batch(self.out), kept, dropped)
        assert summary.batch is not None
        write_batch(self.out, summary.batch, summary.statement(self.key.fingerprint, forced), written)
        return summary

    def _why(self) -> str:
        """What stood in the way of every file."""
        codes = Counter(code for _, code, _ in self.refused)
        reasons = ", ".join(f"{count} {code}" for code, count in sorted(codes.items())) or "none"
        lines = [f"{self.not_images} files are no images; refused: {reasons}."]
        if self.hospital:
            lines.append(f"{len(self.hospital.matched)} of {len(self.hospital.rows)} rows of the table match a file.")
            if not self.hospital.matched and self.hospital.by_path:
                lines.append(f"Its column path must name each file as it lies below {self.source}.")
        if codes[Refusal.NO_PATIENT.value]:
            lines.append("PNG, JPEG and NIfTI files need the columns path and patient in the table (--labels).")
        if codes[Refusal.CONFLICT.value]:
            lines.append("Header and table name different patients: leave the column patient out for DICOM files.")
        return " ".join(lines)

    def _labels(self, labels: Path, forced: list[str]) -> tuple[str, dict[str, list[str]], list[str]]:
        """The text of labels.csv with earlier rows kept, the columns kept with their values, and those dropped."""
        columns, written = table.read_written(labels)
        rows = dict(written)
        vouched = labels.is_file() and self.imported.sha256.get("labels.csv") == sha256_file(labels)
        for target, cells in self.rows.items():
            old = written.get(target, {})
            said = {name: value for name, value in cells.items() if value or name not in table.FIXED}
            rows[target] = cells | old | said if self.hospital or not old else old
        candidates = dict.fromkeys([*columns, *(self.hospital.columns if self.hospital else [])])
        kept, dropped = table.choose(candidates, list(rows.values()), [*forced, *(columns if vouched else [])])
        for target, old in written.items():
            self.relabelled += any(rows[target].get(name, "") != old.get(name, "") for name in [*kept, *table.FIXED])
        values = {name: sorted({row.get(name, "") for row in rows.values()} - {""}) for name in kept}
        return table.render(kept, rows), values, dropped

    def _withdraw(self, target: str, path: str) -> None:
        self.rows.pop(target, None)
        self.refused.append((path, Refusal.CONFLICT.value, "the table says different things of two equal files"))
        if target in self.new:
            self.new.remove(target)
            (self.out / target).unlink()
        else:
            self.already -= 1

    def _undo(self, labels: Path, before: bytes | None) -> None:
        for target in self.new:
            (self.out / target).unlink(missing_ok=True)
        labels.unlink()
        if before is not None:
            labels.write_bytes(before)

    def _summary(self, batch: int | None, kept: dict[str, list[str]], dropped: list[str]) -> Summary:
        return Summary(
            batch,
            imported=len(self.new),
            already=self.already,
            copies=self.copies,
            relabelled=self.relabelled,
            not_images=self.not_images,
            refused=dict(sorted(Counter(code for _, code, _ in self.refused).items())),
            labels_unmatched=len(self.hospital.rows) - len(self.hospital.matched) if self.hospital else 0,
            images_unlabelled=self.unlabelled,
            kept_columns=kept,
            dropped_columns=dropped,
            patients=len({row["patient"] for row in self.rows.values()}),
        )


def _whose(header: str | None, row: table.Row | None) -> str:
    """The patient's identifier, from header or table.

    Raises:
        ImageError: NO_PATIENT, CONFLICT.
    """
    names = {name for name in ((header or "").strip(), row.patient if row else "") if name}
    if len(names) != 1:
        if names:
            raise ImageError(Refusal.CONFLICT, "header and table name different patients")
        raise ImageError(Refusal.NO_PATIENT, "neither header nor table says whose image it is")
    return names.pop()


def _clean(data: bytes, image: images.Image, key: SiteKey, patient: str) -> tuple[bytes, str]:
    """The bytes that may cross, and the extension for them.

    Raises:
        ImageError: BURNED_IN, CORRUPT.
    """
    try:
        with images.quiet():
            if image.facts.format == "dicom":
                return profile.clean(data, key, patient), ".dcm"
            if image.facts.format == "nifti":
                return pixels.clean_nifti(data), ".nii"
            return pixels.clean_picture(data, image)
    except ImageError:
        raise
    except Exception:
        raise ImageError(Refusal.CORRUPT, "what may cross of the file cannot be written") from None
