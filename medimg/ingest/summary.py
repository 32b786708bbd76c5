"""The account in numbers and words."""

from collections import Counter
from itertools import chain
from typing import Any

from medimg.border.statement import Imported
from medimg.errors import DataError, LabelsError, Refusal
from medimg.ingest.account import Account
from medimg.ingest.attach import without_image
from medimg.labels import SHOWN, Labels, first
from medimg.params import Ingest
from medimg.records import DATA, LABELS, QUARANTINE


def border(imported: Imported) -> dict[str, Any]:
    """What the statements of all imports say: files refused by code, images let in that name nobody, each policy."""
    refused: Counter[str] = Counter()
    nobody = 0
    policies: list[dict[str, bool]] = []
    for statement in imported.statements:
        refused.update(statement.get("refused", {}))
        nobody += statement.get("counts", {}).get("nobody", 0)
        if (policy := statement.get("policy")) and policy not in policies:
            policies.append(policy)
    return {"refused_at_import": dict(sorted(refused.items())), "nobody": nobody, "policies": policies}


def summarise(account: Account, labels: Labels) -> dict[str, Any]:
    """What ``artifacts/ingest.json`` says: every file seen is indexed, no image, or quarantined."""
    codes = (
        "SELECT code, count(*) FROM (SELECT code FROM file WHERE fate = 'refused' UNION ALL SELECT code FROM refusal)"
    )
    summary: dict[str, Any] = {
        "seen": account.count("SELECT count(*) FROM file"),
        "indexed_files": account.count("SELECT count(DISTINCT path) FROM member"),
        "not_an_image": account.count("SELECT count(*) FROM file WHERE fate = 'other'"),
        "by_code": dict(account.rows(f"{codes} GROUP BY code ORDER BY code")),
        "samples": account.count("SELECT count(*) FROM sample"),
        "patients": account.count("SELECT count(DISTINCT patient) FROM sample"),
        "sites": dict(account.rows("SELECT site, count(*) FROM sample WHERE site IS NOT NULL GROUP BY site")),
        "unlabelled": account.count("SELECT count(*) FROM sample WHERE label IS NULL"),
        "labels": _labels(account, labels),
    }
    summary["quarantined"] = sum(summary["by_code"].values())
    assert summary["seen"] == summary["indexed_files"] + summary["not_an_image"] + summary["quarantined"]
    return summary


def check_shares(summary: dict[str, Any], settings: Ingest) -> None:
    """Refuse a study of which too much is missing.

    Raises:
        DataError: no image, or too many files quarantined.
        LabelsError: too many samples have no label, or rows match nothing and must not.
    """
    images = summary["indexed_files"] + summary["quarantined"]
    if not images:
        raise DataError(f"None of the {summary['seen']} files under {DATA}/ is an image that medimg can read.")
    if summary["quarantined"] > settings.max_quarantined * images:
        raise DataError(
            f"{summary['quarantined']} of {images} images cannot be used ({_reasons(summary)}): more than the share "
            f"{settings.max_quarantined:g} that ingest.max_quarantined allows. {QUARANTINE} names each. "
            "Mend or remove them, or raise the limit."
        )
    labels = summary["labels"]
    unmatched = f"{labels['unmatched']} rows match no image{_such_as(labels['unmatched_first'])}"
    if summary["unlabelled"] > settings.max_unlabelled * max(summary["samples"], 1):
        raise LabelsError(
            f"{summary['unlabelled']} of {summary['samples']} images have no label"
            f"{_such_as(labels['unlabelled_first'])}: more than the share {settings.max_unlabelled:g} that "
            f"ingest.max_unlabelled allows. Rows of {LABELS} are matched by {labels['key']}; {unmatched}."
        )
    if labels["unmatched"] and settings.unmatched_rows == "refuse":
        raise LabelsError(f"{LABELS}: {unmatched}. Remove them, or set ingest.unmatched_rows: warn.")


def sentence(summary: dict[str, Any]) -> str:
    """The account of ``ingest.json`` in words, for the end of a run."""
    labels = summary["labels"]
    lines = [
        f"{summary['seen']} files: {summary['indexed_files']} indexed ({summary['samples']} samples of "
        f"{summary['patients']} patients), {summary['not_an_image']} not images, {summary['quarantined']} quarantined"
    ]
    lines += [f"  {count} {code}: {Refusal(code).sentence}" for code, count in summary["by_code"].items()]
    counts = (
        (summary["unlabelled"], "images without a label", labels["unlabelled_first"]),
        (labels["unmatched"], "rows of labels that match no image", labels["unmatched_first"]),
        (labels["contradicting"], "labels that contradict each other, not used", labels["contradicting_first"]),
    )
    lines += [f"{count} {what}{_such_as(some)}" for count, what, some in counts if count]
    return "\n".join(lines)


def _labels(account: Account, labels: Labels) -> dict[str, Any]:
    """What did not go together, with the first few by path or line: never by a patient."""
    return {
        "key": labels.key,
        "rows": labels.count(),
        "unmatched": sum(1 for _ in without_image(account, labels)) + labels.keyless,
        "unmatched_first": first(
            chain((labels.name(key) for key in without_image(account, labels)), labels.keyless_names())
        ),
        "contradicting": sum(1 for _ in labels.contradicting()),
        "contradicting_first": first(labels.name(key) for key in labels.contradicting()),
        "unlabelled_first": account.unlabelled(SHOWN),
    }


def _such_as(some: list[str]) -> str:
    return f" ({', '.join(some)}{', …' * (len(some) == SHOWN)})" if some else ""


def _reasons(summary: dict[str, Any]) -> str:
    return ", ".join(f"{count} {code}" for code, count in summary["by_code"].items())
