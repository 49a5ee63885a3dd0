"""The factors of a statement row: every number behind its amount, as canonical JSON (keys sorted, no white space).

What many rows share (the offer, a service's part, a cell) is rendered once, so that 100,000 rows stay cheap.
`rewards.statements` says how a reader works a row out again from them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from fieldstone.rewards.allocation_input import AllocationInput
from fieldstone.rewards.bootstrap import Offer, ServicePart
from fieldstone.rewards.caps import Rate
from fieldstone.rewards.need import CellPool, cell_name
from fieldstone.rewards.statements import StatementLine


def factors(
    inp: AllocationInput, offer: Offer, parts: Mapping[str, ServicePart], lines: Sequence[StatementLine]
) -> list[str]:
    """Return the column `factors` beside `lines`."""
    policy = inp.policy
    cap = f'"cap":{{"max_epoch_mint_base":"{policy.max_epoch_mint_base}"}},'
    shared = {name: f'{{"bootstrap":{_bootstrap(inp, offer, name, part)},{cap}' for name, part in parts.items()}
    no_service = f'{{"bootstrap":null,{cap}'
    cells = {
        name: {cell: _cell(cell, one, part.rates.get(cell)) for cell, one in part.need.cells.items()}
        for name, part in parts.items()
    }
    paid = f'{{"price_micro_usd":{inp.price_micro_usd},"take_ppm":{policy.take_ppm}}}'
    return [
        _row(
            line,
            shared.get(line.service, no_service),
            "null" if line.cell is None else cells[line.service][line.cell],
            paid,
        )
        for line in lines
    ]


def _bootstrap(inp: AllocationInput, offer: Offer, name: str, part: ServicePart) -> str:
    need, service = part.need, inp.services[name]
    rate = f'"rate_base":"{need.rate.amount}",' if need.rate.amount != need.coverage_base else ""
    return (
        f'{{"coverage_base":"{need.coverage_base}","demand_base":"{need.demand_base}",'
        f'"full_coverage_cells":{inp.policy.full_coverage_cells},{_list_price(inp, name)}'
        f'"offered_base":"{offer.offered_base}",'
        f'"r_half_micro_usd":{inp.policy.r_half_micro_usd},{rate}"schedule_base":"{offer.scheduled_base}",'
        f'"service_pool_base":"{part.pool_base}","service_revenue_micro_usd":{need.revenue_micro_usd},'
        f'"share_ppm":{service.share_ppm},"smoothed_revenue_micro_usd":{offer.smoothed_micro_usd},'
        f'"take_base":"{part.take_base}","target_work":"{need.target_work}",'
        f'"weight_divisor":"{need.rate.work}"}}'
    )


def _list_price(inp: AllocationInput, name: str) -> str:
    listed = inp.list_prices.get(name)
    if listed is None:
        return ""
    return (
        f'"list_price":{{"micro_usd":{listed.micro_usd},"per":{_text(listed.per)},"units":{listed.units},'
        f'"unsold_pay_ppm":{inp.services[name].unsold_pay_ppm},"unsold_weight_ppm":{listed.unsold_weight_ppm}}},'
    )


def _cell(cell: int, part: CellPool, rate: Rate | None) -> str:
    capped = "" if rate is None else f'"rate_base":"{rate.amount}","rate_work":"{rate.work}",'
    return (
        f'{{"cell":"{cell_name(cell)}","coverage_base":"{part.coverage_base}","demand_base":"{part.demand_base}",'
        f'"pool_base":"{part.pool_base}",{capped}"revenue_micro_usd":{part.revenue_micro_usd},'
        f'"weight":"{part.weight}","work":"{part.work}"}}'
    )


# what a row has when nothing was corrected, cut, held back or repaid: nearly every row
_UNTOUCHED = '"row":{"bootstrap_cut_base":"0","debt_repaid_base":"0","held_back_base":"0","work":"'


def _row(line: StatementLine, shared: str, cell: str, paid: str) -> str:
    """Put a row's factors together. `shared` (bootstrap and cap, open at its end), `cell` and `paid` are JSON rendered
    once for many rows."""
    if line.corrections or line.held_back or line.bootstrap_cut or line.repaid or line.special:
        causes = ",".join(
            f'{{"amount_base":"{amount}","cause":{_text(cause)}}}' for cause, amount in sorted(line.corrections)
        )
        row = (
            f'"row":{{{_bond(line)}"bootstrap_cut_base":"{line.bootstrap_cut}","debt_repaid_base":"{line.repaid}",'
            + (f'"forfeited_base":"{line.forfeited}",' if line.forfeited else "")
            + f'"held_back_base":"{line.held_back}",{_capped(line)}'
            + (f'"withheld_base":"{line.withheld}",' if line.withheld else "")
            + '"work":"'
        )
    else:
        causes, row = "", _UNTOUCHED
    return f'{shared}"cell":{cell},"corrections":[{causes}],"paid":{paid},{row}{line.work}"}}}}'


def _bond(line: StatementLine) -> str:
    if line.bond_rule is None:
        return ""
    return (
        f'"bond_covered_base":"{line.bond_covered}","bond_needed_base":"{line.bond_needed}",'
        f'"bond_per_unit_base":"{line.bond_rule.per_unit_base}",'
        f'"bond_unbonded_work":"{line.unbonded_work}","bond_unit":{_text(line.bond_rule.terms.unit)},'
    )


def _capped(line: StatementLine) -> str:
    sold = unsold = ""
    if line.sold_work or line.sold_unpaid:
        sold = f'"sold_cap_base":"{line.sold_cap}","sold_unpaid":"{line.sold_unpaid}","sold_work":"{line.sold_work}",'
    if line.unsold_cap is not None:
        unsold = f'"unsold_cap_base":"{line.unsold_cap}",'
    return sold + unsold


def _text(value: str) -> str:
    """Return a JSON string."""
    return msgspec.json.encode(value).decode()
