"""Every file under data/ is indexed, is not an image, or is quarantined with a reason: none is lost in between."""

import csv
from base64 import b64decode
from itertools import starmap

from medimg.border.examine import assure
from medimg.border.statement import read_imports
from medimg.files import publish, write_json
from medimg.ingest.account import Account, open_account
from medimg.ingest.attach import attach, verify
from medimg.ingest.found import Row
from medimg.ingest.reading import code_version, find, hash_file, read
from medimg.ingest.samples import assemble
from medimg.ingest.summary import border, check_shares, sentence, summarise
from medimg.labels import read_labels
from medimg.params import Ingest
from medimg.records import (
    DATA,
    INDEX,
    INDEX_SCHEMA,
    INGEST,
    LABELS,
    QUARANTINE,
    QUARANTINE_COLUMNS,
    THUMBNAILS,
    THUMBNAILS_SCHEMA,
    write_rows,
)
from medimg.stage import WORK

JOURNAL = WORK / "ingest.sqlite"


def ingest(label: str | tuple[str, ...], settings: Ingest) -> None:
    """Read ``data/`` into ``artifacts/index.parquet``, ``quarantine.csv`` and ``ingest.json``.

    Args:
        label: the column of labels.csv that the study is about, or several.
        settings: the block ``ingest`` of params.yaml.

    Raises:
        DataError: there is nothing to read, files that no import vouches for or that may identify someone, or too many
            refused.
        LabelsError: labels.csv cannot be used, or too many images have no label.
    """
    with open_account(JOURNAL, code_version(settings)) as account:
        find(account)
        folders = settings.labels == "folders"
        labels = read_labels(None if folders else label, settings.labels_key, settings.contradicting_rows)
        imported = read_imports(DATA)
        read(account, settings)
        table = hash_file(LABELS.name)
        unverified = verify(account, imported, table, settings.allow_unverified)
        changed = account.changed() + [LABELS.name] * (imported.sha256.get(LABELS.name) != table)
        assure(DATA, imported, WORK / "audited", changed)
        attach(account, assemble(account, settings), labels, folders)
        summary = summarise(account, labels) | {"labels_sha256": table, "unverified": unverified} | border(imported)
        _write_quarantine(account)  # before they are too many, for who is to mend them
        check_shares(summary, settings)
        write_rows(INDEX, account.samples(), INDEX_SCHEMA)
        write_rows(THUMBNAILS, starmap(_thumbnail, account.thumbnails()), THUMBNAILS_SCHEMA)
        write_json(INGEST, summary)
    print(sentence(summary))


def _thumbnail(sample: str, text: str | None) -> Row:
    """A row of thumbnails.parquet."""
    return {"sample": sample, "thumbnail": text and b64decode(text)}


def _write_quarantine(account: Account) -> None:
    with publish(QUARANTINE) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(QUARANTINE_COLUMNS)
        rows.writerows(account.refused())
