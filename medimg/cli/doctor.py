"""Is everything in order? doctor."""

import json
import sys
from typing import Annotated

import typer


def doctor(
    cluster: Annotated[
        str | None, typer.Option(help="Ask this Ray cluster too, such as http://127.0.0.1:8265: is it safe to use?")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of lines.")] = False,
) -> None:
    """Examine this machine and the study here: each line ok, warn or fail, and what to do; exit 1 where one fails."""
    from medimg.doctor import all_probes, examine

    checks = []
    for check in examine(all_probes(cluster)):
        checks.append(check)
        if not as_json:
            print(check, flush=True)
    counts = {status: sum(check.status == status for check in checks) for status in ("ok", "warn", "fail")}
    if as_json:
        print(json.dumps({"counts": counts, "checks": [check.as_json() for check in checks]}, indent=2))
    else:
        print(", ".join(f"{count} {status}" for status, count in counts.items()))
    if counts["fail"]:
        sys.exit(1)
