"""`fieldstone verifier`: an independent process that recomputes a node's epochs and co-signs or refuses them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from fieldstone.epoch.verifier import Opinion


def command(
    node: Annotated[str, typer.Argument(help="Address of the node to follow, such as http://127.0.0.1:8080.")],
    folder: Annotated[
        Path, typer.Option("--folder", help="Where this verifier keeps its key and its own copy.")
    ] = Path("verifier"),
    once: Annotated[bool, typer.Option("--once", help="Check what is there and stop.")] = False,
    interval_s: Annotated[float, typer.Option(min=0.1, help="Seconds between looks.")] = 5.0,
    workers: Annotated[int, typer.Option(min=1, help="Processes for the device checks.")] = 1,
    show_address: Annotated[bool, typer.Option("--address", help="Print this verifier's address and stop.")] = False,
    rpc: Annotated[str, typer.Option("--rpc", help="JSON-RPC address of the chain, to check bonds there.")] = "",
    contracts: Annotated[
        Path | None, typer.Option("--contracts", help="Addresses file of the network; else the node names them.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON line per opinion.")] = False,
) -> None:
    """Follow a node: fetch each sealed epoch, check every signature, replay, compare, co-sign or refuse.

    The key is made in FOLDER on the first run; give its address (--address) to the founder, who lists it under
    [settlement] verifiers. Exit code 1 when an epoch was refused.
    """
    from fieldstone.cli.onchain import kept, reader
    from fieldstone.cli.sealed import runner_for, to_json
    from fieldstone.epoch.verifier import Verifier
    from fieldstone.errors import Retryable
    from fieldstone.identity.wallet import Wallet

    folder.mkdir(parents=True, exist_ok=True)
    key = folder / "verifier.wallet"
    if not key.exists():
        Wallet.generate().save(key)
    wallet = Wallet.load(key)
    if show_address:
        typer.echo(wallet.address)
        return

    def report(opinion: Opinion) -> None:
        if as_json:
            devices = sorted({difference.device for difference in opinion.differences})
            typer.echo(
                to_json(
                    {
                        "epoch": opinion.epoch,
                        "agrees": opinion.agrees,
                        "root": opinion.root,
                        "reason": opinion.reason,
                        "devices": devices,
                        "unchecked": list(opinion.unchecked),
                    }
                )
            )
        elif opinion.agrees:
            typer.echo(f"epoch {opinion.epoch}: agrees, root {opinion.root}")
            for what in opinion.unchecked:
                typer.echo(f"  not checked: {what}")
        else:
            typer.echo(f"epoch {opinion.epoch}: REFUSED, {opinion.reason}")
            for difference in opinion.differences[:20]:
                typer.echo(
                    f"  {difference.device} {difference.field}: node {difference.left}, recomputed {difference.right}"
                )

    with runner_for(workers) as runner:
        chain = reader(node, rpc, contracts or kept(folder, node)) if rpc else None
        verifier = Verifier(node, wallet, folder, runner=runner, chain=chain, report=report)
        typer.echo(f"verifier {wallet.address} follows {node}", err=True)
        while True:
            try:
                opinions = verifier.step()
            except Retryable as error:
                if once:
                    raise
                typer.echo(f"{error}; trying again", err=True)
                opinions = []
            if any(not opinion.agrees for opinion in opinions):
                raise typer.Exit(1)
            if once:
                return
            time.sleep(interval_s)
