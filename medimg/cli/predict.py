"""A finished model at work: predict, export."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from medimg.cli.options import Certificates, Credentials, Filters, Timeout

Bundle = Annotated[
    Path | None, typer.Option(help="A bundle; by default the study's champion, or else its artifacts/bundle.")
]


def predict(
    inputs: Annotated[
        list[str],
        typer.Argument(help="Files, folders, zip or tar files, https://… of DICOMweb, or dicom://TITLE@HOST:PORT."),
    ],
    out: Annotated[Path, typer.Option(help="Where the answers go; it must not hold anything yet.")],
    bundle: Bundle = None,
    identified: Annotated[
        Path | None,
        typer.Option(help="Folder outside the study for the same under the hospital's own names; nowhere by default."),
    ] = None,
    score_all: Annotated[
        bool, typer.Option("--score-all", help="Score also a modality or body part that training never had.")
    ] = False,
    sr: Annotated[bool, typer.Option("--sr", help="A DICOM Structured Report for each study, below sr/.")] = False,
    heatmap: Annotated[
        bool, typer.Option("--heatmap", help="Where the network looked: a PNG and a DICOM picture an image.")
    ] = False,
    maps: Annotated[
        bool, typer.Option("--maps", help="The map alone on the grid of the file: a PNG an image, a NIfTI a volume.")
    ] = False,
    filters: Filters = None,
    credentials: Credentials = None,
    ca: Certificates = None,
    timeout: Timeout = 300,
) -> None:
    """Score new images with a finished model: probability, decision, and flags where they are unlike its own."""
    from medimg.border.locate import Options
    from medimg.predict import predict as score
    from medimg.promote import CHAMPION, champion_bundle
    from medimg.records import BUNDLE

    options = Options(filters or [], credentials, ca, timeout=timeout)
    if bundle is None:
        bundle = champion_bundle() if CHAMPION.is_file() else BUNDLE
    done = score(
        inputs,
        bundle,
        out,
        options=options,
        identified=identified,
        score_all=score_all,
        reports=sr,
        pictures=heatmap,
        maps=maps,
    )
    print(done)
    whose = "" if identified else ", under pseudonyms (whose row is whose: --identified FOLDER)"
    print(f"The answers: {out / 'predictions.csv'}{whose}")


def export(
    bundle: Annotated[Path, typer.Argument(help="A study's artifacts/bundle, or a copy of it.")],
    out: Annotated[
        Path | None,
        typer.Option(help="The file or folder to write, not there yet; by default model.onnx or monai-bundle."),
    ] = None,
    format_: Annotated[
        Literal["onnx", "monai"], typer.Option("--format", help="An ONNX file, or a bundle that MONAI runs.")
    ] = "onnx",
) -> None:
    """Write a model in a form that other programs run, once one of them has given the same answers."""
    from medimg.export import TOLERANCE, export_onnx
    from medimg.export.monai_bundle import export_monai

    onnx = format_ == "onnx"
    out = out or Path("model.onnx" if onnx else "monai-bundle")
    off = (export_onnx if onnx else export_monai)(bundle, out)
    by = "onnxruntime" if onnx else "TorchScript"
    print(f"{out}: {by} gives the same logits within {off:.1g} ({TOLERANCE:g} is allowed)")
