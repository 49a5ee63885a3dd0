"""`fieldstone storage coverage`: how long the credits that pay for a gateway last."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from fieldstone.services.storage.coverage import Period

Network = Annotated[str, typer.Option("--network", envvar="FIELDSTONE_NODE", metavar="URL", help="The network's node.")]
KeyFile = Annotated[
    Path | None, typer.Option("--key-file", metavar="FILE", help="File with the API key; or set FIELDSTONE_API_KEY.")
]
Days = Annotated[int, typer.Option("--days", min=1, max=366, help="Judge by the charges of so many days.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

MOST_CHARGES = 1_000  # what the node lists


def command(
    network: Network = "http://127.0.0.1:8080",
    key_file: KeyFile = None,
    days: Days = 30,
    as_json: Json = False,
) -> None:
    """Say how many years your credits cover what your gateways store and read, at several yearly declines of cost.

    Providers claim reads every ten minutes (`storage provide --claim-minutes`), so the newest reads may not be charged yet.
    What was paid once is not in it: see `storage funds`.

    Ends with 1 when charges of the window were not paid in full: providers are leaving or will.
    """
    from fieldstone.cli.sealed import to_json
    from fieldstone.cli.shop import shop_at
    from fieldstone.cli.show import facts, say, table
    from fieldstone.errors import CheckFailed
    from fieldstone.services.storage.coverage import coverage
    from fieldstone.units import format_usd

    with shop_at(network, key_file) as shop:
        credits = int(shop.account()["credits_micro_usd"])
        found = coverage(credits, _periods(network, shop.usage(MOST_CHARGES)["charges"], days))
    if as_json:
        typer.echo(to_json(found))
    elif not found["epochs"]:
        typer.echo(f"credits  {format_usd(credits)}\nNo epoch charged for storage yet: nothing is known of the cost.")
    else:
        span_days = (found["end_ms"] - found["start_ms"]) / 86_400_000
        facts(
            {
                "credits": format_usd(credits),
                "charged": f"{format_usd(found['due_micro_usd'])} in {found['epochs']} epochs of {span_days:.3g} days",
                "a year": format_usd(found["yearly_micro_usd"]),
                "unpaid": format_usd(found["unpaid_micro_usd"]),
            }
        )
        typer.echo("")
        rows = [
            (f"{one['decline_ppm'] / 10_000:g} %", "for ever" if one["years"] is None else f"{one['years']:,.2f}")
            for one in found["years"]
        ]
        table(("costs fall a year", "years covered"), rows)
        say("Reads are charged when providers claim them, every ten minutes by default: the newest are not in it yet.")
    if found["unpaid_micro_usd"]:
        raise CheckFailed(
            f"{format_usd(found['unpaid_micro_usd'])} of the charges found no credits: top the account up, or what the "
            "gateways store will be lost"
        )


def _periods(network: str, charges: Sequence[dict[str, Any]], days: int) -> list[Period]:
    """Return the storage charges of the newest `days` with the spans of their epochs."""
    from fieldstone.cli.node_client import node_client
    from fieldstone.epoch.fetch import get
    from fieldstone.errors import CheckFailed
    from fieldstone.services.storage.coverage import Period
    from fieldstone.services.storage.schema import SERVICE
    from fieldstone.units import DAY_MS

    mine = [one for one in charges if one["service"] == SERVICE]
    if len(charges) >= MOST_CHARGES:
        # the list was cut somewhere inside its oldest epoch
        oldest = min(one["epoch"] for one in charges)
        mine = [one for one in mine if one["epoch"] != oldest]
    if not mine:
        return []
    with node_client(network) as client:
        after = min(one["epoch"] for one in mine) - 1
        listed = get(client, f"/v1/epochs?after={after}").json()["epochs"]
    spans = {one["epoch"]: (one["start_ms"], one["end_ms"]) for one in listed}
    if missing := {one["epoch"] for one in mine} - spans.keys():
        raise CheckFailed(f"{network} charged for epoch {min(missing)}, which it does not list as sealed")
    newest_ms = max(spans[one["epoch"]][1] for one in mine)
    return [
        Period(
            one["epoch"],
            *spans[one["epoch"]],
            one["due_micro_usd"] - one.get("from_funds_micro_usd", 0),
            one["paid_micro_usd"] - one.get("from_funds_micro_usd", 0),
        )
        for one in mine
        if spans[one["epoch"]][1] > newest_ms - days * DAY_MS
    ]
