"""Why a device got what it got: a statement row turned into ordered lines, from evidence to amount.

Every number comes from the statement row and the verdict row, so anyone who has the sealed epoch gets the same lines.
Formulas are those of `rewards.statements` and `rewards.need`; each line's `why` states its own.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from fieldstone.rewards.bonded import capacity_text
from fieldstone.rewards.caps import Part, Rate
from fieldstone.units import PPM, format_token, format_usd


@dataclass(frozen=True, slots=True)
class Line:
    """One step. `section`: work, bootstrap, sales, corrections, cap or total. `value` is shown text, `exact` the integer
    behind it (None when the value is a text). `remedy`: what the operator can do, or ""."""

    section: str
    label: str
    value: str
    unit: str
    why: str
    remedy: str = ""
    exact: int | None = None


class _Reason(Protocol):
    @property
    def meaning(self) -> str: ...
    @property
    def remedy(self) -> str: ...


def explain(
    statement_row: Mapping[str, Any],
    verdict_row: Mapping[str, Any] | None = None,
    *,
    reasons: Mapping[str, _Reason] | None = None,
    quantity_unit: str = "units",
) -> list[Line]:
    """Return the lines of one statement row.

    `verdict_row`: the device's row of the verdict table (its `detail` names the quality per variable). `reasons` and
    `quantity_unit`: those of the service, for the meaning and remedy of each reason.
    """
    factors = json.loads(statement_row["factors"])
    lines = list(_work(statement_row, verdict_row or {}, factors, reasons or {}, quantity_unit))
    if factors["cell"] is not None:
        lines += _bootstrap(statement_row, factors)
    lines += _sales(statement_row, factors)
    lines += _corrections(factors)
    lines += _cap(factors)
    lines.append(
        _token(
            "total", "added to the operator's balance", statement_row["total_base"], "paid + bootstrap + corrections"
        )
    )
    return lines


def _work(
    row: Mapping[str, Any],
    verdict: Mapping[str, Any],
    factors: Mapping[str, Any],
    reasons: Mapping[str, _Reason],
    quantity_unit: str,
) -> Iterator[Line]:
    if row["verdict"] == "none":
        yield Line("work", "verdict", "none", "", "no service judged this device in this epoch", "Send reports.")
        return
    yield _count("work", "verified work", row["quantity"], quantity_unit, "decided by the verification of the evidence")
    detail = _detail(verdict)
    for name, quality in sorted(_qualities(detail).items()):
        remedy = "" if quality == PPM else "See the reasons below."
        yield _ppm("work", f"quality of {name}", quality, "share of the expected readings that passed", remedy)
    yield _ppm("work", "quality", row["quality_ppm"], "all variables and fleet checks together")
    causes = {cause.get("reason"): cause for cause in reversed(_list(detail.get("causes"))) if isinstance(cause, dict)}
    for code in row["reasons"]:
        reason = reasons.get(code)
        why = " ".join(filter(None, [reason.meaning if reason else "", _evidence(causes.get(code, {}))]))
        yield Line("work", "reason", code, "", why or "see the verdict's detail", reason.remedy if reason else "")
    refused = row["verdict"] == "rejected"
    yield Line(
        "work",
        "verdict",
        row["verdict"],
        "",
        "rejected work earns no bootstrap" if refused else "this work takes part in the bootstrap",
        "Fix the reasons above, or ask for a review: the evidence is in the sealed epoch." if refused else "",
    )
    yield _count("work", "work", int(factors["row"]["work"]), f"{quantity_unit} × ppm", "quantity × quality")


def _bootstrap(row: Mapping[str, Any], factors: Mapping[str, Any]) -> Iterator[Line]:
    pool, cell, work = factors["bootstrap"], factors["cell"], int(factors["row"]["work"])
    name, section = cell["cell"], "bootstrap"
    yield _token(section, "schedule", pool["schedule_base"], "bootstrap planned for this epoch")
    yield _usd(section, "smoothed revenue", pool["smoothed_revenue_micro_usd"], "moving average per epoch")
    half = format_usd(pool["r_half_micro_usd"])
    yield _token(section, "offered", pool["offered_base"], f"schedule × {half} / ({half} + smoothed revenue)")
    yield _token(section, "service pool", pool["service_pool_base"], f"{pool['share_ppm']} ppm of it by policy")
    yield _token(
        section,
        "demand part",
        pool["demand_base"],
        f"steered to cells where customers bought; bounded by the take of {format_token(int(pool['take_base']))} tokens",
    )
    yield _token(
        section, "coverage part", pool["coverage_base"], "the rest of the service pool, spread over cells by work"
    )
    yield _count(section, f"weight of cell {name}", int(cell["weight"]), "", f"its work, at most {pool['target_work']}")
    yield _count(
        section,
        "weight of all cells",
        int(pool["weight_divisor"]),
        "",
        "of the work that has not reached its cap"
        if "rate_base" in pool
        else f"their sum, at least {pool['full_coverage_cells']} full cells",
    )
    why = "coverage part × cell weight / all weights"
    if "rate_base" in pool:
        rest = format_token(int(pool["rate_base"]))
        why = (
            f"the {rest} tokens that capped work leaves × cell weight / weight of the work that has not reached its cap"
        )
    yield _token(section, f"cell {name}, coverage", cell["coverage_base"], why)
    yield _token(
        section,
        f"cell {name}, demand",
        cell["demand_base"],
        f"demand part × {format_usd(cell['revenue_micro_usd'])} / {format_usd(pool['service_revenue_micro_usd'])}, "
        "× cell weight / target",
    )
    crowded = int(cell["work"]) > int(pool["target_work"])
    yield _count(
        section,
        f"work in cell {name}",
        int(cell["work"]),
        "",
        "all devices of the cell share its pool by work",
        "The cell has more devices than it needs; a less crowded one pays more." if crowded else "",
    )
    own = factors["row"]
    yield from _bond(own)
    yield from _capped(factors)
    yield _token(section, "bootstrap", *_own_part(cell, own, work))
    is_plain = "rate_base" not in cell and "bond_unit" not in own
    if work and is_plain and row["quality_ppm"] < PPM:
        yield _token(
            section,
            "bootstrap at full quality",
            _at_full_quality(row, pool, cell, work),
            "what the same hours would have earned without lost quality, others unchanged",
            "Fix the reasons above.",
        )


def _bond(own: Mapping[str, Any]) -> Iterator[Line]:
    if "bond_unit" not in own:
        return
    covered, needed, unit = int(own["bond_covered_base"]), int(own["bond_needed_base"]), own["bond_unit"]
    per_unit = int(own["bond_per_unit_base"])
    amounts = f"{format_token(covered)} of {format_token(needed)} tokens"
    yield Line(
        "bootstrap",
        "bond covers",
        f"{capacity_text(covered, per_unit)} of {capacity_text(needed, per_unit)}",
        unit,
        f"{amounts}: the device's bond and its part of the operator's; what they do not cover earns sales only",
        "" if covered == needed else "Bond more tokens with `fieldstone bond add`; they count from the next epoch on.",
        covered,
    )
    if lost := int(own["bond_unbonded_work"]):
        yield _count("bootstrap", "work without a bond", lost, "", "takes no part in the bootstrap")


def _capped(factors: Mapping[str, Any]) -> Iterator[Line]:
    """Say what of the work has a bound, and why so much."""
    own, section = factors["row"], "bootstrap"
    if unpaid := int(own.get("sold_unpaid", 0)):
        why = "work that customers' own data made and nobody paid for in this epoch: no part of the bootstrap"
        remedy = (
            "Customers pay in the epoch after the work. If this stays, their gateways need somebody who pays for them."
        )
        yield _count(section, "unpaid work", unpaid, "", why, remedy)
    sold = int(own.get("sold_work", 0))
    if sold:
        yield _count(section, "sold work", sold, "", "the part of the work that customers' own data made and paid for")
        why = (
            "what may come back of the take on what they paid: more would make it worth while to be one's own customer"
        )
        yield _token(section, "most for sold work", own["sold_cap_base"], why)
    if "unsold_cap_base" in own:
        listed = factors["bootstrap"]["list_price"]
        price = f"the list price of {format_usd(listed['micro_usd'])} per {listed['per']}"
        why = (
            f"what it would earn if it were sold at {price}, after a take of {factors['paid']['take_ppm'] / 10_000:g} %"
        )
        if listed["unsold_pay_ppm"] == PPM:
            why += "; so nobody earns more by refusing customers"
        else:
            why += f"; of it {listed['unsold_pay_ppm'] / 10_000:g} % by policy"
        yield _count(section, "unsold work", int(own["work"]) - sold, "", "the part that no customer has bought yet")
        yield _token(section, "most for unsold work", own["unsold_cap_base"], why)


def _own_part(cell: Mapping[str, Any], own: Mapping[str, Any], work: int) -> tuple[int, str, str]:
    if not work:
        return 0, "no work takes part", ""
    if "rate_base" not in cell:
        return int(cell["pool_base"]) * work // int(cell["work"]), "cell pool × own work / work in the cell", ""
    rate = Rate(int(cell["rate_base"]), int(cell["rate_work"]))
    sold = Part(int(own.get("sold_work", 0)), int(own.get("sold_cap_base", 0)))
    unsold = Part(work - sold.work, int(own["unsold_cap_base"]) if "unsold_cap_base" in own else None)
    is_sold_capped, is_unsold_capped = rate.reaches(sold), rate.reaches(unsold)
    in_words = f"{format_token(rate.amount)} tokens for each {rate.work:,} of work"
    why = " and ".join(
        [
            *(["sold work capped at the take on what customers paid"] if is_sold_capped else []),
            *(["unsold work capped at list price"] if is_unsold_capped else []),
            *([f"{in_words} of the rest"] if (unsold.work and not is_unsold_capped) or not is_sold_capped else []),
        ]
    )
    remedy = "Take in customers' data: it never earns less than empty space does." if is_unsold_capped else ""
    return rate.of([part for part in (sold, unsold) if part.work]), why, remedy


def _at_full_quality(row: Mapping[str, Any], pool: Mapping[str, Any], cell: Mapping[str, Any], work: int) -> int:
    """Recompute the bootstrap with quality 10⁶. The floor on all cells' weight is kept when it was binding."""
    target, divisor, weight = int(pool["target_work"]), int(pool["weight_divisor"]), int(cell["weight"])
    full = int(row["quantity"]) * PPM
    cell_work = int(cell["work"]) - work + full
    new_weight = min(cell_work, target)
    floor = int(pool["full_coverage_cells"]) * target
    if divisor > floor:
        divisor = divisor - weight + new_weight
    amount = int(pool["coverage_base"]) * new_weight // divisor
    if pool["service_revenue_micro_usd"]:
        bought = int(pool["demand_base"]) * cell["revenue_micro_usd"] * new_weight
        amount += bought // (pool["service_revenue_micro_usd"] * target)
    return amount * full // cell_work


