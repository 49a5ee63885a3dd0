"""From verdicts and revenue to amounts: the demand-first policy in integers (DESIGN §4.8).

Formula, per epoch (integers, floor, amounts in token base units, revenue in micro-dollars):
    paid_d      = (10⁶ − take) · revenue_d · 10¹⁸ // (10⁶ · price)
    treasury    = revenue · 10¹⁸ // price − Σ paid + rounding dust
    bootstrap   = faded schedule (rewards.emission) → services by share_ppm → cells by need (rewards.need)
                  → inside a cell by work = quantity × quality_ppm; nothing to a device whose verdict is `rejected`;
                  work that no bond covers takes no part where one is asked for (`rewards.bonded`);
                  work that has a list price only up to what customers pay for it, or would (`rewards.caps`)
    corrections = make-good lines; negative ones become a debt that the operator's later earnings repay
Reason: a customer's money decides first, so nobody earns by buying from himself; the bootstrap is the smaller the
more customers pay. Stored bytes are work that the "customer" makes up: unpaid, or paid to oneself, they must not open
the bootstrap either, or junk that is computed again on demand would be the best business of the network. Everything
is proportional, so identities are worth nothing.

This file is the book: every amount of the epoch is written here, once. How the bootstrap is shared stands in
`rewards.bootstrap`, how a row's numbers are written down for its reader in `rewards.factors`.

The cap: one epoch mints at most `max_epoch_mint` (the contract refuses more). Firm lines (paid, corrections,
treasury) go first. When they alone exceed the cap, each is scaled by cap / firm sum, floored, and the rest is owed:
pool `owed:<operator>` (treasury: `treasury`), paid in the next epochs. The bootstrap gets the room that is left,
each line scaled alike; what does not fit is never minted.

Pools, carried from epoch to epoch:
    treasury            take and dust not yet paid out: no treasury is set, or the cap held it back
    owed:<operator>     held back by the cap
    debt:<operator>     overpaid earlier; future earnings repay it, so no cumulative balance ever falls (settlement §4.6)
    unattributed        operators' part of revenue of devices that are not in the registry
    bootstrap_unspent   a counter: offered by the schedule, earned by nobody or cut by the cap; never minted
Invariants (tests/rewards/test_allocation.py): `totals_add_up`, `balances_never_fall`, `never_more_than_the_customer_paid`,
`self_dealing_never_pays`, `clones_dilute_each_other`, `minted_below_cap`, `order_does_not_matter`,
`debt_is_repaid_exactly_once`, `rejected_earns_no_bootstrap`, `sold_work_never_earns_more_than_was_paid`,
`unpaid_work_takes_nothing_and_dilutes_nobody`.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import polars as pl

from fieldstone.errors import Terminal
from fieldstone.rewards.allocation_input import AllocationInput
from fieldstone.rewards.bonded import reduce_work
from fieldstone.rewards.bootstrap import make_offer, share_offer
from fieldstone.rewards.factors import factors
from fieldstone.rewards.held import month_of, settle_held, withhold
from fieldstone.rewards.statements import StatementLine, to_table
from fieldstone.units import PPM, TOKEN_BASE

TREASURY = "treasury"
UNATTRIBUTED = "unattributed"
BOOTSTRAP_UNSPENT = "bootstrap_unspent"
OWED = "owed:"
DEBT = "debt:"

EARNING_VERDICTS = ("accepted", "partial")


@dataclass(frozen=True)
class Allocation:
    """What an epoch pays. `statements`: STATEMENT_SCHEMA, sorted by device, service, operator. `balances`: cumulative
    base units per operator and treasury. `totals`: the epoch's sums, in base units unless the name says otherwise."""

    statements: pl.DataFrame
    balances: dict[str, int]
    minted_base: int
    pools: dict[str, int]
    smoothed_revenue_micro_usd: int
    totals: dict[str, int]


