"""`fieldstone payback`: when does a device pay back, at which token price, and without any token at all?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from fieldstone.economy.calculator import PaybackResult

_TITLES = {
    "price_paths": "price paths",
    "zero_growth": "token price zero growth",
    "price_down_80": "token price −80 %",
    "utility_only": "utility only (customers' dollars)",
}


def command(
    hardware_usd: Annotated[float, typer.Option(help="What the device costs.", show_default=False)],
    network: Annotated[
        Path | None, typer.Option(help="A network.toml whose rewards to use; default: Fieldstone's default policy.")
    ] = None,
    service: Annotated[str, typer.Option(help="Service the device works for.")] = "sensing",
    setup_usd: Annotated[float, typer.Option(help="Mounting, shipping, fees paid once.")] = 0.0,
    power_w: Annotated[float, typer.Option(help="Power drawn, watts.")] = 5.0,
    kwh_usd: Annotated[float, typer.Option(help="Price of electricity at the place, dollars per kWh.")] = 0.25,
    fees_usd_month: Annotated[float, typer.Option(help="Internet, rent and the like, dollars per month.")] = 0.0,
    revenue_usd_month: Annotated[
        float, typer.Option(help="What customers pay for this device's work per month, before the network's take.")
    ] = 0.0,
    network_revenue_usd_month: Annotated[
        float | None, typer.Option(help="Revenue of the whole network per month; at least that of the device.")
    ] = None,
    revenue_growth_month: Annotated[float, typer.Option(help="Growth of revenue per month; 0.02 is 2 %.")] = 0.0,
    devices_in_cell: Annotated[int, typer.Option(help="Devices that share the cell, this one included.")] = 1,
    served_cells: Annotated[int, typer.Option(help="Other cells that are served.")] = 10,
    network_growth_month: Annotated[float, typer.Option(help="Growth of served cells per month.")] = 0.0,
    quality: Annotated[float, typer.Option(help="Expected quality of the work, 0 to 1.")] = 1.0,
    age_epochs: Annotated[int, typer.Option(help="Epochs the network has run.")] = 0,
    token_price_usd: Annotated[
        float | None, typer.Option(help="Token price today; default: the policy's.", show_default=False)
    ] = None,
    price_drift_year: Annotated[float, typer.Option(help="Expected growth of the price per year.")] = 0.0,
    price_volatility_year: Annotated[float, typer.Option(help="Volatility of the price per year; 1 is 100 %.")] = 1.0,
    failure_per_year: Annotated[float, typer.Option(help="Failures per device and year.")] = 0.05,
    discount_year: Annotated[float, typer.Option(help="Discount rate per year.")] = 0.10,
    months: Annotated[int, typer.Option(help="Months to look ahead.")] = 60,
    paths: Annotated[int, typer.Option(help="Random paths.")] = 2_000,
    seed: Annotated[int, typer.Option(help="Seed of the paths; the same seed gives the same result.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show when a device pays back: price paths, zero growth, a crash, and utility only, side by side."""
    import json

    from fieldstone.config import load
    from fieldstone.economy.calculator import PaybackInput, payback
    from fieldstone.errors import UsageError
    from fieldstone.policy import Policy

    whole = revenue_usd_month if network_revenue_usd_month is None else network_revenue_usd_month
    if whole < revenue_usd_month:
        raise UsageError(f"network_revenue_usd_month {whole:g} is below the device's own {revenue_usd_month:g}")
    inputs = PaybackInput(
        hardware_usd=hardware_usd,
        setup_usd=setup_usd,
        power_w=power_w,
        kwh_usd=kwh_usd,
        fees_usd_month=fees_usd_month,
        revenue_usd_month=revenue_usd_month,
        network_revenue_usd_month=whole,
        revenue_growth_month=revenue_growth_month,
        devices_in_cell=devices_in_cell,
        served_cells=served_cells,
        network_growth_month=network_growth_month,
        quality=quality,
        age_epochs=age_epochs,
        token_price_usd=token_price_usd,
        price_drift_year=price_drift_year,
        price_volatility_year=price_volatility_year,
        failure_per_year=failure_per_year,
        discount_year=discount_year,
        months=months,
        paths=paths,
        seed=seed,
    )
    policy = load(network, environ={}).policy if network else Policy(network_id="default")
    result = payback(inputs, policy, service)
    if as_json:
        typer.echo(json.dumps({**result.as_dict(), "policy_hash": policy.hash, "service": service}))
    else:
        _show(result, months)


def _show(result: PaybackResult, months: int) -> None:
    typer.echo(
        f"first month: {result.tokens_first_month:,.2f} tokens at ${result.token_price_usd:,.4g}, "
        f"${result.sales_first_month_usd:,.2f} from customers, ${result.running_usd_month:,.2f} running costs"
    )
    if result.break_even_price_usd is None:
        typer.echo("break-even token price: none, no tokens are earned")
    else:
        typer.echo(f"break-even token price over {months} months: ${result.break_even_price_usd:,.4g}")
    typer.echo(f"{'':34}{'payback, months':>20}{'discounted':>12}{'pays back':>11}{'profit p10 / p50 / p90':>28}")
    for scenario in result.scenarios:
        quartiles = " / ".join(_month(value) for value in scenario.payback_months.values())
        profit = " / ".join(f"{value:,.0f}" for value in scenario.profit_usd.values())
        typer.echo(
            f"{_TITLES[scenario.name]:34}{quartiles:>20}{_month(scenario.discounted_months['p50']):>12}"
            f"{scenario.paid_back:>11.0%}{profit:>28}"
        )
    typer.echo("payback: quarter / half / three quarters of the paths; “never” means not within the months looked at")


def _month(value: int | None) -> str:
    return "never" if value is None else str(value)