def _sales(row: Mapping[str, Any], factors: Mapping[str, Any]) -> Iterator[Line]:
    paid, revenue = factors["paid"], row["revenue_micro_usd"]
    remedy = (
        "" if revenue else "Nobody bought this device's data in this epoch; better quality makes more of it sellable."
    )
    yield _usd("sales", "revenue", revenue, "what customers paid for delivered data of this device", remedy)
    if revenue > 0:
        yield _usd("sales", "price of a token", paid["price_micro_usd"], "price entry of the journal")
        yield _ppm("sales", "take", paid["take_ppm"], "goes to the network's treasury")
        before_cap = (PPM - paid["take_ppm"]) * revenue * 10**18 // (PPM * paid["price_micro_usd"])
        yield _token("sales", "paid", before_cap, "(1 − take) × revenue / price")


def _corrections(factors: Mapping[str, Any]) -> Iterator[Line]:
    for entry in factors["corrections"]:
        amount = int(entry["amount_base"])
        why = "added" if amount >= 0 else "noted as a debt, repaid from earnings; a balance never falls"
        yield _token("corrections", entry["cause"], amount, why)
    repaid = int(factors["row"]["debt_repaid_base"])
    if withheld := int(factors["row"].get("withheld_base", 0)):
        why = (
            "a part of a new device's pay is held back for a while; half is paid later, the rest when it leaves cleanly"
        )
        yield _token("corrections", "held back from a new device", -withheld, why)
    if forfeited := int(factors["row"].get("forfeited_base", 0)):
        why = "held pay of earlier epochs, lost to the treasury: what this device held has to be restored elsewhere"
        yield _token("corrections", "held pay forfeited", -forfeited, why)
    if repaid:
        yield _token("corrections", "debt repaid", -repaid, "taken from this row's earnings")


