"""What came out: result, compare, evaluate."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from medimg.cli.options import EachImage


def result() -> None:
    """Say what the last dvc repro found, and what the report warns of."""
    from medimg.errors import DataError
    from medimg.evaluation import summary
    from medimg.params import load
    from medimg.records import EVALUATION

    load()  # a key that nobody reads is an error here too
    path = EVALUATION / "metrics.json"
    if not path.is_file():
        raise DataError(f"There is no {path}. Run dvc repro, which makes it.")
    print(summary(json.loads(path.read_text(encoding="utf-8"))))
    _warn(EVALUATION)
    print(f"The report: {EVALUATION / 'report.html'}")
    print(f"The model:  {Path('artifacts/bundle')}/")
    status = [sys.executable, "-m", "dvc", "status", "--quiet"]
    if Path(".dvc").is_dir() and subprocess.run(status, check=False, capture_output=True).returncode:
        print("This is the result of the last dvc repro; something has changed since.")


def compare(
    first: Annotated[Path, typer.Argument(help="A study's folder, its artifacts folder, or a predictions.parquet.")],
    second: Annotated[Path, typer.Argument(help="The one to compare it with, likewise.")],
    margin: Annotated[float | None, typer.Option(help="Ask whether the first is worse by this much or more.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write the comparison to this file too, as JSON.")] = None,
) -> None:
    """Compare two models on the test patients that both have predicted, in pairs."""
    from medimg.evaluation.compare import compare, lines, load_model
    from medimg.files import write_json
    from medimg.params import load

    found = compare(load_model(first), load_model(second), load())
    if out is not None:
        write_json(out, found.as_json())
    print("\n".join(lines(found, margin)))


def evaluate(
    bundle: Annotated[Path, typer.Argument(help="A study's artifacts/bundle, or a copy of it.")],
    data: Annotated[Path, typer.Option(help="Data of elsewhere, as medimg import --out wrote them.")],
    out: Annotated[Path, typer.Option(help="Where the report goes; it must not hold anything yet.")],
    label: Annotated[str | None, typer.Option(help="The column of the labels, where it has another name.")] = None,
    each_image_is_a_patient: EachImage = False,
    allow_unverified: Annotated[
        bool, typer.Option("--allow-unverified", help="Use files that came past the import; the report says so.")
    ] = False,
) -> None:
    """Test a finished model on other data: model, thresholds and calibration frozen, the full report."""
    from medimg.evaluation import summary
    from medimg.external import evaluate as on_other_data

    found = on_other_data(
        bundle,
        data,
        out,
        label=label,
        each_image_is_a_patient=each_image_is_a_patient,
        allow_unverified=allow_unverified,
    )
    print(summary(found))
    _warn(out)
    print(f"The report: {out / 'report.html'}")


def _warn(folder: Path) -> None:
    """Print the title of each warning that stands at the head of the report in ``folder``."""
    path = folder / "cautions.json"
    for caution in json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []:
        print(f"warning: {caution['title']}")
