"""Class folders: the name of the folder right above an image as its label, under the rules for any label column."""

from collections.abc import Collection
from dataclasses import replace
from pathlib import PurePosixPath

from medimg.border.naming import is_identifying, is_plain
from medimg.border.table import CLASSES, FIXED, KEYS, MASK, Row, Table, choose, normal
from medimg.errors import BorderError, LabelsError


def add_folders(hospital: Table | None, column: str, names: Collection[str]) -> Table:
    """The table with the name of the folder above each of the source's files ``names`` in ``column``.

    A file that lies in no folder gets nothing, and neither does a mask.

    Raises:
        BorderError: the column's name speaks of a person, or has a meaning of its own.
        LabelsError: the table has such a column, or is not keyed by path.
    """
    if not is_plain(column) or column.lower() in (*FIXED, *KEYS, MASK) or is_identifying(column):
        raise BorderError(
            "--class-folders needs the name of the label column that the folders become, such as label or diagnosis; "
            "one that speaks of a person or has a meaning of its own cannot be it."
        )
    hospital = hospital or Table([], {}, "path")
    if not hospital.by_path:
        raise LabelsError("--class-folders goes with a table that has the column path, or with none.")
    if column in hospital.columns:
        raise LabelsError(f"The table has a column {column} already. Give --class-folders another name.")
    masks = {row.mask for row in hospital.rows.values()}
    paths = (normal(name) for name in names)
    above = {path: PurePosixPath(path).parent.name.strip() for path in paths if path not in masks}
    rows = dict(hospital.rows)
    for path, folder in above.items():
        if folder:
            row = rows.get(path, Row())
            rows[path] = replace(row, labels=row.labels | {column: folder})
    made = frozenset(rows.keys() - hospital.rows.keys())
    return Table([*hospital.columns, column], rows, "path", column, made, hospital.keyless)


def check_folders(
    column: str, rows: list[dict[str, str]], said: set[str], known: set[str], forced: Collection[str]
) -> None:
    """Refuse folders that may be named after persons.

    Args:
        column: their label column.
        rows: of labels.csv as they would be.
        said: the folders of this import.
        known: values that the column has in the labels.csv of earlier imports.
        forced: columns that the user insists on.

    Raises:
        BorderError: they do not look like classes.
    """
    if said <= known or not choose([column], rows, forced)[1]:
        return
    raise BorderError(
        f"The {len(said)} names of folders right above the images do not look like classes, so they must not cross as "
        f"{column}. Allowed are at most {CLASSES} names, at most one for two patients, each a word or a small number "
        "that several patients share. Sort the images into such folders, leave --class-folders out, or, if no name is "
        f"a person's, insist with --keep {column}. Nothing was imported."
    )
