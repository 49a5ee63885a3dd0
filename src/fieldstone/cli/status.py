"""`fieldstone status`: what a running node is doing now."""

from __future__ import annotations

from typing import Annotated, Any

import typer


def command(
    at: Annotated[str, typer.Argument(metavar="FOLDER|URL", help="The network's folder or the node's address.")] = ".",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show the open epoch, the newest sealed one, what waits for signatures, and whether the node is ready."""
    import time

    import httpx

    from fieldstone.cli.node_client import node_client
    from fieldstone.cli.sealed import to_json
    from fieldstone.cli.show import facts
    from fieldstone.epoch.fetch import get
    from fieldstone.errors import Retryable
    from fieldstone.units import format_token

    with node_client(_url(at), timeout_s=10.0) as client:
        network = get(client, "/v1/network").json()
        epochs = get(client, "/v1/epochs").json()
        waiting = get(client, "/v1/settlement/open").json()["open"]
        try:
            ready: dict[str, Any] = client.get("/readyz").json()
        except httpx.TransportError as error:
            raise Retryable(f"the node does not answer: {error}") from error
    newest = epochs["epochs"][-1] if epochs["epochs"] else None
    if as_json:
        typer.echo(to_json({"network": network, "newest_epoch": newest, "waiting": waiting, "ready": ready}))
        return
    seconds = max(0, network["open_epoch_end_ms"] // 1000 - int(time.time()))
    facts(
        {
            "network": f"{network['name']} ({network['network_id']})",
            "state": ready["status"]
            + "".join(f"; {part}: {why}" for part, why in {**ready["problems"], **ready.get("warnings", {})}.items()),
            "open epoch": f"{network['open_epoch']}, closes in {seconds} s",
            "sealed": f"{epochs['latest']}, root {newest['root']}" if newest else "none yet",
            "minted so far": format_token(int(newest["total_base"])) if newest else "0",
            "waiting for signatures": ", ".join(
                f"{item['epoch']} ({len(item['signed_by'])} of {item['threshold']})" for item in waiting
            )
            or "nothing",
        }
    )


def _url(at: str) -> str:
    from fieldstone.cli.sealed import is_url
    from fieldstone.config import load
    from fieldstone.errors import EnvironmentProblem

    if is_url(at):
        return at
    from pathlib import Path

    from fieldstone.node.admin import running_url
    from fieldstone.node.layout import Layout

    url = running_url(Layout(load(Path(at) / "network.toml").data_dir))
    if url is None:
        raise EnvironmentProblem(f"no node runs in {Path(at).resolve()}; start it with `fieldstone up`")
    return url
