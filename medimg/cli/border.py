"""Across the border: import, receive, audit."""

import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medimg.cli.options import Certificates, Credentials, EachImage, Filters, Timeout
from medimg.errors import BorderError

if TYPE_CHECKING:
    from medimg.border.sources import Source

Labels = Annotated[Path | None, typer.Option(help="CSV with a row an image (path) or a row a patient.")]
Out = Annotated[Path, typer.Option(help="Where the de-identified study data go.")]
Keep = Annotated[list[str] | None, typer.Option(help="A column of the labels to keep although it looks risky.")]
Policy = Annotated[Path | None, typer.Option(help="Options of the profile; deidentify.yaml of the study by default.")]
Linkage = Annotated[
    Path | None, typer.Option(help="File outside the study in which to note who is behind each pseudonym.")
]
Title = Annotated[str, typer.Option(help="Our AE title.")]
Bind = Annotated[str, typer.Option(help="Address of the interface to listen on; by default this machine alone.")]


def import_(
    source: Annotated[
        str,
        typer.Argument(
            help="A folder, a zip or tar file, https://… of a DICOMweb service, or dicom://TITLE@HOST:PORT of a PACS."
        ),
    ],
    labels: Labels = None,
    out: Out = Path("data"),
    keep: Keep = None,
    policy: Policy = None,
    linkage: Linkage = None,
    each_image_is_a_patient: EachImage = False,
    class_folders: Annotated[
        str | None, typer.Option(help="Label column that the name of the folder right above each image becomes.")
    ] = None,
    filters: Filters = None,
    credentials: Credentials = None,
    ca: Certificates = None,
    timeout: Timeout = 300,
    ae_title: Title = "MEDIMG",
    move_port: Annotated[int | None, typer.Option(help="Of a PACS: fetch by C-MOVE to this port, not C-GET.")] = None,
    bind: Bind = "127.0.0.1",
) -> None:
    """De-identify images and labels on their way into data/: the only way in."""
    from medimg.border.locate import Options, locate

    _check_study(out)
    found = locate(source, out, Options(filters or [], credentials, ca, ae_title, move_port, bind, timeout))
    _bring(found, labels, out, keep, policy, linkage, each_image_is_a_patient, class_folders)


def receive(
    peer: Annotated[list[str], typer.Option(help="Who may send: TITLE@HOST; again for each.")],
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 11112,
    ae_title: Title = "MEDIMG",
    bind: Bind = "127.0.0.1",
    idle: Annotated[float, typer.Option(help="End when nothing has come for so long, seconds.")] = 600,
    until: Annotated[str | None, typer.Option(help="End at this time of the day, HH:MM.")] = None,
    labels: Labels = None,
    out: Out = Path("data"),
    keep: Keep = None,
    policy: Policy = None,
    linkage: Linkage = None,
    each_image_is_a_patient: EachImage = False,
) -> None:
    """Listen for what modalities and PACS send (C-STORE), and import it as one batch."""
    from medimg.border.listener import Peer, checked_title
    from medimg.border.receive import Receiver, next_time

    _check_study(out)
    peers = [Peer.parse(text) for text in peer]
    source = Receiver(checked_title(ae_title), bind, port, peers, idle, next_time(until), partial(print, flush=True))
    _bring(source, labels, out, keep, policy, linkage, each_image_is_a_patient)


def audit(
    data: Annotated[Path, typer.Argument(help="The study's data folder.")] = Path("data"),
) -> None:
    """Read again all that imports wrote, and say what could identify someone."""
    from medimg.border.examine import examine

    found = examine(data)
    print(found)
    if found.findings:
        raise BorderError(f"{data} holds what must not have crossed. Take it out, and import it again.")


def _check_study(out: Path) -> None:
    if out == Path("data") and not Path("params.yaml").exists():
        raise BorderError(f"{Path.cwd()} is no study. Go into one, make one (medimg new), or name a folder (--out).")


def _bring(
    source: "Source",
    labels: Path | None,
    out: Path,
    keep: list[str] | None,
    policy: Path | None,
    linkage: Path | None,
    each: bool,
    class_folders: str | None = None,
) -> None:
    """Import a source, say what came, and let DVC take note of it."""
    from medimg.border.options import load_policy
    from medimg.border.pipeline import import_from

    done = import_from(
        source,
        labels,
        out,
        keep or (),
        each_image_is_a_patient=each,
        policy=load_policy(policy),
        linkage=linkage,
        class_folders=class_folders,
    )
    print(done)
    _take_note(out)


def _take_note(out: Path) -> None:
    """Let DVC take note of what has crossed, if it is in the study: of what lies elsewhere it cannot."""
    inside = Path.cwd().resolve() in (out.parent.resolve() / out.name).parents
    if Path(".dvc").is_dir() and inside:
        added = subprocess.run([sys.executable, "-m", "dvc", "add", "--quiet", str(out)], check=False)
        if added.returncode:
            raise BorderError(f"The images are in {out}/, but DVC could not take note of them. Run: dvc add {out}")
        print(f"{out}.dvc is up to date. Next: set study.label in params.yaml, then dvc repro")
