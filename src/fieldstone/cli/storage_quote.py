"""`fieldstone storage quote SIZE`: dollars before upload, by the month or paid once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from fieldstone.services.storage.object_quote import Quote
    from fieldstone.services.storage.pool.profile import Profile

Size = Annotated[str, typer.Argument(metavar="SIZE", help="The object's size: 500GB, 2TiB, or a number of bytes.")]
Months = Annotated[int, typer.Option("--months", min=0, max=1_200, metavar="N", help="How long, in months of 30 days.")]
ProfileName = Annotated[
    str, typer.Option("--profile", metavar="K/N", help="Any K of N shares restore it; auto: as a gateway would choose.")
]
Egress = Annotated[str, typer.Option("--egress", metavar="SIZE", help="How much will be read in that time.")]
Permanent = Annotated[
    bool, typer.Option("--permanent", help="Pay once: the endowment, its assumptions, its stress test.")
]
Decline = Annotated[
    str, typer.Option("--decline", metavar="PERCENT", help="Yearly fall of storage costs (Kryder rate).")
]
Return = Annotated[str, typer.Option("--fund-return", metavar="PERCENT", help="What the fund earns a year.")]
Power = Annotated[
    str, typer.Option("--purchasing-power", metavar="PERCENT", help="How much of the fund's worth survives (f).")
]
Reads = Annotated[
    str, typer.Option("--repair-reads", metavar="N", help="How often a year repair reads as much as all of it.")
]
Years = Annotated[
    int | None, typer.Option("--years", min=1, max=1_000, help="Pay once for so many years, not for ever.")
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of the stress test.")]
Network = Annotated[
    str | None, typer.Option("--network", envvar="FIELDSTONE_NODE", metavar="URL", help="The network's node.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def command(
    size: Size,
    months: Months = 1,
    profile: ProfileName = "auto",
    egress: Egress = "",
    permanent: Permanent = False,
    decline: Decline = "2",
    fund_return: Return = "0",
    purchasing_power: Power = "100",
    repair_reads: Reads = "0.5",
    years: Years = None,
    seed: Seed = 1,
    network: Network = None,
    as_json: Json = False,
) -> None:
    """Say what storing an object costs, in dollars, before it is uploaded.

    With --network at that network's prices, else at the software's defaults. A month is thirty days.
    """
    import dataclasses

    from fieldstone.cli.sealed import to_json
    from fieldstone.cli.storage_size import size_of
    from fieldstone.services.storage.endowment import Assumptions
    from fieldstone.services.storage.object_quote import monthly
    from fieldstone.services.storage.object_quote import permanent as endowed
    from fieldstone.services.storage.schema import EGRESS, STORAGE

    prices, providers, source = _prices(network)
    chosen = _profile(profile, providers)
    size_bytes = size_of(size, "SIZE")
    reads = size_of(egress, "--egress") if egress else 0
    made = monthly(size_bytes, chosen, months=months, egress_bytes=reads, prices_micro_usd=prices)
    body: dict[str, Any] = {
        **dataclasses.asdict(made),
        "total_micro_usd": made.total_micro_usd,
        "prices_micro_usd": dict(prices),
        "prices_of": source,
        "providers": providers,
    }
    if permanent:
        assumed = Assumptions(
            k=chosen.k,
            n=chosen.n,
            cost_decline_ppm=percent_ppm(decline, "--decline", 0, 999_999),
            fund_return_ppm=percent_ppm(fund_return, "--fund-return", -999_999, 1_000_000),
            purchasing_power_ppm=percent_ppm(purchasing_power, "--purchasing-power", 1, 1_000_000),
            repair_reads_ppm=reads_ppm(repair_reads),
            years=years,
        )
        body["permanent"] = endowed(made, assumed, prices[STORAGE], prices[EGRESS], seed=seed)
    if as_json:
        typer.echo(to_json(body))
        return
    _show(made, body)
    if permanent:
        show_once(body["permanent"])


def _prices(network: str | None) -> tuple[dict[str, int], int | None, str]:
    """Return micro-dollars by product, how many providers the network lists, and whose prices they are."""
    from fieldstone.services.storage.schema import EGRESS, PRODUCTS, SERVICE, STORAGE

    if network is None:
        return (
            {one.name: one.price_micro_usd for one in PRODUCTS if one.name in (STORAGE, EGRESS)},
            None,
            "defaults of the software; name a network with --network",
        )
    from fieldstone.cli.node_client import node_client
    from fieldstone.epoch.fetch import get
    from fieldstone.errors import CheckFailed, UsageError

    with node_client(network, timeout_s=30.0) as client:
        try:
            products = get(client, "/v1/market/products").json()["products"]
            found = {
                str(one["product"]): int(one["unit_price_micro_usd"]) for one in products if one["service"] == SERVICE
            }
            if not {STORAGE, EGRESS} <= found.keys():
                raise UsageError(f"the network at {network} does not sell storage")
            listed = len(get(client, f"/v1/{SERVICE}/directory").json()["devices"])
        except (ValueError, KeyError, TypeError) as error:
            raise CheckFailed(f"{network} answers otherwise than a node of this version does: {error!r}") from None
    if min(found[STORAGE], found[EGRESS]) < 0:
        raise CheckFailed(f"{network} states a price below zero")
    return {name: found[name] for name in (STORAGE, EGRESS)}, listed, network


def _profile(name: str, providers: int | None) -> Profile:
    from fieldstone.services.storage.pool.profile import PROFILES, automatic, profile_named

    if name != "auto":
        return profile_named(name)
    return PROFILES["20/40"] if providers is None else automatic(providers)


def percent_ppm(text: str, what: str, least: int, most: int) -> int:
    """Return a percentage as ppm. Raises UsageError naming the option `what`."""
    from fieldstone.errors import UsageError
    from fieldstone.units import parse_amount

    value = parse_amount(text, 4, what=what)
    if not least <= value <= most:
        raise UsageError(f"{what} {text}: it must lie between {least / 10_000:g} and {most / 10_000:g} percent")
    return value


def reads_ppm(text: str) -> int:
    """Return a number of reads a year in millionths. Raises UsageError."""
    from fieldstone.errors import UsageError
    from fieldstone.services.storage.endowment import MOST_REPAIR_READS_PPM
    from fieldstone.units import parse_amount

    value = parse_amount(text, 6, what="--repair-reads")
    if not 0 <= value <= MOST_REPAIR_READS_PPM:
        raise UsageError(f"--repair-reads {text}: it must lie between 0 and {MOST_REPAIR_READS_PPM // 10**6}")
    return value


def _show(made: Quote, body: Mapping[str, Any]) -> None:
    from fieldstone.cli.show import facts
    from fieldstone.services.storage.schema import EGRESS, STORAGE
    from fieldstone.units import format_usd

    prices = body["prices_micro_usd"]
    typer.echo(f"{made.size_bytes:,} bytes, {made.k} of {made.n}, {made.months} month(s) of 30 days\n")
    if not made.segments and made.size_bytes:
        typer.echo(
            "Objects up to 4 KiB lie in the gateway's own database: providers hold nothing and nothing is charged.\n"
        )
    lines = {
        "prices of": body["prices_of"],
        "shares": f"{format_usd(prices[STORAGE])} per GiB-month, {format_usd(prices[EGRESS])} per GiB read",
        "stored": f"{made.stored_bytes:,} bytes with {made.n} providers, in {made.segments} segment(s): "
        f"{made.n / made.k:.3g} times the size, and encryption",
        "per GiB-month of object": format_usd(made.storage_micro_usd_per_gib_month),
        "per GiB read": format_usd(made.egress_micro_usd_per_gib),
        "storage": f"at most {format_usd(made.storage_micro_usd)} ({format_usd(made.storage_micro_usd_per_month)} a month); "
        "time that providers do not prove is not charged",
        "reads": f"{format_usd(made.egress_micro_usd)} for {made.egress_bytes:,} bytes; reading all of it once costs "
        f"{format_usd(made.whole_read_micro_usd)}",
        "repair": f"{format_usd(made.repair_micro_usd)} each time that every segment had to be repaired",
        "total": format_usd(made.total_micro_usd),
    }
    facts(lines)
    providers = body["providers"]
    if providers is not None and providers < made.n:
        typer.echo(
            f"the network lists {providers} providers, {made.k}/{made.n} wants {made.n}: choose another --profile",
            err=True,
        )


def show_once(found: Mapping[str, Any], *, sells: bool = False) -> None:
    """Print price, assumptions, years covered and stress test of paying once. `sells`: the network offers it as it stands."""
    from fieldstone.cli.show import facts, say, table
    from fieldstone.units import format_usd

    assumed = found["assumptions"]
    years = assumed["years"]
    typer.echo(
        f"\nPay once, {'for ever' if years is None else f'for {years} years'}: {format_usd(found['price_micro_usd'])}\n"
    )
    facts(
        {
            "first year": f"{format_usd(found['first_year_micro_usd'])} for storage and repair",
            "costs fall": f"{_percent(assumed['kryder_rate_ppm_per_year'])} a year (assumed)",
            "fund earns": f"{_percent(assumed['fund_return_ppm_per_year'])} a year (assumed)",
            "fund keeps": f"{_percent(assumed['purchasing_power_ppm'])} of its purchasing power (assumed)",
            "repair": f"{assumed['repair_reads_ppm_per_year'] / 1e6:g} reads of all of it a year (assumed)",
            "margin": _percent(assumed["margin_ppm"]),
            "expansion": f"{assumed['expansion_ppm'] / 1e6:.3g}",
            "reads": "not included, but for repair",
        }
    )
    typer.echo("\nYears that the fund lasts:")
    declines = found["covered"]["declines_ppm"]
    table(
        ("fund keeps", *(f"costs fall {_percent(decline)}" for decline in declines)),
        [
            (
                _percent(row["purchasing_power_ppm"]),
                *("for ever" if year is None else f"{year:g}" for year in row["years"]),
            )
            for row in found["covered"]["rows"]
        ],
    )
    table(
        ("reads for repair a year", *(f"costs fall {_percent(decline)}" for decline in declines)),
        [
            (
                f"{row['repair_reads_ppm_per_year'] / 1e6:g}",
                *("for ever" if year is None else f"{year:g}" for year in row["years"]),
            )
            for row in found["repaired"]
        ],
    )
    first = found["stress"][0]
    say(
        f"Share of {first['trials']:,} random futures in which it is empty by a year, costs and the fund's worth varying, "
        f"and the year by which 5 % of them are (seed {first['seed']}):"
    )
    marks = sorted(first["exhausted_by_ppm"], key=int)
    table(
        (
            "costs fall (± a year)",
            "worth varies",
            *(f"by {mark}" for mark in marks),
            "5 % by year",
        ),
        [
            (
                f"{_short(one['mean_decline_ppm'])} ± {_short(one['decline_volatility_ppm'])}",
                f"± {_short(one['purchasing_power_volatility_ppm'])}",
                *(_short(one["exhausted_by_ppm"][mark]) for mark in marks),
                f"after {one['horizon_years']}"
                if one["years_5th_percentile"] is None
                else f"{one['years_5th_percentile']:g}",
            )
            for one in found["stress"]
        ],
    )
    say(f"At exhaustion: {found['at_exhaustion']}.")
    if sells:
        say("A fund is held in dollars and earns nothing. That the network's prices fall as assumed is not promised.")


def _percent(ppm: int) -> str:
    return f"{ppm / 10_000:.4g} %"


def _short(ppm: int) -> str:
    """Three digits on one line: a narrow terminal shows nine columns of these."""
    return f"{ppm / 10_000:.3g}\u00a0%"
