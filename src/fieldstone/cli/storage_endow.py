"""`fieldstone storage endow SIZE`: pay once, before upload, for what a gateway keeps for ever."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fieldstone.cli.shop import shop_at

if TYPE_CHECKING:
    from collections.abc import Mapping


Size = Annotated[str, typer.Argument(metavar="SIZE", help="What you will keep, in all: 500GB, 2TiB, bytes.")]
Gateway = Annotated[
    str, typer.Option("--gateway", metavar="DID", help="The gateway whose permanent objects it pays for.")
]
GatewayKey = Annotated[
    Path | None, typer.Option("--gateway-key", metavar="FILE", help="Instead: that gateway's device.key.")
]
ProfileName = Annotated[str, typer.Option("--profile", metavar="K/N", help="The code of the gateway's bucket.")]
Decline = Annotated[
    str, typer.Option("--decline", metavar="PERCENT", help="Assumed yearly fall of prices (Kryder rate).")
]
Reads = Annotated[
    str, typer.Option("--repair-reads", metavar="N", help="Assumed: so often a year repair reads as much as all of it.")
]
Years = Annotated[int | None, typer.Option("--years", min=1, max=1_000, help="For so many years, not for ever.")]
MaxUsd = Annotated[str, typer.Option("--max-usd", help="Buy only up to this price.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Once = Annotated[str, typer.Option("--reference", help="Your own name for this payment: the same one buys once.")]
QuoteOnly = Annotated[bool, typer.Option("--quote-only", help="Show price, assumptions and stress test; buy nothing.")]
Network = Annotated[str, typer.Option("--network", envvar="FIELDSTONE_NODE", metavar="URL", help="The network's node.")]
KeyFile = Annotated[
    Path | None, typer.Option("--key-file", metavar="FILE", help="File with the API key; or set FIELDSTONE_API_KEY.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def command(
    size: Size,
    gateway: Gateway = "",
    gateway_key: GatewayKey = None,
    profile: ProfileName = "20/40",
    decline: Decline = "2",
    repair_reads: Reads = "0.5",
    years: Years = None,
    max_usd: MaxUsd = "",
    yes: Yes = False,
    reference: Once = "",
    quote_only: QuoteOnly = False,
    network: Network = "http://127.0.0.1:8080",
    key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Pay once for what a gateway will keep: credits become a locked fund that pays its permanent objects' storage and repair.

    Nobody can take the money out again, you included. Upload objects with --object-lock-mode COMPLIANCE and
    --object-lock-retain-until-date 9999-12-31T00:00:00Z: nobody can delete them, and the fund pays for them. Objects that
    are not permanent, more than SIZE in all, and your own reads are charged to credits.
    """
    import sys

    from fieldstone.cli.sealed import to_json
    from fieldstone.cli.storage_quote import percent_ppm, reads_ppm, show_once
    from fieldstone.cli.storage_size import size_of
    from fieldstone.errors import CheckFailed, UsageError
    from fieldstone.services.storage.pool.profile import profile_named
    from fieldstone.units import format_usd, parse_amount

    payer = _payer(gateway, gateway_key)
    if profile == "auto":
        raise UsageError("--profile auto: a fund is for one code; name the K/N of the gateway's bucket")
    code = profile_named(profile)
    highest = parse_amount(max_usd, 6, what="--max-usd") if max_usd else None
    wish = {
        "size_bytes": size_of(size, "SIZE"),
        "k": code.k,
        "n": code.n,
        "cost_decline_ppm": percent_ppm(decline, "--decline", 0, 999_999),
        "repair_reads_ppm": reads_ppm(repair_reads),
        "years": years,
    }
    with shop_at(network, key_file) as shop:
        made = shop.quote_once(payer, wish)
        price = made["price_micro_usd"]
        if not as_json:
            show_once({**made["terms"], "price_micro_usd": price}, sells=True)
        if not quote_only:
            if highest is not None and price > highest:
                raise CheckFailed(f"the price {format_usd(price)} is above --max-usd {format_usd(highest)}")
            if not yes:
                if not sys.stdin.isatty():
                    raise UsageError("nobody is there to confirm the price; add --yes (and --max-usd)")
                typer.confirm(f"Lock {format_usd(price)} for good?", abort=True, err=True)
            made = shop.buy(made["id"], reference or None)
    if as_json:
        typer.echo(to_json(made))
    elif not quote_only:
        _bought(made)


def _bought(fund: Mapping[str, Any]) -> None:
    from fieldstone.cli.show import facts
    from fieldstone.units import format_usd

    typer.echo("")
    facts(
        {
            "fund": fund["id"],
            "paid": f"{format_usd(fund['price_micro_usd'])}, locked",
            "pays for": f"permanent objects of {fund['payer']}, {fund['terms']['stored_bytes']:,} bytes of shares",
        }
    )
    typer.echo("next: fieldstone storage funds", err=True)


def _payer(gateway: str, key: Path | None) -> str:
    from fieldstone.errors import UsageError
    from fieldstone.identity.keys import DeviceKey

    if bool(gateway) == (key is not None):
        raise UsageError("say which gateway it is for: either --gateway did:key:… or --gateway-key FILE")
    return gateway if key is None else DeviceKey.load(key).public.device_id
