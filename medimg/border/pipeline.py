"""The one way in: every file of a source is de-identified in a process of its own, audited, and vouched for."""

import re
import resource
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path

from medimg.border import ocr, spool, table
from medimg.border.account import Summary
from medimg.border.batch import Batch
from medimg.border.deidentify import Rules
from medimg.border.fetched import Fetched
from medimg.border.folders import add_folders
from medimg.border.identity import SiteKey, check_apart, check_outside, key_path, load_key, write_refused
from medimg.border.issuers import by_issuer
from medimg.border.linkage import check_linkage, pending_links, settle_links
from medimg.border.masks import Held, Mask, check_masks
from medimg.border.options import Policy, load_policy
from medimg.border.receive import Receiver
from medimg.border.remote import Remote
from medimg.border.sources import Item, Source, Taken
from medimg.border.staging import Staging, Unwritable, import_lock, roll_forward
from medimg.border.statement import Imported, read_imports
from medimg.errors import BorderError, LabelsError, Refusal
from medimg.files import lock
from medimg.work import Failure, Progress, over

_ISSUERS = "issuer_of_patient_id"
_NEEDED = (
    *("pydicom", "pydicom.encaps", "pydicom.uid", "imagecodecs", "nibabel"),
    *("medimg.images.dicom", "medimg.images.hushed"),
)
_OURS = re.compile(
    r"images/P[0-9a-f]+/[0-9a-f]+(\.mask)?\.\w+|imports/\d+\.(json|csv)|labels\.csv|\.[^/]*|.*\.partial-[^/]*"
)


def import_from(
    source: Source,
    labels: Path | None,
    out: Path,
    keep: Collection[str] = (),
    *,
    each_image_is_a_patient: bool = False,
    policy: Policy | None = None,
    linkage: Path | None = None,
    class_folders: str | None = None,
    processes: int | None = None,
) -> Summary:
    """De-identify every image of ``source`` into ``out`` and vouch for it with an import statement.

    Cut off at any moment, it leaves nothing new in ``out`` or all of it; the next one goes on from there.

    Args:
        source: where the hospital's files come from; only read.
        labels: the hospital's table, or None.
        out: the study's ``data`` folder.
        keep: label columns to keep although they do not look like classes.
        each_image_is_a_patient: an image of which neither header nor table says whose it is gets a patient of its own.
        policy: options of the profile; the study's own (``deidentify.yaml``), or the defaults, by default.
        linkage: file outside the study in which to note which pseudonym stands for whom; nowhere by default.
        class_folders: the label column that the name of the folder right above each image becomes; none by default.
        processes: how many de-identify at once; one a core by default. The result is the same for any number.

    Raises:
        BorderError: nothing can be imported, the table lies in the study, or what was written does not pass the audit
            (nothing is kept then).
        LabelsError: the table cannot be used; nothing was written.
        DataError: an earlier manifest below ``out`` is damaged.
        BusyError: another import into this study is running.
    """
    if labels:
        check_outside(labels, out, "--labels", "the hospital's identifiers")
    names = source.names(labels)
    hospital = _table(source, labels, names, keep, class_folders)
    _check_output(out)
    policy = _possible(policy or load_policy())
    hospital = by_issuer(hospital) if hospital and policy.issuer_of_patient_id else hospital
    linkage = check_linkage(linkage, out) if linkage else None
    check_apart(key_path(), out)
    key = load_key()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core dump would hold a patient's image, and lie in the study
    sent = isinstance(source, Receiver)
    with lock(import_lock(out), "An import"), (spool.received if sent else spool.spool)(out) as room:
        try:
            finished = roll_forward(out)
            imported = read_imports(out)
            table.read_written(out / "labels.csv")  # before anything is written: whose is it?
            _check_key(imported, key, out)
            _check_issuers(imported, policy, out)
            rules = Rules(key, hospital, each_image_is_a_patient, policy, pending_links(linkage, out))
            rows = {key.row(name): row for name, row in hospital.rows.items()} if hospital else {}
            batch = Batch(source.where, Staging.open(out, rules), imported, rows)
            fetched = Fetched(batch.staging)
            if isinstance(source, Remote):
                source.known = fetched.known
            progress = Progress("files de-identified", len(names) or None)
            _read(source.items(room), batch, room, processes, fetched, progress)
            summary = _finish(batch, keep, processes, linkage)
            summary = replace(summary, not_fetched=fetched.again, waiting=0 if sent else spool.waiting(out))
            fetched.save()
            batch.staging.drop()
        except OSError as error:
            raise BorderError(
                f"Writing below {out} failed: {error.strerror or error}. Nothing was vouched for."
            ) from None
    return summary if not finished else summary.after_another()


