"""Akash's burn–mint equilibrium (AEP-76) and its lazy escrow.

Formulas (1 AKT = 10⁶ uakt, 1 ACT = 10⁶ uact = one dollar of compute):
    top-up of $A         B = A / P_mint AKT leave circulation for the vault, remint credits += B, ACT += A
    settlement of $A     S = ⌊A / P_settle⌋; min(S, credits) from the vault, only the shortfall is minted; ACT −= A
    net supply per $     1 / P_settle − 1 / P_mint     (the AEP's formula has the sign the other way round)
    collateral ratio     vault · P / ACT outstanding; warn below 9,500, halt below 9,000 basis points
    escrow               transfer_i = ⌊rate_i · (height − settled at)⌋
Rounding: up on what users pay (top-up), down on what they receive (settlement); the AEP's worked example is rounded to
the nearest 10⁻⁶ AKT and charges no spread, and `akash.bme` is that example.
Invariants: `vault_is_never_negative`, `escrow_never_pays_more_than_it_holds`.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from fieldstone.economy.policies.contract import Key, Kind, MonetaryPolicy, Output, Source, integer, number

MICRO = 10**6
BPS = 10_000
MINT_SPREAD_BPS, SETTLE_SPREAD_BPS = 25, 0
WARN_BPS, HALT_BPS = 9_500, 9_000


def _nearest_micro(amount: Fraction) -> float:
    return round(amount * MICRO) / MICRO


def _bme(
    usd: Fraction, price_mint: Fraction, price_settle: Fraction, mint_spread_bps: int, settle_spread_bps: int
) -> Mapping[str, Any]:
    burned = usd / price_mint * (1 + Fraction(mint_spread_bps, BPS))
    minted = usd / price_settle * (1 - Fraction(settle_spread_bps, BPS))
    return {
        "burned_akt": _nearest_micro(burned),
        "minted_akt": _nearest_micro(minted),
        "net_akt": _nearest_micro(minted - burned),
    }


def _top_up(act_micro: int, price: Fraction, spread_bps: int) -> Mapping[str, Any]:
    exact = act_micro / price * (1 + Fraction(spread_bps, BPS))
    pulled = -int(-exact // 1)
    return {"burned_uakt": pulled, "credits_uakt": pulled, "minted_uact": act_micro}


def _settle(act_micro: int, price: Fraction, credits_uakt: int, spread_bps: int) -> Mapping[str, Any]:
    owed = int(act_micro / price * (1 - Fraction(spread_bps, BPS)))
    vault = min(owed, credits_uakt)
    return {
        "paid_uakt": owed,
        "from_vault_uakt": vault,
        "minted_uakt": owed - vault,
        "credits_after_uakt": credits_uakt - vault,
        "burned_uact": act_micro,
    }


def _collateral(
    vault_uakt: int, price: Fraction, outstanding_uact: int, warn_bps: int, halt_bps: int
) -> Mapping[str, Any]:
    # nothing outstanding: nothing to cover
    ratio = int(vault_uakt * price * BPS / outstanding_uact) if outstanding_uact else None
    status = "ok" if ratio is None or ratio >= warn_bps else "warn" if ratio >= halt_bps else "halt"
    return {"ratio_bps": ratio, "status": status}


def _escrow(rates: tuple[Fraction, ...], settled_at: int, height: int, funds: int) -> Mapping[str, Any]:
    blocks = max(0, height - settled_at)
    due = [int(rate * blocks) for rate in rates]
    is_overdrawn = sum(due) > funds
    if is_overdrawn:
        whole = sum(rates, start=Fraction(0))
        due = [int(funds * rate / whole) for rate in rates]
    return {"transfers": due, "left": funds - sum(due), "is_overdrawn": is_overdrawn}


_AEP76 = Source(
    "AEP-76: Burn Mint Equilibrium On Akash", "akash-network/AEP, spec/aep-76, core mechanics and settlement loop"
)
_CODE = "; defaults as in akash-network/chain-sdk go/node/bme/v1, where the AEP's text disagrees with itself"
_ACT = integer("act_micro", "uact (10⁻⁶ USD)", "amount of compute credit")
_PRICE = number("price", "USD per AKT", "average price", above=0)

POLICIES = (
    MonetaryPolicy(
        name="akash.bme",
        summary="AKT burned and minted by dollars of usage that are paid at one price and settled at another.",
        function=_bme,
        keys=(
            number("usd", "USD", "compute paid and used"),
            number("price_mint", "USD per AKT", "at top-up", above=0),
            number("price_settle", "USD per AKT", "at settlement", above=0),
            integer(
                "mint_spread_bps",
                "basis points",
                "on top-up; the chain charges 25, the AEP's example none",
                0,
                maximum=BPS,
            ),
            integer("settle_spread_bps", "basis points", "on settlement", 0, maximum=BPS),
        ),
        outputs=(
            Output("burned_akt", "AKT", "taken out at top-up"),
            Output("minted_akt", "AKT", "paid out at settlement"),
            Output("net_akt", "AKT", "change of the supply: minted less burned"),
        ),
        rounding="each to the nearest 10⁻⁶ AKT, as in the AEP's example",
        exact=False,
        example={"usd": "1000", "price_mint": "1.14", "price_settle": "1.50"},
        source=Source(_AEP76.title, "akash-network/AEP, spec/aep-76, concrete example"),
        notes="the AEP's formula for the net effect has the opposite sign of its own example; the example is followed",
    ),
    MonetaryPolicy(
        name="akash.top_up",
        summary="AKT pulled into the vault to make compute credit, as the chain rounds it.",
        function=_top_up,
        keys=(_ACT, _PRICE, integer("spread_bps", "basis points", "mint spread", MINT_SPREAD_BPS, maximum=BPS)),
        outputs=(
            Output("burned_uakt", "uakt", "pulled from the tenant"),
            Output("credits_uakt", "uakt", "added to the remint credits"),
            Output("minted_uact", "uact", "compute credit made"),
        ),
        rounding="up: users pay",
        exact=True,
        example={"act_micro": "1000000000", "price": "1.14"},
        source=Source(_AEP76.title, _AEP76.locator + _CODE),
    ),
    MonetaryPolicy(
        name="akash.settle",
        summary="How a provider is paid: first from the vault, only the shortfall is minted.",
        function=_settle,
        keys=(
            _ACT,
            _PRICE,
            integer("credits_uakt", "uakt", "remint credits in the vault"),
            integer("spread_bps", "basis points", "settle spread", SETTLE_SPREAD_BPS, maximum=BPS),
        ),
        outputs=(
            Output("paid_uakt", "uakt", "to the provider"),
            Output("from_vault_uakt", "uakt", "of it from the vault"),
            Output("minted_uakt", "uakt", "of it minted"),
            Output("credits_after_uakt", "uakt", "remint credits left"),
            Output("burned_uact", "uact", "compute credit used up"),
        ),
        rounding="down: users receive",
        exact=True,
        example={"act_micro": "10000000000000", "price": "0.90", "credits_uakt": "8771929824561"},
        source=_AEP76,
    ),
    MonetaryPolicy(
        name="akash.collateral",
        summary="Worth of the vault against the compute credit it stands for, and what the breaker says.",
        function=_collateral,
        keys=(
            integer("vault_uakt", "uakt", "AKT in the vault"),
            _PRICE,
            integer("outstanding_uact", "uact", "compute credit outstanding"),
            integer("warn_bps", "basis points", "slow mints below", WARN_BPS),
            integer("halt_bps", "basis points", "no new credit below", HALT_BPS),
        ),
        outputs=(
            Output("ratio_bps", "basis points", "collateral ratio; null when nothing is outstanding"),
            Output("status", "ok|warn|halt", "state of the circuit breaker"),
        ),
        rounding="down",
        exact=True,
        example={"vault_uakt": "8770000000000", "price": "1.20", "outstanding_uact": "10000000000000"},
        source=Source(_AEP76.title, "akash-network/AEP, spec/aep-76, BME vault" + _CODE),
    ),
    MonetaryPolicy(
        name="akash.escrow",
        summary="What an escrow account pays when it is settled at a height.",
        function=_escrow,
        keys=(
            Key(name="rates", kind=Kind.FRACTIONS, unit="units per block", doc="of each payment, separated by commas"),
            integer("settled_at", "block height", "when it was settled last"),
            integer("height", "block height", "now"),
            integer("funds", "units", "what the account holds"),
        ),
        outputs=(
            Output("transfers", "units", "to each, in the order given"),
            Output("left", "units", "still in the account"),
            Output("is_overdrawn", "true/false", "true: all payments of the account are overdrawn"),
        ),
        rounding="down for each payment",
        exact=True,
        example={"rates": "1.5,2", "settled_at": "100", "height": "110", "funds": "1000"},
        source=Source("Akash node, x/escrow", "akash-network/node, x/escrow/keeper"),
        notes="when the funds run out they are shared by rate",
    ),
)
