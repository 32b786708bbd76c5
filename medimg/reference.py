"""docs/files.md, written from the schemas and the list of refusals, and docs/errors.md, from the tree of errors."""

import sys

from medimg import errors
from medimg.errors import MedimgError, Refusal
from medimg.records import INDEX_COLUMNS

_PAGE = """# Files of ingest

`python -m medimg.reference` prints this page from the code.

## artifacts/index.parquet

One row a sample, sorted by `sample`. A missing fact is null, never a guess. Byte-equal for equal data.

{index}

## artifacts/quarantine.csv

One row a file that cannot be used, sorted by path: `path,code,detail`. The detail holds sizes and terms of the
standard, never another value of the header. The codes, all there are:

{codes}

## artifacts/ingest.json

`seen` = `indexed_files` + `not_an_image` + `quarantined`, in files, always.

| key | meaning |
|---|---|
| `seen` | files below `data/`, without `labels.csv` and the statements of imports |
| `indexed_files` | files behind the rows of the index, masks and copies too |
| `not_an_image` | files never meant to be one: DICOM without pixels (reports, structure sets, DICOMDIR), text, PDF, … |
| `quarantined`, `by_code` | files refused, and how many by code |
| `samples`, `patients`, `sites` | rows of the index, patients among them, rows by site |
| `unlabelled` | rows of the index without a label |
| `labels` | rows of `labels.csv`, by which key, and what did not go together, the first five by path or line |
| `labels_sha256` | of the bytes of `labels.csv`; null: there is none |
| `unverified` | files that no import vouches for (with `ingest.allow_unverified`) |
| `refused_at_import` | files that imports refused, by code |
| `nobody` | images that imports took although they name nobody, each (or each study) as a patient |
| `policies` | the options of de-identification that imports used, each set of them once; the bundle keeps them |
"""


def files() -> str:
    """What stands in the files that ingest writes, as Markdown."""
    index = ["| column | type | null | meaning |", "|---|---|---|---|"]
    index += [f"| `{name}` | {kind} | {'yes' if null else 'no'} | {text} |" for name, kind, null, text in INDEX_COLUMNS]
    codes = ["| code | meaning |", "|---|---|", *(f"| `{code.value}` | {code.sentence} |" for code in Refusal)]
    return _PAGE.format(index="\n".join(index), codes="\n".join(codes))


_ERRORS = """# Errors and what to do

`python -m medimg.reference errors` prints this page from the code.

A command that ends with an error that a person can mend prints one sentence (what, where, what is allowed, what to do)
and exits with status 2. A traceback is a defect of medimg. No message holds a patient's name or a value of an
image's header.

## Kinds

| kind | means | look at |
|---|---|---|
{kinds}

What `medimg retrain` exits with has [a table of its own](retrain.md).

## Files that are refused

One bad file does not stop the others. `artifacts/quarantine.csv` names those that ingest refused, the list beside the
site key those that an import refused, `refused.csv` those of `medimg predict`, where `unlike` stands for an image of a
modality or body part that training never had.

| code | means | what to do |
|---|---|---|
{codes}
"""

_LOOK = {
    "ParamsError": "[parameters](parameters.md); `medimg params` prints them",
    "DataError": "[importing](import.md); `medimg audit data` reads again what imports wrote",
    "LabelsError": "[first contact](first-contact.md), [ingest](ingest.md)",
    "BorderError": "[importing](import.md), [PACS](pacs.md)",
    "SplitError": "[parts and patients](splits.md)",
    "TrainingError": "[training](training.md), [transfer](transfer.md)",
    "ClusterError": "[clusters](cluster.md); `medimg doctor`",
    "BusyError": "wait, or end the other process, which the sentence names",
    "RegistryError": "[every night](retrain.md)",
    "AwayError": "[every night](retrain.md); where the model was promoted: `dvc push`",
    "NightError": "[every night](retrain.md)",
    "ImageError": "the table below",
    "NotAnImage": "nothing: it is counted, not an error",
}

_AGAIN = "export the file again from where it came"
_WHOLE = "fetch the whole series, or see `ingest.geometry` in [parameters](parameters.md)"
_REMEDY = {
    Refusal.UNREADABLE: "look at its permissions and its size; a link to a folder is not followed",
    Refusal.CORRUPT: _AGAIN,
    Refusal.TRUNCATED: _AGAIN,
    Refusal.UNSUPPORTED: "[which files are read](images.md); convert it where it lies, and import that",
    Refusal.GEOMETRY: "correct the header or the mask at the source",
    Refusal.NOT_2D: "`ingest.frames` or `ingest.sample: volume` in [parameters](parameters.md)",
    Refusal.NOT_A_NUMBER: "`ingest.nan` in [parameters](parameters.md) makes NaN background",
    Refusal.NOT_3D: "nothing, if it is no volume; else fetch the whole series",
    Refusal.LOCALIZER: "nothing: it is left out on purpose",
    Refusal.SHAPES: _WHOLE,
    Refusal.MISSING: _WHOLE,
    Refusal.UNEVEN: _WHOLE,
    Refusal.BLANK: "look at the image; lower `preprocess.foreground`, or leave the image out",
    Refusal.TILT: _WHOLE,
    Refusal.DUPLICATE: "tell what was scanned twice apart at the source, and import one",
    Refusal.NO_PATIENT: "the column `patient`, or `--each-image-is-a-patient` ([importing](import.md))",
    Refusal.CONFLICT: "correct what contradicts: the header, the table or the copy",
    Refusal.BURNED_IN: "`clean_pixels` in a policy masks text ([de-identification](deidentification.md))",
    Refusal.UNSAFE: "pack the archive anew without links and without paths that lead out of it",
    Refusal.PACKED: "unpack it, or name it by itself",
    Refusal.INCOMPLETE: "import again: what is here whole is not fetched again",
    Refusal.WITHHELD: "ask the archive's administrator for leave, or filter it out ([from the PACS](pacs.md))",
    Refusal.CRASHED: "import it again alone; if it crashes again, " + _AGAIN,
    Refusal.TIMEOUT: "import it again on a machine that is not busy",
    Refusal.MEMORY: "split the file, or use a machine with more memory",
}


def _kinds(kind: type[Exception], depth: int = 0) -> list[tuple[str, str, str]]:
    """Kinds of error below ``kind`` as rows: name, meaning, where to look."""
    rows = []
    for child in kind.__subclasses__():
        if child.__module__ == errors.__name__:
            meaning = (child.__doc__ or "").replace("``", "`").replace("\n", " ")
            rows += [("– " * depth + f"`{child.__name__}`", meaning, _LOOK[child.__name__]), *_kinds(child, depth + 1)]
    return rows


def errors_page() -> str:
    """Every kind of error and every code of a refused file, with what to do, as Markdown."""
    kinds = [f"| {name} | {meaning} | {look} |" for name, meaning, look in _kinds(MedimgError)]
    codes = [f"| `{code.value}` | {code.sentence} | {_REMEDY[code]} |" for code in Refusal]
    return _ERRORS.format(kinds="\n".join(kinds), codes="\n".join(codes))


if __name__ == "__main__":
    print(errors_page() if sys.argv[1:] == ["errors"] else files(), end="")