def allocate(inp: AllocationInput) -> Allocation:
    """Turn one epoch's verdicts, revenue and corrections into amounts and statements.

    Raises Terminal when the input contradicts itself: an earning verdict without a registered device, two verdicts of
    one device in one service, a quality above 10⁶, a price that is not positive.
    """
    if inp.price_micro_usd <= 0:
        raise Terminal(f"epoch {inp.epoch}: the token price must be above 0, it is {inp.price_micro_usd} µ$")
    book = _Book(inp)
    book.add_verdicts()
    book.add_revenue()
    book.add_idle_devices()
    reduce_work(book.lines.values(), inp.bonded, inp.staked, inp.epoch_length_s)
    book.add_bootstrap()
    book.settle_held_pay()
    book.add_corrections()
    book.apply_cap()
    book.hold_pay_back()
    book.repay_debts()
    return book.close()


class _Book:
    """The epoch's lines while `allocate` works through its steps, in the order of the methods below."""

    def __init__(self, inp: AllocationInput) -> None:
        self.inp = inp
        self.lines: dict[tuple[str, str, str], StatementLine] = {}
        self.pools: dict[str, int] = defaultdict(int, inp.pools)
        self.debts: dict[str, int] = defaultdict(int)
        self._spelling: dict[str, str] = {}
        for address in [*sorted(inp.previous), *sorted(inp.registry["operator"].unique())]:
            self._spelling.setdefault(address.lower(), address)
        spelled = {address: self._address(address) for address in inp.registry["operator"].unique()}
        devices = inp.registry.select("device", "operator", "lat", "lon").rows()
        self.operator_of = {device: spelled[operator] for device, operator, _, _ in devices}
        self.place_of = {device: (lat, lon) for device, _, lat, lon in devices}
        self.treasury = self._address(inp.treasury) if inp.treasury else None
        self.totals: dict[str, int] = {}

    def _address(self, address: str) -> str:
        """Return the one spelling used for an address: two spellings would be two leaves of one account."""
        return self._spelling.setdefault(address.lower(), address)

    def _line(self, device: str, service: str, operator: str) -> StatementLine:
        key = (device, service, operator)
        line = self.lines.get(key)
        if line is None:
            line = self.lines[key] = StatementLine(device, service, operator)
        return line

    def add_verdicts(self) -> None:
        """Open a line for every verdict."""
        columns = self.inp.verdicts.select("device", "service", "quantity", "quality_ppm", "verdict")
        sold = {(device, service): units for device, service, units in self.inp.sold.iter_rows()}
        for row, (device, service, quantity, quality_ppm, verdict) in enumerate(columns.rows()):
            operator = self.operator_of.get(device, "")
            if not operator and verdict in EARNING_VERDICTS:
                raise Terminal(f"epoch {self.inp.epoch}: {verdict} verdict for {device}, which is not in the registry")
            if (device, service, operator) in self.lines:
                raise Terminal(f"epoch {self.inp.epoch}: two verdicts for {device} in service {service}")
            if quantity < 0 or not 0 <= quality_ppm <= PPM:
                raise Terminal(
                    f"epoch {self.inp.epoch}: {device} has quantity {quantity} and quality {quality_ppm} ppm; "
                    "a quantity is not negative, a quality between 0 and 1,000,000"
                )
            work = quantity * quality_ppm if verdict in EARNING_VERDICTS else 0
            line = StatementLine(device, service, operator, quantity, quality_ppm, verdict, row, work)
            if work and (device, service) in sold:
                line.sold_work = min(sold[device, service], quantity) * quality_ppm
            self.lines[device, service, operator] = line

    def add_revenue(self) -> None:
        """Pay the operators' part of delivered work; the take goes to the treasury."""
        keep_ppm = PPM - self.inp.policy.take_ppm
        price = self.inp.price_micro_usd
        sales: dict[tuple[str, str], int] = defaultdict(int)
        for device, service, amount in self.inp.revenue.select("device", "service", "revenue_micro_usd").rows():
            sales[device, service] += amount
        income = paid_sum = refunded = refund_debt = 0
        for (device, service), amount in sorted(sales.items()):
            part = keep_ppm * abs(amount) * TOKEN_BASE // (PPM * price)
            operator = self.operator_of.get(device)
            if amount < 0:
                # more was refunded than sold: the operator's part of it was paid in an earlier epoch
                refunded -= amount
                if operator is not None:
                    refund_debt += part
                    line = self._line(device, service, operator)
                    line.revenue_micro_usd = amount
                    line.corrections += (("refund of an earlier sale", -part),)
                    self.debts[operator] += part
                continue
            income += amount
            if operator is not None:
                line = self._line(device, service, operator)
                line.revenue_micro_usd = amount
                line.paid = part
                paid_sum += part
            elif device:
                self.pools[UNATTRIBUTED] += part
                paid_sum += part
        gross = income * TOKEN_BASE // price
        self.pools[TREASURY] += gross - paid_sum
        self._debit_treasury(refunded * TOKEN_BASE // price - refund_debt)
        self.totals["revenue_micro_usd"] = income - refunded
        self.totals["gross"] = gross

    def add_idle_devices(self) -> None:
        """Open a line for every device that has none yet: who earned 0 has a statement, too."""
        seen = {device for device, _, _ in self.lines}
        for device, operator in self.operator_of.items():
            if device not in seen:
                self._line(device, "", operator)

    def _debit_treasury(self, amount: int) -> None:
        # a refund takes back the take, too; what the pool cannot give stays a debt of the treasury
        owed = amount + self.pools.pop(DEBT + TREASURY, 0)
        given = min(owed, self.pools[TREASURY])
        self.pools[TREASURY] -= given
        if owed > given:
            self.pools[DEBT + TREASURY] = owed - given

    def add_bootstrap(self) -> None:
        """Share the faded schedule over services, cells and devices (`rewards.bootstrap`)."""
        inp = self.inp
        revenue = self.totals["revenue_micro_usd"]
        self.offer = offer = make_offer(inp.policy, inp.epoch, inp.smoothed_revenue_micro_usd, revenue)
        self.parts = share_offer(inp, offer, self.lines.values(), self.place_of)
        dust = sum(part.dust_base for part in self.parts.values())
        unspent = offer.offered_base - sum(part.pool_base - part.unspent_base for part in self.parts.values())
        self.pools[TREASURY] += dust
        self.pools[BOOTSTRAP_UNSPENT] += unspent
        self.totals["schedule"], self.totals["bootstrap_offered"] = offer.scheduled_base, offer.offered_base
        self.totals["bootstrap_dust"], self.totals["bootstrap_unmet"] = dust, unspent

    def settle_held_pay(self) -> None:
        """Release or forfeit what earlier epochs held back from new devices."""
        if not self.inp.hold_backs:
            return
        reasons = self.inp.verdicts["reasons"].to_list()
        columns = self.inp.registry
        enrolled = dict(columns.select("device", "enrolled_ms").iter_rows())
        self.month_of = {device: month_of(ms, self.inp.now_ms) for device, ms in enrolled.items()}
        revoked = set()
        if "revoked_ms" in columns.columns:
            revoked = set(columns.filter(columns["revoked_ms"].is_not_null())["device"].to_list())
        for (device, service, operator), line in sorted(self.lines.items()):
            rule = self.inp.hold_backs.get(service)
            if rule is None or not operator:
                continue
            found = settle_held(
                self.pools,
                rule,
                service,
                device,
                month=self.month_of[device],
                reasons=reasons[line.verdict_row] if line.verdict_row >= 0 else (),
                is_revoked=device in revoked,
            )
            if found.released:
                line.corrections += (("held pay released", found.released),)
                line.added += found.released
            line.forfeited = found.forfeited
            self.pools[TREASURY] += found.forfeited
            self.totals["forfeited"] = self.totals.get("forfeited", 0) + found.forfeited

    def hold_pay_back(self) -> None:
        """Hold back a part of what new devices earn in this epoch, of what the cap left."""
        for (device, service, operator), line in sorted(self.lines.items()):
            rule = self.inp.hold_backs.get(service)
            if rule is not None and operator:
                income = line.paid + line.bootstrap
                line.withheld = withhold(self.pools, rule, service, device, self.month_of[device], income)

    def add_corrections(self) -> None:
        """Add make-good lines and what the cap held back earlier; note debts."""
        columns = self.inp.corrections.select("device", "operator", "amount_base", "cause").sort(pl.all())
        for device, operator_text, amount_value, cause in columns.rows():
            operator, amount = self._address(operator_text), int(amount_value)
            line = self._line_of_operator(operator, device)
            line.corrections += ((cause, amount),)
            if amount >= 0:
                line.added += amount
            else:
                self.debts[operator] -= amount
        for name in sorted(self.pools):
            if name.startswith(OWED):
                amount, operator = self.pools[name], self._address(name.removeprefix(OWED))
                line = self._line_of_operator(operator, "")
                line.corrections += (("held back by the mint cap in an earlier epoch", amount),)
                line.added += amount
                self.pools[name] = 0
            elif name.startswith(DEBT) and name != DEBT + TREASURY:
                self.debts[self._address(name.removeprefix(DEBT))] += self.pools[name]
                self.pools[name] = 0

    def _line_of_operator(self, operator: str, device: str) -> StatementLine:
        """Return the device's line that a correction joins: its first service's, else one without a service."""
        services = [name for name in sorted(self.inp.services) if (device, name, operator) in self.lines]
        return self._line(device, services[0] if services else "", operator)

    def apply_cap(self) -> None:
        """Keep the epoch's mint within the cap: firm lines first, then the bootstrap (module doc)."""
        cap = self.inp.policy.max_epoch_mint_base
        treasury = self.pools[TREASURY] if self.treasury else 0
        firm = treasury + sum(line.paid + line.added for line in self.lines.values())
        if firm > cap:
            for line in self.lines.values():
                paid, added = line.paid * cap // firm, line.added * cap // firm
                line.held_back = line.paid + line.added - paid - added
                line.paid, line.added = paid, added
                if line.held_back:
                    self.pools[OWED + line.operator] += line.held_back
            treasury = treasury * cap // firm
            room = 0
        else:
            room = cap - firm
        subsidy = sum(line.bootstrap for line in self.lines.values())
        if subsidy > room:
            for line in self.lines.values():
                kept = line.bootstrap * room // subsidy
                line.bootstrap_cut = line.bootstrap - kept
                line.bootstrap = kept
                self.pools[BOOTSTRAP_UNSPENT] += line.bootstrap_cut
        self.treasury_base = treasury
        self.pools[TREASURY] -= treasury

    def repay_debts(self) -> None:
        """Repay debts out of what operators earn now, device by device in order; the rest stays a debt."""
        debtors = {operator for operator, amount in self.debts.items() if amount}
        for key in sorted(self.lines) if debtors else ():
            line = self.lines[key]
            if line.operator in debtors:
                line.repaid = min(self.debts[line.operator], line.total)
                self.debts[line.operator] -= line.repaid
        for operator in sorted(debtors):
            # what the cap holds back for a debtor cancels his debt at once
            offset = min(self.debts[operator], self.pools[OWED + operator])
            self.pools[OWED + operator] -= offset
            self.debts[operator] -= offset
            self.pools[DEBT + operator] = self.debts[operator]

    def close(self) -> Allocation:
        """Add up, check the totals and write the statements."""
        lines = [self.lines[key] for key in sorted(self.lines)]
        balances = dict(self.inp.previous)
        paid = bootstrap = corrections = repaid = held_back = cut = 0
        for line in lines:
            paid += line.paid
            bootstrap += line.bootstrap
            corrections += line.added - line.repaid - line.withheld
            repaid += line.repaid
            held_back += line.held_back
            cut += line.bootstrap_cut
            amount = line.total
            if amount:
                balances[line.operator] = balances.get(line.operator, 0) + amount
        if self.treasury and self.treasury_base:
            balances[self.treasury] = balances.get(self.treasury, 0) + self.treasury_base
        totals = {
            **self.totals,
            "paid": paid,
            "bootstrap": bootstrap,
            "corrections": corrections,
            "treasury": self.treasury_base,
            "debt_repaid": repaid,
            "held_back": held_back,
            "bootstrap_cut": cut,
        }
        minted = totals["paid"] + totals["bootstrap"] + totals["corrections"] + totals["treasury"]
        totals["minted"] = minted
        if minted != sum(balances.values()) - sum(self.inp.previous.values()):
            raise Terminal(f"epoch {self.inp.epoch}: statements and balances do not add up; this is a bug")
        reasons = self.inp.verdicts["reasons"]
        return Allocation(
            statements=to_table(self.inp.epoch, lines, factors(self.inp, self.offer, self.parts, lines), reasons),
            balances=dict(sorted(balances.items())),
            minted_base=minted,
            pools={name: amount for name, amount in sorted(self.pools.items()) if amount},
            smoothed_revenue_micro_usd=self.offer.smoothed_micro_usd,
            totals=dict(sorted(totals.items())),
        )
