"""What a person runs. What DVC runs is in pipelines/.

Everything heavy is imported inside the command that needs it, so that ``medimg --help`` answers at once.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from medimg import __version__
from medimg.errors import BorderError, MedimgError

app = typer.Typer(
    name="medimg",
    help="From hospital images to an evaluated model with one dvc repro.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Run the command line; an error that a person can mend is a sentence and exit status 2."""
    try:
        app()
    except MedimgError as error:
        print(f"medimg: {error}", file=sys.stderr)
        sys.exit(2)


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Say the version and end.")] = False) -> None:
    if version:
        print(f"medimg {__version__}")
        raise typer.Exit


@app.command()
def new(folder: Annotated[Path, typer.Argument(help="The folder to make; it must not hold anything yet.")]) -> None:
    """Make a study folder: params.yaml, dvc.yaml, pipelines/, under Git and DVC."""
    from medimg.study import make

    make(folder)


@app.command("import")
def import_(
    source: Annotated[Path, typer.Argument(help="Folder of images as they came, at any depth; never changed.")],
    labels: Annotated[Path | None, typer.Option(help="CSV with a row an image (path) or a row a patient.")] = None,
    out: Annotated[Path, typer.Option(help="Where the de-identified study data go.")] = Path("data"),
    keep: Annotated[
        list[str] | None, typer.Option(help="A column of the labels to keep although it looks risky.")
    ] = None,
) -> None:
    """De-identify images and labels on their way into data/: the only way in."""
    from medimg.border.folder import import_folder

    if out == Path("data") and not Path("params.yaml").exists():
        raise BorderError(f"{Path.cwd()} is no study. Go into one, make one (medimg new), or name a folder (--out).")
    if Path.cwd() in source.resolve().parents:
        raise BorderError(
            f"{source} lies inside the study, where Git and DVC would take it as it is. Move it out, then import it."
        )
    print(import_folder(source, labels, out, keep or ()))
    if Path(".dvc").is_dir():
        added = subprocess.run([sys.executable, "-m", "dvc", "add", "--quiet", str(out)], check=False)
        if added.returncode:
            raise BorderError(f"The images are in {out}/, but DVC could not take note of them. Run: dvc add {out}")
        print(f"{out}.dvc is up to date. Next: set study.label in params.yaml, then dvc repro")


@app.command()
def demo(out: Annotated[Path, typer.Option(help="Where the demo study's data go.")] = Path("data")) -> None:
    """Write the embedded demo study: 450 synthetic images of 300 patients who do not exist."""
    from medimg.demo import write

    written = write(out)
    print(f"The demo study is in {out}/" + (" (just written)" if written else " already"))


@app.command()
def result() -> None:
    """Say what the last dvc repro found, in three lines."""
    from medimg.errors import DataError
    from medimg.evaluation import summary
    from medimg.params import load
    from medimg.records import EVALUATION

    load()  # a key that nobody reads is an error here too
    path = EVALUATION / "metrics.json"
    if not path.is_file():
        raise DataError(f"There is no {path}. Run dvc repro, which makes it.")
    print(summary(json.loads(path.read_text(encoding="utf-8"))))
    print(f"The report: {EVALUATION / 'report.html'}")
    print(f"The model:  {Path('artifacts/bundle')}/")
    status = [sys.executable, "-m", "dvc", "status", "--quiet"]
    if Path(".dvc").is_dir() and subprocess.run(status, check=False, capture_output=True).returncode:
        print("This is the result of the last dvc repro; something has changed since.")


@app.command()
def params() -> None:
    """Print every parameter of params.yaml: meaning, default, what is allowed."""
    from medimg.params import reference

    print(reference(), end="")


@app.command()
def lock() -> None:
    """Write which medimg and which packages the study uses into requirements.lock; then dvc repro uses them."""
    from medimg.study import write_lock

    write_lock(Path())
