"""`fieldstone storage demo`: twelve disks, an upload, five deaths, everything back, and who was paid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from fieldstone.demo.storage import Story


PLACES = 6  # of a token: what a few megabytes earn in minutes


def command(
    folder: Annotated[Path, typer.Argument(help="Where the demo is kept; an earlier one is replaced.")] = Path(
        "storage-demo"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Run a real small storage network on this machine: providers, a gateway, rclone, rounds, repair, rewards."""
    import time

    from rich.console import Console

    from fieldstone.cli.sealed import to_json
    from fieldstone.demo.storage import run
    from fieldstone.errors import CheckFailed
    from fieldstone.node.logs import configure

    configure("warning", as_json=True)
    console = Console(stderr=True)
    began = time.monotonic()
    with console.status("starting …") as status:

        def progress(what: str) -> None:
            status.update(what)
            if not console.is_terminal:
                typer.echo(f"{time.monotonic() - began:5.1f} s  {what}", err=True)

        story = run(folder, progress)
    if as_json:
        typer.echo(to_json(_facts(story)))
    else:
        _tell(story)
    if not (story.is_intact and story.replays_agree):
        raise CheckFailed("the demo did not end as it should; see the logs in its folder")


def _facts(story: Story) -> dict[str, Any]:
    import dataclasses

    facts = dataclasses.asdict(story)
    facts["folder"] = str(story.folder)
    facts["paid"] = [{name: str(value) for name, value in row.items()} for row in story.paid]
    return facts


def why_so_little(rows: Sequence[Mapping[str, Any]]) -> str:
    """Say in words what bounds the disks' pay, from their statement rows: it is what customers paid."""
    import json

    from fieldstone.demo.storage import PRICE_USD
    from fieldstone.units import format_token, format_usd

    offers = {row["epoch"]: json.loads(row["factors"])["bootstrap"] for row in rows if row["service"]}
    offered = sum(int(pool["offered_base"]) for pool in offers.values() if pool)
    earned = sum(int(row["bootstrap_base"]) for row in rows)
    revenue = sum(row["revenue_micro_usd"] for row in rows)
    return (
        f"Why so little: a few megabytes for minutes are worth {format_usd(revenue)} to customers, even at ${PRICE_USD:,} per "
        f"GiB-month, and they\npay in the epoch after. The bootstrap offered {format_token(offered, 0)} tokens, of which the disks "
        f"got {format_token(earned, PLACES)}: on stored data it is capped at\na part of the take on what customers paid, else storing "
        "with oneself would be the best business; what nobody earned was not minted."
    )


def _tell(story: Story) -> None:
    from fieldstone.cli.show import table
    from fieldstone.demo.storage import KILLED, PROFILE, PROVIDERS
    from fieldstone.units import format_token, format_usd

    speed = story.size_bytes / 1e6
    typer.echo(
        f"\n{story.files} files, {speed:.1f} MB, went through the S3 gateway with rclone in {story.uploaded_s:.1f} s: "
        f"encrypted, coded {PROFILE}, spread over {PROVIDERS} operators.\n"
        f"{KILLED} of {PROVIDERS} providers were killed with SIGKILL. Everything was read back in "
        f"{story.read_back_s:.1f} s: {'every byte the same' if story.is_intact else 'BYTES DIFFER'}.\n"
    )
    steps = ", ".join(f"{count} {when}" for when, count in story.shares.items())
    typer.echo(f"Shares on disks that live: {steps}; {story.repaired_segments} segments were repaired.\n")
    rows = []
    for disk in sorted({row["disk"] for row in story.paid}):
        mine = [row for row in story.paid if row["disk"] == disk]
        last = mine[-1]
        rows.append(
            [
                disk,
                "killed" if last["is_killed"] else "",
                f"{sum(row['quantity'] for row in mine):,}",
                format_usd(sum(row["revenue_micro_usd"] for row in mine)),
                format_token(sum(int(row["paid_base"]) for row in mine), PLACES),
                format_token(sum(int(row["bootstrap_base"]) for row in mine), PLACES),
                ", ".join(last["reasons"]),
            ]
        )
    typer.echo(f"Who was paid in {story.epochs} epochs:")
    columns = ("disk", "", "KiB-seconds proven", "revenue", "tokens paid", "bootstrap", "reasons in the last epoch")
    table(columns, rows)
    typer.echo("\n" + why_so_little(story.paid))
    typer.echo("\nWhat the customer paid:")
    charges = [
        [str(c.epoch), c.product, f"{c.units:,}", format_usd(c.due_micro_usd), format_usd(c.paid_micro_usd)]
        for c in story.charges
    ]
    table(("epoch", "product", "units", "due", "paid"), charges)
    agree = "agree with the sealed ones" if story.replays_agree else "DIFFER from the sealed ones"
    typer.echo(f"\nAll {story.epochs} epochs were replayed from their files: root and tables {agree}.")
    typer.echo(f"Logs and data are in {story.folder}. It took {story.seconds:.0f} s.")
