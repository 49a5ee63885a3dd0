"""`fieldstone demo`: see everything work, on this machine, in about a minute."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from fieldstone.demo.run import Story


def command(
    folder: Annotated[
        Path, typer.Argument(help="Where the demo's network is kept; an earlier demo is replaced.")
    ] = Path("demo-network"),
    port: Annotated[int, typer.Option(help="Port of the node; 0 takes a free one.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Run a real small network for three simulated days: stations, cheaters, verifiers, customers, a chain.

    Ends with who paid, who earned, who was caught and why, the root on chain, one claim, and a replay that agrees.
    """
    import time

    from rich.console import Console

    from fieldstone.cli.sealed import to_json
    from fieldstone.demo.run import run
    from fieldstone.node.logs import configure

    configure("warning", as_json=True)
    console = Console(stderr=True)
    began = time.monotonic()
    with console.status("starting …") as status:

        def progress(what: str) -> None:
            status.update(what)
            if not console.is_terminal:
                typer.echo(f"{time.monotonic() - began:5.1f} s  {what}", err=True)

        story = run(folder, progress, now_ms=time.time_ns() // 1_000_000, port=port)
    from fieldstone.demo.summary import facts_of

    facts = facts_of(story)
    if as_json:
        typer.echo(to_json(facts))
    else:
        _tell(story, facts)


def _tell(story: Story, facts: dict[str, Any]) -> None:
    from fieldstone.cli.show import table
    from fieldstone.units import format_token, format_usd

    typer.echo(
        f"\n{facts['devices']} devices sent {facts['reports']:,} signed reports over HTTP in three days; "
        f"all were acknowledged after fsync.\n"
    )
    table(
        ["customer", "bought", "readings", "paid", "invoice"],
        [
            [p["customer"], p["what"], f"{p['readings']:,}", format_usd(p["price_micro_usd"]), p["invoice"]]
            for p in facts["purchases"]
        ],
        title="Who paid",
    )
    table(
        ["operator", "devices", "from customers", "bootstrap", "total (tokens)"],
        [
            [
                o["operator"],
                o["devices"],
                format_token(o["paid_base"]),
                format_token(o["bootstrap_base"]),
                format_token(o["total_base"]),
            ]
            for o in facts["operators"][:6]
        ],
        title="Who earned (three epochs, the first six operators)",
    )
    table(
        ["device", "in truth", "verdict of the last epoch", "quality", "earned", "reasons"],
        [
            [
                c["name"],
                c["truth"],
                c["verdict"],
                f"{c['quality_ppm'] / 10_000:.0f} %",
                format_token(c["total_base"]),
                ", ".join(c["reasons"]),
            ]
            for c in facts["suspects"]
        ],
        title="Who was caught, and why",
    )
    caught = facts["caught"]
    typer.echo(
        f"{caught['cheaters_caught']} of {caught['cheaters']} cheating devices lost more than half of their quality in the last epoch; "
        f"so did, in any of the three, {caught['honest_cut']} of {caught['honest']} honest ones."
    )
    if facts["airport_fault"]:
        typer.echo(
            "The real sensor fault in the airport data (JFK, a drop by 24 °C for one hour) was found: "
            + facts["airport_fault"]
        )
    claim = facts["claim"]
    typer.echo(
        f"\nOn chain: epoch {facts['active_epoch']} pays, root 0x{facts['active_root']}\n"
        f"          co-signed by {', '.join(facts['signed_by'])}\n"
        f"Claim:    {claim['operator']} received {format_token(claim['paid_base'])} tokens ({claim['gas_used']:,} gas)\n"
        f"Replay:   {'agrees' if facts['replay_agrees'] else 'DIFFERS'}, every table and the root, from the sealed files alone\n"
        f"Time:     {facts['seconds']:.0f} s"
    )
    where = story.folder
    suspect = facts["suspects"][0]["device"][-12:] if facts["suspects"] else "ID"
    me = _own_name()
    next_steps = {
        f"{me} epoch explain 3 --device {suspect} --at {where}": "why that device earned what it did",
        f"{me} epoch replay 3 --at {where}": "recompute it yourself",
        f"{me} up {where}": "keep the network running and open its explorer",
        f"{me} init my-network": "start your own",
    }
    width = max(map(len, next_steps))
    typer.echo("\nTry next:")
    for words, why in next_steps.items():
        typer.echo(f"  {words.ljust(width)}   {why}")


def _own_name() -> str:
    """Return how to call this program again from here: by name when it is on the path."""
    import os
    import shutil
    import sys

    if shutil.which("fieldstone"):
        return "fieldstone"
    return os.path.relpath(Path(sys.executable).parent / "fieldstone")
