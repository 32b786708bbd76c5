"""First contact: from a folder of images to a study with parameters that fit them.

The images cross the border first; then the de-identified data are looked at, and params.yaml says what was chosen and
why. Nothing is chosen by how well a model does.
"""

import contextlib
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import yaml

from medimg.border.locate import locate
from medimg.border.pipeline import import_from
from medimg.border.sources import Folder
from medimg.border.table import is_class, keys_of
from medimg.errors import LabelsError, MedimgError, ParamsError
from medimg.files import write_text
from medimg.params import load
from medimg.study import make
from medimg.survey import Survey, survey

Ask = Callable[[str, Sequence[str]], str]
"""A question and the answers that are allowed → one of them"""

CLASS_FOLDERS = "label"
PARTS = frozenset(["train", "validation", "test", "promotion"])
"""Values of a column that ``split.column`` may name"""
_NO = frozenset(
    [
        *("0", "no", "none", "normal", "negative", "neg", "healthy", "control", "benign", "absent", "false"),
        *("nein", "kein", "keine", "gesund", "unauffällig", "negativ", "non", "sain", "sano"),
    ]
)
_GENERIC = frozenset(["data", "image", "images", "label", "labels", "mask", "masks", *PARTS])
"""Folders that are no classes, although their names look like it"""
_TABLES = (".csv", ".tsv")
_SIZES = (32, 64, 96, 128, 160, 224)
_CUBES = (32, 64, 96)
_RADIOGRAPHS = ("CR", "DX", "RG", "MG")
_PRESETS = dict.fromkeys(_RADIOGRAPHS, "cxr") | {"CT": "ct", "MR": "mr", "US": "us", "OP": "fundus"}
_FEW = 60  # patients
_LEARN_TO_SEE = 10_000  # images; with fewer, weights that others trained are the better beginning
_FOR_WEIGHTS = 96  # pixels a side, from which weights for photographs of 224 help


@dataclass(frozen=True)
class Wishes:
    """What the user has said; what is not said is found in the data, or asked."""

    labels: Path | None = None
    label: str | None = None
    positive: str | None = None
    question: str | None = None
    each_image_is_a_patient: bool = False
    keep: list[str] = field(default_factory=list)


@dataclass
class Choices:
    """Parameters by block and key, each with the reason that stands beside it."""

    made: dict[tuple[str, str], tuple[object, str]] = field(default_factory=dict)

    def set(self, block: str, key: str, value: object, why: str) -> None:
        """Choose."""
        self.made[block, key] = value, why


def first_contact(folder: Path, images: str, wishes: Wishes, ask: Ask | None = None) -> Survey:
    """Make a study in ``folder``, import ``images`` into it, and choose its parameters by what has crossed.

    Args:
        folder: empty or not there yet.
        images: a folder or an archive.
        wishes: what is known already.
        ask: how to ask a person; None: what cannot be found is an error that names the option to say it with.

    Raises:
        MedimgError: something must be said, or cannot be read; the folder is gone again then.
    """
    images = str(Path(images).resolve())
    make(folder, quiet=True)
    try:
        return _fill(folder.resolve(), images, wishes, ask)
    except BaseException:
        shutil.rmtree(folder)  # only what we made: make() refuses a folder that holds something
        raise


def _fill(folder: Path, images: str, wishes: Wishes, ask: Ask | None) -> Survey:
    data = folder / "data"
    source = locate(images, data)
    names = source.names(None)
    table = wishes.labels.resolve() if wishes.labels else _table(source)
    folders = None if table else _class_folders(names)
    if table is None and folders is None:
        tables = _beside(source) if isinstance(source, Folder) else []
        raise LabelsError(
            f"Nothing in {images} says what the images show: there is no table (CSV) beside them with a column path "
            "(the file's name), patient, study, series or instance, and they lie in no folders that could be classes. "
            f"Name a table: --labels labels.csv. {' '.join(map(_unfit, tables))}".rstrip()
        )
    with contextlib.chdir(folder):
        done = import_from(
            source,
            table,
            data,
            wishes.keep,
            each_image_is_a_patient=wishes.each_image_is_a_patient,
            class_folders=folders,
        )
        print(done)
        found = survey(data)
        print(found)
        choices = _choose(found, wishes, ask, done.nobody > 0)
        _write(folder / "params.yaml", choices)
        load(folder / "params.yaml")  # what we write must be allowed
        added = subprocess.run([sys.executable, "-m", "dvc", "add", "--quiet", "data"], check=False)
        if added.returncode:
            raise MedimgError("DVC could not take note of data/. Look at what it says above.")
    return found