def _table(
    source: Source, labels: Path | None, names: list[str], keep: Collection[str], class_folders: str | None
) -> table.Table | None:
    hospital = None
    if labels is not None:
        where = Path(source.where)
        hospital = table.read_table(labels, where, names, [name for name in keep if name != class_folders])
        if not source.has_paths and (hospital.by_path or any(row.mask for row in hospital.rows.values())):
            raise LabelsError(
                f"{labels} tells images or masks apart by path, but {source.where} has none. Use the column patient."
            )
        check_masks(labels, hospital, names)
    elif set(keep) - {class_folders}:
        raise BorderError("--keep names columns of a table of labels; name the table with --labels.")
    if class_folders is None:
        return hospital
    if not source.has_paths:
        raise BorderError(f"--class-folders is for a folder or an archive; {source.where} has no folders.")
    return add_folders(hospital, class_folders, names)


def _read(
    items: Iterator[Item],
    batch: Batch,
    room: Path,
    processes: int | None,
    fetched: Fetched,
    progress: Progress,
) -> None:
    """Tell the batch of every file, in whatever order they are done; masks come when it is known whose they are."""
    held = Held({row.mask for row in batch.rows.values() if row.mask}, room)
    for item, found in over(batch.staging.take, held.images(items), processes=processes, preload=_NEEDED):
        item.done()
        progress.step()
        if isinstance(found, Unwritable):
            raise _unwritable(batch, found)
        if item.series and item.known is None:
            fetched.note(item.series, item.instance, found if isinstance(found, Taken) else None)
        if found is None:
            batch.not_images += 1
        elif isinstance(found, Failure):
            batch.refuse(item.name, found)
        else:
            batch.take(item.name, found)
    if not held.items:
        progress.end()
        return
    for (item, _), mask in over(batch.staging.take_mask, _owned(held, batch), processes=processes, preload=_NEEDED):
        item.done()
        progress.step()
        if isinstance(mask, Unwritable):
            raise _unwritable(batch, mask)
        if isinstance(mask, Failure):
            batch.refuse(item.name, mask)
        elif mask is None:
            batch.refuse(item.name, Failure(Refusal.UNSUPPORTED, "the table names it as a mask, and it is no image"))
        else:
            batch.take_mask(item.name, mask)
    progress.end()


def _owned(held: Held, batch: Batch) -> Iterator[Mask]:
    """Each mask with its image's patient; one whose image did not cross, or that several patients have, is refused."""
    owners = batch.owners()
    for item in held.items:
        found = owners.get(table.normal(item.name), set())
        if len(found) == 1:
            yield item, next(iter(found))
        else:
            item.done()
            reason = "the images of several patients have it as their mask" if found else "its image did not cross"
            batch.refuse(item.name, Failure(Refusal.CONFLICT, reason))


def _unwritable(batch: Batch, found: Unwritable) -> BorderError:
    return BorderError(f"Writing beside {batch.staging.out} failed: {found.reason}. Nothing was vouched for.")


def _finish(batch: Batch, keep: Collection[str], processes: int | None, linkage: Path | None) -> Summary:
    out = batch.staging.out
    try:
        summary = batch.finish(keep, processes)
        roll_forward(out)
    except BorderError:  # nothing is staged any more
        if linkage:
            settle_links(linkage, out)
        raise
    finally:
        write_refused(sorted(batch.refused))
    if linkage:
        settle_links(linkage, out)
    return summary


def _possible(policy: Policy) -> Policy:
    if policy.clean_graphics and not ocr.installed():
        raise BorderError(
            "The policy's clean_graphics needs the text detector. Run pip install -r requirements-ocr.lock, or switch "
            "it off."
        )
    return policy


def _check_output(out: Path) -> None:
    """Refuse a folder that holds what no import can have written: told by names, so it costs little and comes first."""
    if out.exists() and not out.is_dir():
        raise BorderError(f"{out} is no folder. Name one that an import made, or that is not there yet.")
    files = (path.relative_to(out).as_posix() for path in out.rglob("*") if not path.is_dir())
    foreign = sum(not _OURS.fullmatch(path) for path in files)
    if foreign:
        raise BorderError(
            f"{out} holds {foreign} files that no import wrote, and that may name somebody. Move them away, and import "
            f"them from elsewhere. If DVC has taken note of them: dvc add {out}, then dvc gc --workspace --force. If "
            "dvc push has sent them away, remove them there as well."
        )


def _check_key(imported: Imported, key: SiteKey, out: Path) -> None:
    others = {statement.get("key_fingerprint") for statement in imported.statements} - {key.fingerprint}
    if others:
        raise BorderError(
            f"{out} was imported with another site key (fingerprint {', '.join(sorted(map(str, others)))}; this one's "
            f"is {key.fingerprint}). One patient would get two pseudonyms. Use that key, or import into another folder."
        )


def _check_issuers(imported: Imported, policy: Policy, out: Path) -> None:
    now, other = ("on", "off") if policy.issuer_of_patient_id else ("off", "on")
    if any(old.get("policy", {}).get(_ISSUERS, False) != policy.issuer_of_patient_id for old in imported.statements):
        raise BorderError(
            f"{out} was imported with the policy's {_ISSUERS} {other}, and it is {now} now. One patient would get two "
            f"pseudonyms. Switch it {other}, or import everything into another folder."
        )
