"""What a person runs, a module a topic. What DVC runs is in pipelines/.

Everything heavy is imported inside the command that needs it, so that ``medimg --help`` answers at once.
"""

import sys
from typing import Annotated

import typer

from medimg import __version__
from medimg.cli import border, cache, cluster, doctor, night, predict, public, results, study, tuning
from medimg.errors import MedimgError

app = typer.Typer(
    name="medimg",
    help="From hospital images to an evaluated model with one dvc repro.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

for _command in (
    # in the order in which a study meets them, which is that of medimg --help
    study.new,
    border.import_,
    border.receive,
    border.audit,
    study.demo,
    public.fetch,
    study.lecture,
    tuning.tune,
    results.result,
    results.compare,
    results.evaluate,
    cluster.submit,
    cluster.jobs,
    cluster.logs,
    cluster.collect,
    predict.predict,
    predict.export,
    night.retrain,
    night.champion,
    night.history,
    night.promote,
    night.rollback,
    night.drift,
    night.schedule,
    cache.cache,
    doctor.doctor,
    study.params,
    study.lock,
):
    app.command(_command.__name__.strip("_").replace("_", "-"))(_command)


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
