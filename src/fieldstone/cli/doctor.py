"""`fieldstone doctor`: is this machine fit to run the network of `network.toml`? Each check measures, none guesses."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer


def command(
    path: Annotated[
        Path, typer.Option("--config", help="The network's file; without one only the machine is checked.")
    ] = Path("network.toml"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check this machine and the network's settings. Exit code 3 when something is broken."""
    import json
    from dataclasses import asdict

    from fieldstone.cli.checks import BROKEN, examine

    findings = examine(path)
    broken = [finding for finding in findings if finding.status == BROKEN]
    if as_json:
        typer.echo(
            json.dumps({"fit": not broken, "checks": [asdict(f) for f in findings]}, indent=2, ensure_ascii=False)
        )
    else:
        width = max(len(finding.check) for finding in findings)
        for finding in findings:
            typer.echo(f"{finding.status.ljust(7)}  {finding.check.ljust(width)}  {finding.found}")
            if finding.remedy:
                typer.echo(f"{' ' * (width + 11)}→ {finding.remedy}")
        warned = sum(finding.status == "warning" for finding in findings)
        verdict = f"{len(broken)} broken" if broken else "Nothing is broken"
        typer.echo(f"\n{verdict}, {warned} warning{'' if warned == 1 else 's'}.", err=True)
    if broken:
        sys.exit(3)