def _table(source: object) -> Path | None:
    """The one table in the folder of the images that can be about them."""
    if not isinstance(source, Folder):
        return None
    found = [path for path in _beside(source) if not _unfit(path)]
    if len(found) > 1:
        listed = ", ".join(path.name for path in found)
        raise LabelsError(f"Several tables lie beside the images ({listed}). Say which is about them: --labels FILE")
    return found[0] if found else None


def _beside(source: Folder) -> list[Path]:
    return [path for path in sorted(source.folder.iterdir()) if path.suffix.lower() in _TABLES and path.is_file()]


def _unfit(path: Path) -> str:
    """Why a table cannot be about the images; empty if it can."""
    try:
        return "" if keys_of(path) else f"{path.name} has none of these columns."
    except LabelsError as problem:
        return str(problem)


def _class_folders(names: Sequence[str]) -> str | None:
    """The column for the names of the folders right above the images, if these look like classes."""
    folders = [PurePosixPath(name).parent.name for name in names]
    above = set(folders) - {""}  # what lies in no folder may be a table or a note
    named = all(is_class(name) and name.lower() not in _GENERIC for name in above)
    most = 2 * folders.count("") <= len(folders)
    return CLASS_FOLDERS if 2 <= len(above) <= 20 and named and most else None


def _choose(found: Survey, wishes: Wishes, ask: Ask | None, nobody: bool) -> Choices:
    choices = Choices()
    parts = _parts(found, wishes)
    label = _label(found, wishes, ask, parts)
    values = found.values(label)
    choices.set("study", "label", label, f"of the columns that crossed: {', '.join(found.labels)}")
    what, files = ("volume", "files") if found.volumes else ("image", "images")
    shown = ", ".join(f"{value} ({count} {files})" for value, count in values.items())
    if len(values) == 2:
        positive = _positive(values, wishes, ask)
        choices.set("study", "task", "binary", f"the column has two values: {shown}")
        choices.set("study", "positive", positive, f"the other one, {_other(values, positive)}, is negative")
        asked = f"Does this {what} show {label if positive in ('1', 'yes', 'true') else positive}?"
    else:
        choices.set("study", "task", "multiclass", f"the column has {len(values)} values")
        choices.set("study", "positive", None, "of a yes-or-no question")
        choices.set("study", "classes", list(values), shown)
        asked = f"Which {label} does this {what} show?"
    choices.set("study", "question", wishes.question or asked, "reword it as you would ask it")
    if parts:
        _fixed(parts, found.values(parts), choices)
    if found.by_patient(label):
        why = f"{len(found.rows)} {files} of {found.patients} patients, and each patient has one label"
        choices.set("study", "unit", "patient", why)
    missing = sum(not row[label] for row in found.rows) / len(found.rows)
    if missing > 0.05:
        allowed = min(1.0, round(missing + 0.01, 2))
        choices.set("ingest", "max_unlabelled", allowed, f"{missing:.0%} of the {files} have no {label}")
    if nobody:
        choices.set("split", "each_image_is_a_patient", True, "you said so: nothing tells whose image it is")
    if found.patients < _FEW:
        choices.set("split", "folds", None, f"{found.patients} patients are few: with folds: 5, each is tested once")
    _geometry(found, choices)
    return choices


def _parts(found: Survey, wishes: Wishes) -> str | None:
    """A column that says which part each image is in, such as a publisher's."""
    for column in found.labels:
        said = set(found.values(column))
        if column != wishes.label and {"train", "test"} <= said <= PARTS:
            return column
    return None


def _fixed(column: str, counts: dict[str, int], choices: Choices) -> None:
    """Parts as a column has them; of a part that it does not name, a share is drawn."""
    shown = ", ".join(f"{part} ({count})" for part, count in counts.items())
    choices.set("split", "column", column, f"it says the part of each: {shown}")
    for part in ("validation", "test"):
        if part in counts:
            choices.set("split", part, 0, f"column {column} says who is in it")


def _geometry(found: Survey, choices: Choices) -> None:
    """Size, colour, window, frames and augmentation."""
    if found.volumes:
        _volumes(found, choices)
    else:
        size = next((size for size in _SIZES if size >= found.side), _SIZES[-1])
        choices.set("preprocess", "size", size, f"the median of the longer side is {found.side} pixels; at most 224")
        _network(len(found.rows), size, choices)
    colour = found.share("channels", 3)
    if colour > 0.5 and found.most("format") in ("png", "jpeg"):
        choices.set("preprocess", "channels", 3, f"{colour:.0%} of the images looked at are in colour")
    modality, part = found.most("modality"), found.most("body_part")
    if modality == "CT":
        window = {"CHEST": "lung", "ABDOMEN": "abdomen", "HEAD": "brain", "BRAIN": "brain"}.get(part or "", "abdomen")
        choices.set("preprocess", "window", window, f"CT of {part or 'a part that is not said'}: its usual window")
    if not found.volumes and sum(one.frames > 1 for one in found.facts):
        choices.set("ingest", "frames", "samples", "some files hold several frames; each is an image of its own")
    preset = _PRESETS.get(modality or "", "mild")
    why = f"most images are {modality}" if modality else "nothing says the modality; mild suits most"
    choices.set("augment", "preset", preset, why)


