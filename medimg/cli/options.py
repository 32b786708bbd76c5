"""Options that several commands have."""

from pathlib import Path
from typing import Annotated

import typer

EachImage = Annotated[
    bool, typer.Option("--each-image-is-a-patient", help="An image that names nobody gets a patient of its own.")
]
Filters = Annotated[
    list[str] | None, typer.Option("--filter", help="Of a PACS: KEY=VALUE, or KEY=@FILE with a value a line.")
]
Credentials = Annotated[
    Path | None, typer.Option(help="Of DICOMweb: a file 'token: …', or 'user: …' and 'password: …'.")
]
Timeout = Annotated[float, typer.Option("--timeout", min=1, help="Of a PACS: how long it may be silent, seconds.")]
Certificates = Annotated[Path | None, typer.Option(help="Of DICOMweb: certificates to trust instead of the system's.")]
