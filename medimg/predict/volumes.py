"""Files as volumes: each is read for what it says of its slices, they are put together, and each volume is read whole.

What crosses in memory is what an import would write, so volumes have the names, order and pixels that they would have
in a study. The files of folders and archives are all looked at before the first volume is read, since the slices of a
series may lie anywhere in them; those of a PACS come a series at a time.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medimg import images
from medimg.border import spool
from medimg.border.deidentify import Rules as Crossing
from medimg.border.deidentify import deidentify, nobody
from medimg.border.identity import SiteKey
from medimg.border.issuers import identifier
from medimg.border.options import Policy
from medimg.border.staging import place
from medimg.errors import ImageError, Refusal
from medimg.images.headers import Header, header_of
from medimg.images.scan import scan
from medimg.images.series import Plan, assemble
from medimg.images.sniff import FORMATS, HEAD, sniff
from medimg.images.volume import volume_of
from medimg.params.geometry import Geometry
from medimg.predict.evidence import Evidence, evidence, of_volume
from medimg.predict.inputs import Job
from medimg.predict.look import Look, Rules, as_crossed, identity, load, look_of
from medimg.preprocess.sample import picture_of_volume
from medimg.work import Failure

if TYPE_CHECKING:
    from medimg.predict.account import Account


@dataclass(frozen=True, repr=False)
class Seen:
    """What a file says of itself, as an import would write it; ``identity`` and ``own`` in the hospital's words."""

    header: Header
    patient: str | None
    """pseudonym; None: nobody's"""
    shown: bool
    identity: dict[str, str] | None
    evidence: Evidence | None
    own: Evidence | None


@dataclass(frozen=True, repr=False)
class Stack:
    """One volume that is to be read: its plan, its files in the order of ``plan.paths``, and what is said of it."""

    number: int
    plan: Plan
    files: tuple[Job, ...]
    about: dict[str, Any]
    """fields of ``Look``"""


def seen(job: Job, rules: Rules) -> Seen | None:
    """What one file says; None: it is no image.

    Raises:
        ImageError: it cannot be used.
    """
    loaded = load(job, rules)
    if loaded is None:
        return None
    data, known = loaded
    if known:
        clean, shown = data, True
        header = images.guarded(lambda: header_of(data, known.path))
        patient = known.patient or header.facts.patient
    else:
        clean, header, shown = _across(data, job.item.name, rules.key, rules.issuers)
        patient = header.facts.patient
    dicom = header.facts.format == "dicom" and rules.documents
    return Seen(
        header,
        patient,
        shown,
        identity(job, images.guarded(lambda: header_of(data, "")).facts, data) if rules.identified else None,
        evidence(clean) if dicom and shown else None,
        evidence(data) if dicom and rules.identified else None,
    )


def _across(data: bytes, name: str, key: SiteKey, issuers: bool) -> tuple[bytes, Header, bool]:
    """The bytes that an import would write, their header under the path that it would have, whether it may be shown.

    A file with burned-in text is scored, but nothing of it is shown.
    """
    try:
        crossing = deidentify(data, name, Crossing(key, None, True, Policy(issuer_of_patient_id=issuers)))
    except ImageError as problem:
        if problem.code is not Refusal.BURNED_IN:
            raise
        header = images.guarded(lambda: header_of(data, ""))
        facts = as_crossed(header.facts)
        patient = key.patient(identifier(facts, issuers) or nobody(images.Image(np.empty(0), facts), data, key))
        path = place(data, patient, ".dcm", key)  # only a DICOM header says so
        study, series, instance = (uid and key.uid(uid) for uid in (facts.study, facts.series, facts.instance))
        facts = replace(facts, patient=patient, study=study, series=series, instance=instance)
        slices = tuple(replace(one, path=path) for one in header.slices)
        return data, replace(header, path=path, facts=facts, slices=slices), False
    path = place(data, crossing.patient, crossing.extension, key)
    header = images.guarded(lambda: header_of(crossing.data, path))
    return crossing.data, replace(header, facts=replace(header.facts, patient=crossing.patient)), True


