"""`fieldstone verify SERVICE`: run a service's verification on plain Parquet files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    service: Annotated[str, typer.Argument(help="Service whose rules judge, e.g. sensing.")],
    registry: Annotated[
        Path, typer.Option(help="Parquet file: device, operator, model, lat, lon, elevation_m, enrolled_ms.")
    ],
    evidence: Annotated[Path, typer.Option(help="Folder with the evidence (readings.parquet), or one Parquet file.")],
    out: Annotated[Path, typer.Option(help="Parquet file to write the verdicts to.")],
    params: Annotated[Path | None, typer.Option(help="TOML file that overrides single parameters.")] = None,
    epoch: Annotated[
        str | None, typer.Option(help="Split the evidence into epochs of this length: 24h, 1h, 15m.")
    ] = None,
    rule_version: Annotated[int | None, typer.Option(help="Rule version; the newest by default.")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes; by size when left out.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Verify evidence in Parquet files offline: no network, no signatures.

    Writes one row per device and epoch: device, service, epoch, quantity, quality_ppm, verdict, reasons, detail.
    """
    import json

    from rich.console import Console
    from rich.progress import Progress

    from fieldstone.services import load_service
    from fieldstone.services.offline import parse_duration, read_params, verify_files

    found = load_service(service)
    epoch_ms = None if epoch is None else parse_duration(epoch)
    overrides = None if params is None else read_params(params)
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("verifying", total=None)
        result = verify_files(
            found,
            registry,
            evidence,
            out=out,
            params=overrides,
            rule_version=rule_version,
            epoch_ms=epoch_ms,
            workers=workers,
            progress=lambda done, total, what: bar.update(task, completed=done, total=total, description=what),
        )
    summary = {**result.summary(), "out": str(out)}
    if as_json:
        typer.echo(json.dumps(summary, sort_keys=True))
        return
    typer.echo(f"{summary['devices']} devices, {summary['rows']} readings, {summary['epochs']} epoch(s) of {service}")
    for verdict, count in summary["verdicts"].items():
        typer.echo(f"  {verdict:<9} {count}")
    if summary["reasons"]:
        typer.echo("reasons, by number of verdicts that name them:")
        for code, count in summary["reasons"].items():
            typer.echo(f"  {code:<20} {count:>6}  {found.reasons[code].meaning}")
    typer.echo(f"verdicts written to {out}")