def _cap(factors: Mapping[str, Any]) -> Iterator[Line]:
    held, cut = int(factors["row"]["held_back_base"]), int(factors["row"]["bootstrap_cut_base"])
    cap = format_token(int(factors["cap"]["max_epoch_mint_base"]))
    if held:
        yield _token(
            "cap", "held back", -held, f"an epoch mints at most {cap}; this is owed and paid in the next epochs"
        )
    if cut:
        yield _token("cap", "bootstrap cut", -cut, f"an epoch mints at most {cap}; sales and corrections go first")


def _detail(verdict: Mapping[str, Any]) -> Mapping[str, Any]:
    try:
        detail = json.loads(verdict.get("detail") or "{}")
    except ValueError:
        return {}
    return detail if isinstance(detail, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _evidence(cause: Mapping[str, Any]) -> str:
    """Say what was measured, against which limit, and what it cost."""
    parts = []
    if cause.get("variable"):
        parts.append(f"In {cause['variable']}")
    if cause.get("measured") is not None:
        parts.append(f"measured {cause['measured']}")
    if cause.get("threshold") is not None:
        parts.append(f"limit {cause['threshold']}")
    if cause.get("detail"):
        parts.append(_in_words(cause["detail"]))
    if isinstance(cause.get("quality_if_fixed_ppm"), int):
        parts.append(f"quality without it {cause['quality_if_fixed_ppm'] / 10_000:.2f} %")
    return "; ".join(parts) + "." if parts else ""


def _in_words(detail: Any) -> str:
    """Write a finding's evidence for people: `key value` pairs, underscores as blanks."""
    if isinstance(detail, Mapping):
        return ", ".join(f"{str(key).replace('_', ' ')} {_in_words(value)}" for key, value in detail.items())
    if isinstance(detail, list):
        return ", ".join(map(_in_words, detail))
    return str(detail)


def _qualities(detail: Mapping[str, Any]) -> dict[str, int]:
    """Return variable → quality in ppm from `detail.variables_ppm`."""
    variables = detail.get("variables_ppm")
    if not isinstance(variables, dict):
        return {}
    return {str(name): ppm for name, ppm in variables.items() if isinstance(ppm, int)}


def _token(section: str, label: str, amount: Any, why: str, remedy: str = "") -> Line:
    places = 4 if abs(int(amount)) >= 10**15 or not int(amount) else 9  # a small amount is not shown as none
    return Line(section, label, format_token(int(amount), places), "tokens", why, remedy, int(amount))


def _usd(section: str, label: str, amount: int, why: str, remedy: str = "") -> Line:
    return Line(section, label, format_usd(amount), "", why, remedy, amount)


def _ppm(section: str, label: str, value: int, why: str, remedy: str = "") -> Line:
    return Line(section, label, f"{value / 10_000:.4f}", "%", why, remedy, value)


def _count(section: str, label: str, value: int, unit: str, why: str, remedy: str = "") -> Line:
    return Line(section, label, f"{value:,}", unit, why, remedy, value)


def to_dicts(lines: Sequence[Line]) -> list[dict[str, Any]]:
    """Return the lines as plain objects for JSON; `exact` as decimal text, since it may exceed 2⁵³."""
    return [{**asdict(line), "exact": None if line.exact is None else str(line.exact)} for line in lines]


def to_text(lines: Sequence[Line], width: int | None = None) -> str:
    """Return the lines as a table of plain text, `width` columns wide (default: the terminal, or 140)."""
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE, show_header=False, show_edge=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", overflow="fold")
    table.add_column()
    table.add_column(overflow="fold")
    previous = lines[0].section if lines else ""
    for line in lines:
        if line.section != previous:
            table.add_section()
            previous = line.section
        why = f"{line.why}\n→ {line.remedy}" if line.remedy else line.why
        # causes and reasons come from outside: they are text, never markup
        table.add_row(*(Text(cell) for cell in (line.label, line.value, line.unit, why)))
    console = Console(width=width or shutil.get_terminal_size((140, 40)).columns, color_system=None)
    with console.capture() as capture:
        console.print(table)
    return "\n".join(part.rstrip() for part in capture.get().splitlines())