def stacks(
    found: Iterator[tuple[Job, Seen | Failure | None]], settings: Geometry, account: "Account", waiting: Counter[int]
) -> Iterator[Stack]:
    """The volumes of files, which come in the order of their numbers; what is part of none is noted as refused.

    Args:
        found: from ``seen``.
        settings: ``ingest.geometry`` of the bundle.
        account: where refused files are noted.
        waiting: number of a file → volumes yet to be read of it; is filled here.
    """
    number = 0
    for _, group in groupby(found, key=lambda pair: pair[0].item.series):
        files = _without_copies(_usable(group, account), account)
        plans, refused = assemble((one.header for _, one in files.values()), settings)
        for path, code, detail in refused:
            _refuse(files[path][0], code, detail, account)
        made = [_stack(number + place, plan, files) for place, plan in enumerate(plans)]
        waiting.update(file.number for one in made for file in one.files)
        yield from made
        number += len(made)


def _usable(group: Iterator[tuple[Job, Seen | Failure | None]], account: "Account") -> dict[str, tuple[Job, Seen]]:
    """Path in a study → file; the same bytes again count once."""
    files: dict[str, tuple[Job, Seen]] = {}
    for job, one in group:
        if isinstance(one, Failure):
            _refuse(job, one.code.value, one.detail, account)
        elif one is None:
            account.not_images += 1
            job.item.done()
        elif one.header.path in files:
            job.item.done()
        else:
            files[one.header.path] = job, one
    return files


def _without_copies(files: dict[str, tuple[Job, Seen]], account: "Account") -> dict[str, tuple[Job, Seen]]:
    """Of several files of one SOP instance, the first; if they contradict each other, none: as ingest has it."""
    instances: dict[str, list[str]] = defaultdict(list)
    for path, (_, one) in sorted(files.items()):
        instances[one.header.facts.instance or path].append(path)
    for paths in instances.values():
        if len(paths) == 1:
            continue
        whose = {files[path][1].header.facts.patient for path in paths}
        agree = len(whose) == 1 and len({_pixels(files[path][0]) for path in paths}) == 1
        for path in paths[1:] if agree else paths:
            job, _ = files.pop(path)
            if agree:
                job.item.done()
            else:
                detail = "another file has the same SOP instance UID and other pixels, or another patient"
                _refuse(job, Refusal.CONFLICT.value, detail, account)
    return files


def _pixels(job: Job) -> tuple[str, ...]:
    """Hashes of its frames; of a file that does not decode, none, so that it contradicts those that do."""
    try:
        return tuple(scan(job.item.load(), "", images.pixel_sha256)[1])
    except ImageError:
        return ()


def _refuse(job: Job, code: str, detail: str, account: "Account") -> None:
    account.refuse(job, code, detail)
    job.item.done()


def _stack(number: int, plan: Plan, files: dict[str, tuple[Job, Seen]]) -> Stack:
    first = files[plan.stack[0][0].path][1]
    members = [files[path] for path in plan.paths]
    order = list(dict.fromkeys(one.path for point in plan.stack for one in point))
    shown = all(one.shown for _, one in members)
    several = first.header.affine is not None and first.header.facts.frames > 1
    about = {
        "patient": first.patient or f"image-{plan.key}",
        "study": plan.facts.study,
        "frame": plan.stack[0][0].frame if several and len(plan.stack) == 1 else None,
        "identity": first.identity,
        "shown": shown,
        "header": of_volume([files[path][1].evidence for path in order]) if shown else None,
        "own": of_volume([files[path][1].own for path in order]),
    }
    return Stack(number, plan, tuple(job for job, _ in members), about)


def read(stack: Stack, rules: Rules) -> list[Look]:
    """One volume as the network will see it.

    Raises:
        ImageError: as ``images.volume.read_volume``.
    """
    where = {path: job.item for path, job in zip(stack.plan.paths, stack.files, strict=True)}
    volume = volume_of(stack.plan, lambda path: where[path].load())
    return [look_of(stack.plan.key, stack.plan.facts, picture_of_volume(volume), rules, stack.about)]


def kept(jobs: Iterator[Job], room: Path) -> Iterator[Job]:
    """The same files; those that came as bytes, out of an archive, wait in ``room`` and not in memory."""
    for job in jobs:
        item = job.item
        if item.data is not None and sniff(item.data[:HEAD]) in FORMATS:
            path = room / f"file-{job.number}"
            spool.write(path, iter([item.data]))
            job = replace(job, item=replace(item, data=None, path=path, passing=True))
        yield job