def _network(images: int, size: int, choices: Choices) -> None:
    """Of pictures: from ImageNet's weights where there are few; the template's network from scratch where not."""
    if images >= _LEARN_TO_SEE or size < _FOR_WEIGHTS:
        return
    why = f"{images} images are few to learn seeing from; the ImageNet weights of this network came with medimg"
    choices.set("model", "name", "efficientnet-lite0", why)
    choices.set("model", "weights", "imagenet", "none: from scratch; or a file, folder or address to start from")
    choices.set("train", "learning_rate", 0.0005, "lower than from scratch: the weights know something already")
    choices.set("train", "depth_decay", 0.1, "the first layers, which know edges, learn at a tenth of that")


def _volumes(found: Survey, choices: Choices) -> None:
    side = found.side
    size = next((size for size in _CUBES if size >= side), _CUBES[-1])
    choices.set("ingest", "sample", "volume", found.volumes)
    choices.set("preprocess", "size", size, f"a cube; the median of the longest side is {side} voxels; at most 96")
    if found.share("orientation", None) == 0 or found.most("format") == "dicom":
        choices.set("preprocess", "orientation", "SPL", "so that all lie the same way")
    choices.set("train", "batch_size", 8, "volumes are large")
    choices.set("train", "clip", 1, "with batches as small as that, one of them can throw the training off")
    choices.set("model", "name", "resnet10", "volumes are large, and this is the smallest ResNet")


def _label(found: Survey, wishes: Wishes, ask: Ask | None, parts: str | None) -> str:
    columns = [column for column in found.labels if len(found.values(column)) > 1 and column != parts]
    if wishes.label:
        if wishes.label not in columns:
            raise LabelsError(
                f"No column {wishes.label} with two values or more has crossed the border. Those that have: "
                f"{', '.join(columns) or 'none'}. If it names no person: --keep {wishes.label}"
            )
        return wishes.label
    if not columns:
        raise LabelsError(
            "No column of the table has crossed the border: a label is called with a short word and has at most 20 "
            "values, each a word or a small number that several patients "
            "share. Insist on one with --keep COLUMN, if it names no person."
        )
    if len(columns) == 1:
        return columns[0]
    if ask is None:
        raise LabelsError(f"Several columns can be the label: {', '.join(columns)}. Say which: --label COLUMN")
    return ask("Which column is the label?", columns)


def _positive(values: dict[str, int], wishes: Wishes, ask: Ask | None) -> str:
    """Of two values, the one that is looked for."""
    if wishes.positive is not None:
        if wishes.positive not in values:
            raise LabelsError(f"The label has no value {wishes.positive}. It has: {', '.join(values)}")
        return wishes.positive
    no = [value for value in values if value.lower() in _NO]
    if len(no) == 1:
        return _other(values, no[0])
    if ask is None:
        raise LabelsError(f"Which value counts as positive: {' or '.join(values)}? Say: --positive VALUE")
    return ask("Which value counts as positive?", list(values))


def _other(values: dict[str, int], one: str) -> str:
    return next(value for value in values if value != one)


def _write(path: Path, choices: Choices) -> None:
    """Put choices into the text of params.yaml, each with its reason in the place of the comment that was there."""
    lines: list[str] = []
    block, skipping = "", False
    for line in path.read_text(encoding="utf-8").splitlines():
        if head := re.match(r"(\w+):", line):
            block = head[1]
        key = re.match(r"  (\w+):", line)
        if (
            block == "augment"
            and ("augment", "preset") in choices.made
            and line.startswith("  ")
            and (key is None or key[1] != "preset")
        ):  # what is given would overrule the preset
            skipping = True
            continue
        if skipping and not line.startswith("  "):
            skipping = False
        if key and (block, key[1]) in choices.made:
            value, why = choices.made.pop((block, key[1]))
            line = f"{f'  {key[1]}: {_plain(value)}':<23}  # {why}"
        lines.append(line)
    if choices.made:
        raise ParamsError(f"The template params.yaml has no {', '.join('.'.join(at) for at in choices.made)}.")
    write_text(path, "\n".join(lines) + "\n")


def _plain(value: object) -> str:
    text: str = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=1000)
    return text.removesuffix("\n").removesuffix("\n...")
