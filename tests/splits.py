"""Made-up indexes to split, and what the split wrote."""

import pandas as pd

from medimg.records import (
    INDEX,
    INDEX_SCHEMA,
    LEDGER,
    PARTS,
    PARTS_SCHEMA,
    THUMBNAILS,
    THUMBNAILS_SCHEMA,
    read_table,
    write_table,
)


def write_index(patients, images=2, order=None, **columns):
    """An index of the given patients, each with as many images; every other one is positive. ``order`` shuffles it."""
    rows = [
        {"sample": f"{patient}-{image}", "patient": patient, "label": str(number % 2)}
        for number, patient in enumerate(patients)
        for image in range(images)
    ]
    return put_index(pd.DataFrame(rows).assign(**columns), order)


def put_index(table, order=None, pictures=None):
    """``table`` as the index, with something in the columns that it lacks; ``pictures``: sample → thumbnail's bytes."""
    for name in INDEX_SCHEMA.names:
        if name not in table:
            text = INDEX_SCHEMA.field(name).type == "string"
            table[name] = table["sample"] if text else 1
    table = table[INDEX_SCHEMA.names]
    write_table(INDEX, table if order is None else table.sample(frac=1, random_state=order), INDEX_SCHEMA)
    found = pictures or {}
    samples = sorted(table["sample"])
    thumbnails = pd.DataFrame({"sample": samples, "thumbnail": [found.get(sample) for sample in samples]})
    write_table(THUMBNAILS, thumbnails, THUMBNAILS_SCHEMA)
    return table


def parts():
    return read_table(PARTS, PARTS_SCHEMA).set_index("sample")


def ledger():
    """Patient → part."""
    return pd.read_csv(LEDGER).set_index("patient")["part"]


def names(count, prefix="P"):
    return [f"{prefix}{number:04d}" for number in range(count)]
