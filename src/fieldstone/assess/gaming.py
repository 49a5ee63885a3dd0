"""How a project can make its card look better, and whether the claims show it. Pure.

Each look ends in: found (with what shows it), not found, or not checkable (with what it would need). A finding is a reason
to ask, not a proof of intent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from fieldstone.assess.amounts import BYTES
from fieldstone.assess.evidence import Evidence, Known
from fieldstone.charts import number_text

Outcome = Literal["found", "not found", "not checkable"]
SHORT_DAYS = 80  # a window shorter than a quarter can be chosen for its figure


@dataclass(frozen=True, slots=True)
class Suspicion:
    """One trick: whether the claims show it, what shows it or what is needed to look, and the claims behind it."""

    id: str
    trick: str
    outcome: Outcome
    shows: str
    claims: tuple[str, ...] = ()


def look(evidence: Evidence) -> Iterator[Suspicion]:
    """Look for every trick of the list."""
    for trick_id, (trick, check) in TRICKS.items():
        outcome, shows, claims = check(evidence)
        yield Suspicion(trick_id, trick, outcome, shows, claims)


_Look = tuple[Outcome, str, tuple[str, ...]]


def _threshold(name: str, above: float, found: str, needs: str) -> Callable[[Evidence], _Look]:
    def check(evidence: Evidence) -> _Look:
        known = evidence.known(name)
        if known is None:
            return "not checkable", f"needs {needs}", ()
        if known.value > above:
            return "found", found.format(value=known.value, percent=number_text(known.value, "%")), known.claims
        return "not found", "", known.claims

    return check


def _penalties(evidence: Evidence) -> _Look:
    known, penalty = evidence.known("service_share"), evidence.known("revenue.penalty_share")
    if known is None:
        return "not checkable", "needs fees by type", ()
    if known.value < 0.9:
        what = "penalties" if penalty and penalty.value > 0.1 else "fees or burns that are not for service"
        return "found", f"{number_text(1 - known.value, '%')} of what is shown as revenue are {what}", known.claims
    return "not found", "", known.claims


def _subsidised(evidence: Evidence) -> _Look:
    before, after = evidence.known("advantage_subsidised"), evidence.known("advantage")
    if before is None or after is None or evidence.known("subsidy_per_unit") is None:
        return "not checkable", "needs the price of an alternative and all mints per unit sold", ()
    if before.value > 0 >= after.value:
        words = f"{number_text(before.value, '%')} cheaper as sold, {number_text(after.value, '%')} at its cost without subsidy"
        return "found", words, after.claims
    return "not found", "", after.claims


def _window(evidence: Evidence) -> _Look:
    revenue = evidence.known("revenue.arms_length")
    if revenue is None:
        return "not checkable", "needs a claim of revenue", ()
    longest = max((c.period.days for c in evidence.case.claims if c.metric.startswith("revenue.")), default=0)
    if 1 < revenue.period.days < SHORT_DAYS and longest < 300:
        return "found", f"revenue rests on {revenue.period.days} days; no claim covers twelve months", revenue.claims
    return "not found", "", revenue.claims


def _units(evidence: Evidence) -> _Look:
    units: dict[str, dict[str, str]] = {}
    for claim in evidence.case.claims:
        units.setdefault(claim.metric, {}).setdefault(claim.unit, claim.id)
    for metric, by_unit in sorted(units.items()):
        prefixes = {unit.endswith("iB") for unit in by_unit if unit in BYTES}
        if len(prefixes) > 1:
            return (
                "found",
                f"{metric} is stated in {' and '.join(sorted(by_unit))}: decimal and binary",
                tuple(by_unit.values()),
            )
    return "not found", "", ()


def _gmv(evidence: Evidence) -> _Look:
    known = evidence.known("gmv_over_net")
    stated, net = evidence.known("revenue.total"), evidence.known("revenue.net")
    if known is None:
        gross = [c.id for c in evidence.case.claims if c.metric == "revenue.gmv"]
        return ("found", "gross value is claimed, what the network keeps is not", tuple(gross)) if gross else (
            "not checkable", "needs the gross value and what the network keeps", ())  # fmt: skip
    if stated and net and stated.value > 2 * net.value:
        return (
            "found",
            f"stated revenue is {stated.value / net.value:.0f}× what the network keeps",
            (*stated.claims, *net.claims),
        )
    return "not found", "", known.claims


def _wash(evidence: Evidence) -> _Look:
    dealing = evidence.known("self_dealing_gain")
    external = evidence.known("external_share")
    if dealing and dealing.value > 0:
        return (
            "found",
            "a dollar of demand returns more than it costs, so demand may be bought for its reward",
            dealing.claims,
        )
    if external is None:
        return "not checkable", "needs the funding of payers traced to treasury and operators", ()
    if external.value < 0.5:
        return "found", f"{number_text(1 - external.value, '%')} of revenue comes from related parties", external.claims
    return "not found", "", external.claims


def _supply(evidence: Evidence) -> _Look:
    known: Known | None = evidence.known("registered_over_active")
    owners = evidence.known("devices.owners_clustered")
    if known is None:
        return "not checkable", "needs registered and active devices, and owners after clustering", ()
    if known.value > 2:
        return "found", f"{known.value:.1f} devices are registered for each that is active", known.claims
    return (
        ("not found", "", known.claims) if owners else ("not checkable", "needs owners after clustering", known.claims)
    )


TRICKS: dict[str, tuple[str, Callable[[Evidence], _Look]]] = {
    "wash_demand": ("The team or operators buy the service from themselves", _wash),
    "discretionary_burns": (
        "Tokens are burned without use",
        _threshold("discretionary_share", 0.1, "{percent} of burns were not caused by use", "burns by cause"),
    ),
    "penalties_as_revenue": ("Penalties or onboarding fees are shown as revenue", _penalties),
    "gmv_as_revenue": ("Money passed on to providers is shown as revenue", _gmv),
    "split_supply": ("Supply is counted that is fake, split or idle", _supply),
    "one_payer_many_wallets": (
        "One payer behind many wallets",
        _threshold("payers_over_owners", 1.5, "{value:.1f} counted payers per payer after merging wallets", "payers before and after merging wallets"),
    ),
    "subsidised_price": ("The price advantage is emission", _subsidised),
    "verification_theatre": (
        "What is verified is a signature, not the physical work",
        _threshold("attack.fake_reward_ratio", 0.1, "a software-only fake earns {value:.2g} times an honest device's reward", "an attack suite: the reward that one software key obtains"),
    ),
    "one_upgrade_key": (
        "“Decentralised” with one controlling party",
        lambda e: _one_key(e.known("control_nakamoto")),
    ),
    "cherry_picked_window": ("The window was chosen for its figure", _window),
    "unit_switching": ("Units switch between reports", _units),
    "secret_method": (
        "The method is secret",
        _threshold("verification.secret_method", 0.5, "scores depend on what is not published", "documentation of the scoring"),
    ),
}  # fmt: skip


def _one_key(known: Known | None) -> _Look:
    if known is None:
        return "not checkable", "needs the control set: upgrade keys, price setters, mint authority", ()
    if known.value <= 1:
        return "found", "one party can change code, prices or payouts alone", known.claims
    return "not found", "", known.claims
