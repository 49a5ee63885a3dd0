"""`fieldstone lab`: let adversaries loose on the real verification and see who is caught."""

from __future__ import annotations

import json
from typing import Annotated

import typer

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="Detection scoreboards: who is caught, at what cost."
)


@app.command()
def sensing(
    seeds: Annotated[int, typer.Option(help="Worlds to try; each is another place in the year.", min=1, max=1000)] = 2,
    stations: Annotated[int, typer.Option(help="Honest stations per world.", min=16, max=5000)] = 120,
    days: Annotated[int, typer.Option(help="Days to run; replay needs 2, drift 30.", min=1, max=60)] = 1,
    instances: Annotated[int, typer.Option(help="Instances of each attack per world.", min=1, max=20)] = 1,
    attack: Annotated[list[str] | None, typer.Option(help="Only this attack (repeat for more).")] = None,
    list_attacks: Annotated[bool, typer.Option("--list", help="List the attacks and end.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Run the attacks of the sensing lab against rule version 1 and print the scoreboard."""
    from fieldstone.errors import UsageError
    from fieldstone.lab.scoreboard import render, score
    from fieldstone.services.sensing.lab_adversaries import ATTACKS
    from fieldstone.services.sensing.lab_stations import TROUBLES
    from fieldstone.services.sensing.lab_trial import trial

    summaries = {name: one.summary for name, one in ATTACKS.items()}
    if list_attacks:
        typer.echo(json.dumps(summaries) if as_json else "\n".join(f"{k}: {v}" for k, v in summaries.items()))
        return
    unknown = sorted(set(attack or ()) - set(ATTACKS))
    if unknown:
        raise UsageError(f"unknown attack {', '.join(unknown)}; see `fieldstone lab sensing --list`")
    troubles = min(2, stations // (2 * len(TROUBLES)))
    outcomes = []
    for seed in range(1, seeds + 1):
        typer.echo(f"world {seed} of {seeds} …", err=True)
        outcomes.append(
            trial(seed, honest=stations, instances=instances, attacks=attack or None, days=days, troubles=troubles)
        )
    board = score(outcomes)
    typer.echo(json.dumps(board.as_dict()) if as_json else render(board, summaries))


@app.command()
def storage(
    seeds: Annotated[int, typer.Option(help="Worlds to try.", min=1, max=1000)] = 1,
    days: Annotated[float, typer.Option(help="Days to run, in epochs of six hours.", min=0.25, max=60)] = 1.0,
    attack: Annotated[list[str] | None, typer.Option(help="Only this attack (repeat for more).")] = None,
    list_attacks: Annotated[bool, typer.Option("--list", help="List the attacks and end.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Run the attacks of the storage lab against rule version 1 and print the scoreboard."""
    from fieldstone.errors import UsageError
    from fieldstone.lab.scoreboard import render, score
    from fieldstone.services.storage.lab_trial import ATTACKS, trial

    summaries = {name: one.summary for name, one in ATTACKS.items()}
    if list_attacks:
        typer.echo(json.dumps(summaries) if as_json else "\n".join(f"{k}: {v}" for k, v in summaries.items()))
        return
    unknown = sorted(set(attack or ()) - set(ATTACKS))
    if unknown:
        raise UsageError(f"unknown attack {', '.join(unknown)}; see `fieldstone lab storage --list`")
    outcomes = []
    for seed in range(1, seeds + 1):
        typer.echo(f"world {seed} of {seeds} …", err=True)
        outcomes.append(trial(seed, days=days, attacks=attack or None))
    board = score(outcomes)
    typer.echo(json.dumps(board.as_dict()) if as_json else render(board, summaries))
