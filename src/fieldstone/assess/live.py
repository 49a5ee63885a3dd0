"""Claims of grade A about a running Fieldstone network, worked out from its sealed epochs.

Anyone can fetch the same epochs and get the same numbers: revenue by payer from the metering entries, rewards and verdicts
from the statements, the fleet from the registry, the token's price from the epochs' state. What sealed epochs do not hold
(who controls the keys, what hardware costs, which customers are related parties) stays unknown until a case file says it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

import polars as pl

from fieldstone.assess.case import Case, Gate, Network, Service, case_from
from fieldstone.assess.claims import Claim, Grade, Period, Source
from fieldstone.errors import UsageError
from fieldstone.market.payers import Sealed, payers
from fieldstone.metrics import gini, hhi
from fieldstone.units import DAY_MS, PPM, TOKEN_BASE, USD_MICRO

# how a service's rewards are proven (docs/explanation/verification.md)
PROOF_CLASS = {
    "storage": "verification.cryptographic",
    "sensing": "verification.statistical",
    "wireless": "verification.multi_witness",
    "mapping": "verification.statistical",
    "energy": "verification.statistical",
    "compute": "verification.statistical",
}
ACTIVE_MS = 30 * DAY_MS


@dataclass(frozen=True, slots=True)
class _Totals:
    """Sums over epochs. Tokens as exact integers in base units, money in micro-dollars."""

    start_ms: int
    end_ms: int
    minted_usd: float
    minted_tokens: float
    paid_tokens: float
    paid_usd: float
    payers: Counter[str]
    device_rewards: Counter[str]
    device_revenue: Counter[str]
    operator_rewards: Counter[str]
    service_rewards: Counter[str]
    active: set[str]
    prices: list[float]

    @property
    def days(self) -> float:
        return (self.end_ms - self.start_ms) / DAY_MS


def claims_of_epochs(epochs: Sequence[Sealed], *, name: str = "", related: Iterable[str] = ()) -> Case:
    """Return a case whose claims are worked out from sealed epochs, oldest first.

    `related`: customers whose payments are no demand (team, treasury, operators); with it (it may be empty on purpose) the
    arms-length share is claimed as far as the founder names them. Raises UsageError without epochs, CheckFailed on a
    file that was changed after sealing.
    """
    if not epochs:
        raise UsageError("no epoch is sealed yet; a network is assessed from its sealed epochs")
    for sealed in epochs:
        sealed.check_files()
    totals, last = _totals(epochs), epochs[-1]
    state = json.loads((last.folder / "state.json").read_bytes())
    services = sorted(last.manifest.rule_versions)
    start, end = _day(totals.start_ms), _day(totals.end_ms - 1)
    source = Source(
        "sealed-epochs",
        f"Sealed epochs {epochs[0].manifest.epoch} to {last.manifest.epoch} of {last.manifest.network_id}",
        f"manifest root {last.manifest.root[:16]}…",
        end,
    )
    book = _Book(source, Period(start, end))
    _claim_demand(book, totals, frozenset(related))
    _claim_rewards(book, totals, int(state["policy"]["rewards"]["take_ppm"]))
    _claim_fleet(book, totals, last.table("state-registry"))
    kinds: dict[str, Service] = {s: s for s in ("sensing", "storage", "compute", "wireless", "mapping", "energy")}
    network = Network(
        name=name or last.manifest.network_id,
        service=kinds.get(services[0], "other") if len(services) == 1 else "other",
        summary=f"A Fieldstone network offering {', '.join(services)}.",
        related=tuple(sorted(related)),
    )
    return case_from(network, Gate(three_sided_market=True, token_incentive=True, physical_placement=True), book.claims)


class _Book:
    """Claims being written, all of one period and source."""

    def __init__(self, source: Source, period: Period) -> None:
        self._source, self._period = source, period
        self.claims: list[Claim] = []

    def add(
        self,
        metric: str,
        value: float | bool,
        unit: str,
        scope: str,
        *,
        base: str,
        values: Sequence[float] | None = None,
        note: str = "",
    ) -> None:
        shown = (
            f"{len(values)} values"
            if values is not None
            else ("yes" if value else "no")
            if isinstance(value, bool)
            else f"{value:,.6g} {unit}"
        )
        self.claims.append(
            Claim(
                id=f"live-{metric.replace('.', '-').replace('_', '-')}",
                metric=metric,
                value=float(value),
                values=tuple(values) if values is not None else None,
                low=None,
                high=None,
                unit=unit,
                base=base,
                shown=shown.strip(),
                period=self._period,
                as_of=self._period.end,
                source=self._source,
                retrieved=None,
                grade=Grade.A,
                method="metered",
                scope=scope,
                derived_from=(),
                contradicts=(),
                error=None,
                counts=True,
                part_of=None,
                note=note,
            )
        )


def _totals(epochs: Sequence[Sealed]) -> _Totals:
    rewards: Counter[str] = Counter()
    revenue: Counter[str] = Counter()
    operators: Counter[str] = Counter()
    services: Counter[str] = Counter()
    active: set[str] = set()
    prices: list[float] = []
    minted_usd = minted_tokens = paid_tokens = paid_usd = 0.0
    newest_ms = epochs[-1].manifest.end_ms
    for sealed in epochs:
        price = json.loads((sealed.folder / "state.json").read_bytes())["price_micro_usd"] / USD_MICRO
        minted = int(sealed.manifest.minted_base) / TOKEN_BASE
        minted_tokens, minted_usd = minted_tokens + minted, minted_usd + minted * price
        prices.append(price)
        columns = ("device", "operator", "service", "verdict", "revenue_micro_usd", "paid_base", "total_base")
        for device, operator, service, verdict, earned, paid, total in (
            sealed.table("statements").select(columns).iter_rows()
        ):
            paid_tokens += int(paid) / TOKEN_BASE
            paid_usd += int(paid) / TOKEN_BASE * price
            if not device:
                continue
            rewards[device] += int(total)
            revenue[device] += earned
            operators[operator] += int(total)
            services[service] += max(int(total), 0)
            if verdict in ("accepted", "partial") and newest_ms - sealed.manifest.end_ms < ACTIVE_MS:
                active.add(device)
    return _Totals(
        epochs[0].manifest.start_ms, newest_ms, minted_usd, minted_tokens, paid_tokens, paid_usd, payers(epochs), rewards, revenue,
        operators, services, active, prices,
    )  # fmt: skip


def _claim_demand(book: _Book, totals: _Totals, related: frozenset[str]) -> None:
    paid = {customer: amount for customer, amount in totals.payers.items() if amount > 0}
    total = sum(paid.values()) / USD_MICRO / totals.days
    for metric, scope in (
        ("revenue.total", "delivered and not refunded"),
        ("revenue.fees", "everything customers were charged"),
        ("revenue.service", "paid for delivered service"),
    ):
        book.add(metric, total, "USD/day", scope, base="USD/day")
    if paid:
        amounts = [paid[c] / USD_MICRO / totals.days for c in sorted(paid, key=lambda c: (-paid[c], c))]
        book.add("payers.revenue", total, "USD/day", "by customer account", base="USD/day", values=amounts)
        book.add("payers.count", len(paid), "customers", "customer accounts", base="customers")
        if related:
            own = sum(amount for customer, amount in paid.items() if customer in related)
            share = 1 - own / sum(paid.values())
            book.add("payers.external_share", share, "1", "customers not named as related", base="1")


def _claim_rewards(book: _Book, totals: _Totals, take_ppm: int) -> None:
    days, bootstrap = totals.days, totals.minted_tokens - totals.paid_tokens
    book.add(
        "emission.schedule", max(bootstrap, 0.0) / days, "TOKEN/day", "bootstrap and corrections", base="TOKEN/day"
    )
    book.add(
        "emission.reissue",
        totals.paid_tokens / days,
        "TOKEN/day",
        "minted against customers' payments",
        base="TOKEN/day",
    )
    book.add("emission.usd", totals.minted_usd / days, "USD/day", "all mints at each epoch's price", base="USD/day")
    if totals.minted_tokens:
        book.add(
            "token.price", totals.minted_usd / totals.minted_tokens, "USD", "mean over what was minted", base="USD"
        )
    book.add("policy.take", take_ppm / PPM, "1", "of a customer's payment", base="1")
    revenue = sum(amount for amount in totals.device_revenue.values()) / USD_MICRO
    if revenue > 0:
        returned = totals.paid_usd / revenue
        note = "What a customer's dollar returned as reward to the devices it was spent on."
        book.add(
            "attack.reward_per_dollar", returned, "x", "paid for sold work, corrections apart", base="1", note=note
        )
    devices = sorted(totals.device_rewards)
    price = totals.minted_usd / totals.minted_tokens if totals.minted_tokens else 0.0
    rewards = [max(totals.device_rewards[d], 0) / TOKEN_BASE * price / days for d in devices]
    earned = [totals.device_revenue[d] / USD_MICRO / days for d in devices]
    if devices:
        book.add(
            "link.device_rewards",
            sum(rewards),
            "USD/day",
            "all devices, zeros included",
            base="USD/day",
            values=rewards,
        )
        book.add(
            "link.device_revenue", sum(earned), "USD/day", "all devices, zeros included", base="USD/day", values=earned
        )
        middle = float(pl.Series(rewards).median() or 0.0)  # type: ignore[arg-type]
        book.add("reward.per_device", middle, "USD/day", "median device at the period's price", base="USD/day")
    amounts = [max(amount, 0) for amount in totals.operator_rewards.values()]
    for metric, value, unit, base in (
        ("rewards.gini", gini(amounts), "1", "1"),
        ("rewards.hhi", hhi(amounts), "points", "points"),
    ):
        if value is not None:
            book.add(metric, value, unit, "over operators (wallets, not clustered)", base=base)
    rewarded = sum(totals.service_rewards.values())
    shares: Counter[str] = Counter()
    for service, amount in totals.service_rewards.items():
        shares[PROOF_CLASS.get(service, "verification.self_report")] += amount
    for metric, amount in sorted(shares.items()):
        if rewarded:
            book.add(metric, amount / rewarded, "1", "of rewards, by kind of service", base="1")


def _claim_fleet(book: _Book, totals: _Totals, registry: pl.DataFrame) -> None:
    standing = registry.filter(pl.col("revoked_ms").is_null()) if "revoked_ms" in registry.columns else registry
    book.add("devices.registered", standing.height, "devices", "enrolled and not revoked", base="devices")
    if not totals.active:
        return
    book.add("devices.active", len(totals.active), "devices", "verified work within 30 days", base="devices")
    sold = len({device for device in totals.active if totals.device_revenue[device] > 0})
    book.add("supply.utilisation", sold / len(totals.active), "1", "active devices whose work was bought", base="1")
    book.add("verification.secret_method", False, "", "rules are published with their version", base="yes/no")
    issuers = [issuer for device, issuer in standing.select("device", "issuer").iter_rows() if device in totals.active]
    # a model's name is no maker: without certificates of all active devices the makers are not known
    if issuers and all(issuers):
        counts = [float(n) for _, n in sorted(Counter(issuers).items(), key=lambda item: (-item[1], item[0]))]
        scope = "by issuer of the manufacturer certificate"
        book.add("makers.devices", sum(counts), "devices", scope, base="devices", values=counts)


def _day(ms: int) -> date:
    return datetime.fromtimestamp(ms / 1000, UTC).date()
