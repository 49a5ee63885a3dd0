"""The statement: one row per device and service, also for those that earned 0, with every factor behind the amount.

`factors` is canonical JSON (keys sorted, no white space). Amounts in base units are decimal texts there, because
they exceed what JSON readers keep exactly; everything else is a JSON integer or text. The columns that hold base
units are decimal texts, too (`int(row["total_base"])`, in SQL `CAST(total_base AS HUGEINT)`): Parquet's decimal128
would read more nicely, but polars hands its values out rounded to 28 digits, and 10¹⁰ tokens have 29.

Row by row an operator can recompute with a calculator (all divisions floor):
    work          = quantity · quality_ppm                       (0 when the verdict is `rejected`)
                    where a bond is asked for (row.bond_…, `rewards.bonded`): × bond_covered // bond_needed
    bootstrap     = cell.pool_base · work // cell.work
                    in a cell with capped work (in storage; `rewards.caps`): row.sold_work has row.sold_cap_base,
                    the rest of row.work has row.unsold_cap_base; a part with rate_base · part > cap · rate_work
                    gets its cap, and the others together cell.rate_base · their work // cell.rate_work
    cell.pool     = cell.coverage_base + cell.demand_base        (formula in `rewards.need`)
    paid          = revenue · (10⁶ − take_ppm) · 10¹⁸ // (10⁶ · price)
    total         = paid + bootstrap + correction          (correction: made good and released, less debt and pay held back)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from fieldstone.rewards.bonded import Bonded
from fieldstone.rewards.caps import Part

AMOUNT = pl.String()  # base units as decimal text

STATEMENT_SCHEMA: dict[str, Any] = {
    "epoch": pl.Int64(),
    "device": pl.String(),  # did:key; "" for what concerns an operator as a whole
    "operator": pl.String(),  # 0x… EIP-55 address
    "service": pl.String(),  # "" when the device has no verdict and no revenue
    "quantity": pl.Int64(),  # service units of verified work
    "quality_ppm": pl.Int64(),
    "verdict": pl.String(),  # accepted | partial | rejected | none
    "reasons": pl.List(pl.String()),
    "revenue_micro_usd": pl.Int64(),  # what customers paid for this device's delivered work
    "paid_base": AMOUNT,  # (1 − take) of the revenue, in token base units
    "bootstrap_base": AMOUNT,
    "correction_base": AMOUNT,  # make-good and carried-over amounts, less debt repaid; may be negative
    "total_base": AMOUNT,  # paid + bootstrap + correction, never negative
    "factors": pl.String(),
}

NO_VERDICT = "none"


@dataclass(slots=True)
class StatementLine:
    """A statement row while it is being worked out. Amounts in token base units."""

    device: str
    service: str
    operator: str
    quantity: int = 0
    quality_ppm: int = 0
    verdict: str = NO_VERDICT
    verdict_row: int = -1  # row of the verdict table, -1 for none
    work: int = 0
    sold_work: int = 0  # part of `work` that customers' own data made, and paid for (`rewards.caps`)
    sold_cap: int = 0  # most that it may earn
    sold_unpaid: int = 0  # such work that nobody paid for: not in `work`
    unsold_cap: int | None = None  # most that the rest may earn; None: no bound
    cell: int | None = None
    revenue_micro_usd: int = 0
    paid: int = 0
    bootstrap: int = 0
    added: int = 0  # positive corrections and what the mint cap held back earlier
    repaid: int = 0
    held_back: int = 0  # cut from paid and corrections by the mint cap; owed to the operator
    bootstrap_cut: int = 0
    withheld: int = 0  # held back from a new device (`rewards.held`)
    forfeited: int = 0  # held pay of earlier epochs that it lost
    corrections: tuple[tuple[str, int], ...] = ()  # cause, signed base units
    bond_rule: Bonded | None = None  # where a bond is asked for (`rewards.bonded`)
    bond_needed: int = 0
    bond_covered: int = 0
    unbonded_work: int = 0  # work that no bond covers: not in `work`

    @property
    def special(self) -> bool:
        """Whether the row has factors that nearly every other row has not."""
        return bool(self.bond_rule or self.sold_unpaid or self.withheld or self.forfeited or self.has_cap)

    @property
    def has_cap(self) -> bool:
        """Whether a part of the work earns at most so much."""
        return bool(self.sold_work) or self.unsold_cap is not None

    @property
    def parts(self) -> tuple[Part, ...]:
        """The sold and the unsold part of the work."""
        parts = (Part(self.sold_work, self.sold_cap), Part(self.work - self.sold_work, self.unsold_cap))
        return tuple(part for part in parts if part.work)

    @property
    def total(self) -> int:
        """Base units that this row adds to its operator's cumulative balance."""
        return self.paid + self.bootstrap + self.added - self.repaid - self.withheld


def to_table(epoch: int, rows: Sequence[StatementLine], factors: Sequence[str], reasons: pl.Series) -> pl.DataFrame:
    """Return the statement table of STATEMENT_SCHEMA. `factors` runs beside `rows`; `reasons`: the verdicts' column."""
    # gathered as a column: building 100,000 small lists one by one takes longer than all the money sums
    no_reasons = pl.Series("reasons", [[]], dtype=pl.List(pl.String()))
    all_reasons = pl.concat([reasons.cast(pl.List(pl.String())), no_reasons])
    nobody = len(reasons)
    columns: dict[str, Any] = {
        "epoch": [epoch] * len(rows),
        "device": [row.device for row in rows],
        "operator": [row.operator for row in rows],
        "service": [row.service for row in rows],
        "quantity": [row.quantity for row in rows],
        "quality_ppm": [row.quality_ppm for row in rows],
        "verdict": [row.verdict for row in rows],
        "reasons": all_reasons.gather([nobody if row.verdict_row < 0 else row.verdict_row for row in rows]),
        "revenue_micro_usd": [row.revenue_micro_usd for row in rows],
        "paid_base": [str(row.paid) for row in rows],
        "bootstrap_base": [str(row.bootstrap) for row in rows],
        "correction_base": [str(row.added - row.repaid - row.withheld) for row in rows],
        "total_base": [str(row.total) for row in rows],
        "factors": list(factors),
    }
    series = [pl.Series(name, columns[name], dtype=dtype) for name, dtype in STATEMENT_SCHEMA.items()]
    return pl.DataFrame(series)
