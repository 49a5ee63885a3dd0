"""`fieldstone up`: run the network of this folder until it is told to stop."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    folder: Annotated[Path, typer.Argument(help="Folder with a network.toml.")] = Path("."),
    log_json: Annotated[
        bool, typer.Option("--log-json", help="Log JSON lines (the default when stderr is no terminal).")
    ] = False,
) -> None:
    """Run the network: open the doors, close epochs, post roots, serve the market and the explorer.

    SIGINT or SIGTERM stops it gracefully: what was accepted is durable before the process ends.
    """
    import asyncio

    from fieldstone.config import load
    from fieldstone.intake.loop import loop_factory
    from fieldstone.node.logs import configure
    from fieldstone.node.node import Node
    from fieldstone.node.serve import Server

    config = load(folder / "network.toml")
    configure(config.node.log_level, as_json=log_json)
    node = Node(config)
    try:
        server = Server(node)
        chain = f"{server.url}/rpc" if config.chain.url == "embedded" else config.chain.url
        typer.echo(f"{config.node.name} is up at {server.url}  (stop with Ctrl-C)", err=True)
        typer.echo(
            f"  explorer   {server.url}/\n  reports    POST {server.url}/v1/reports\n  chain      {chain}",
            err=True,
        )
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            runner.run(server.run())
    finally:
        node.close()
    typer.echo("stopped; everything accepted is in the journal", err=True)
