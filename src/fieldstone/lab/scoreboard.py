"""Detection scoreboards: how often each attack is caught, at which rate of false alarms, with confidence intervals.

Rates are of identities over several seeds, with Wilson's 95 % interval (Wilson 1927), which stays honest at 0 and 1.
A scoreboard does not know the service; it reads an outcome table: `device, label, penalised, accused, reasons`, with
labels "honest", "honest:<trouble>", "original" (a real sensor behind a farm) or the name of an attack.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import polars as pl

from fieldstone.metrics import wilson

HONEST = "honest"


@dataclass(frozen=True, slots=True)
class Rate:
    """`hits` of `count`, with Wilson's interval. Rates are shares, 0 … 1; all are 0 for an empty count."""

    hits: int
    count: int
    rate: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Row:
    """One attack or one kind of honest trouble."""

    label: str
    penalised: Rate
    accused: Rate
    reasons: tuple[tuple[str, int], ...]  # most frequent first


@dataclass(frozen=True)
class Scoreboard:
    """Rows sorted by label. `false_alarms`: healthy honest devices that lost; `troubled`: honest ones with trouble."""

    attacks: tuple[Row, ...]
    honest: tuple[Row, ...]
    false_alarms: Rate
    troubled_accused: Rate
    seeds: int

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


def rate(hits: int, count: int) -> Rate:
    """Return a rate with Wilson's 95 % interval, rounded for a table. Raises UsageError unless 0 ≤ hits ≤ count."""
    found = wilson(hits, count)
    if found is None:
        return Rate(0, 0, 0.0, 0.0, 1.0)
    return Rate(hits, count, round(found.value, 4), round(found.low, 4), round(found.high, 4))


def score(outcomes: Iterable[pl.DataFrame], *, ignore: Iterable[str] = ("original",)) -> Scoreboard:
    """Return the scoreboard of one outcome table per seed. Labels in `ignore` are counted neither way."""
    tables = list(outcomes)
    if not tables:
        return Scoreboard((), (), rate(0, 0), rate(0, 0), 0)
    table = pl.concat(tables).filter(~pl.col("label").is_in(list(ignore)))
    rows = [
        _row(str(label), part) for (label,), part in sorted(table.group_by(["label"]), key=lambda item: str(item[0]))
    ]
    honest = tuple(row for row in rows if row.label.split(":")[0] == HONEST)
    troubled = [row.accused for row in honest if row.label != HONEST]
    healthy = next((row.penalised for row in honest if row.label == HONEST), rate(0, 0))
    return Scoreboard(
        attacks=tuple(row for row in rows if row.label.split(":")[0] != HONEST),
        honest=honest,
        false_alarms=healthy,
        troubled_accused=rate(sum(r.hits for r in troubled), sum(r.count for r in troubled)),
        seeds=len(tables),
    )


def _row(label: str, part: pl.DataFrame) -> Row:
    reasons = part["reasons"].explode().drop_nulls().to_list()
    counted = sorted(((code, reasons.count(code)) for code in set(reasons)), key=lambda item: (-item[1], item[0]))
    return Row(
        label,
        rate(int(part["penalised"].sum()), part.height),
        rate(int(part["accused"].sum()), part.height),
        tuple(counted),
    )


def render(board: Scoreboard, summaries: Mapping[str, str] | None = None) -> str:
    """Return the scoreboard as a Markdown table."""
    said = summaries or {}
    lines = [
        f"false alarms on healthy honest devices: {_percent(board.false_alarms)} "
        f"(95 %: {_span(board.false_alarms)}, {board.false_alarms.hits} of {board.false_alarms.count}, "
        f"{board.seeds} seeds)",
        f"honest devices with trouble accused of fraud: {_percent(board.troubled_accused)} "
        f"({board.troubled_accused.hits} of {board.troubled_accused.count})",
        "",
        "| attack | caught | 95 % | of | reasons |",
        "|---|---|---|---|---|",
    ]
    for row in board.attacks:
        name = f"{row.label}: {said[row.label]}" if row.label in said else row.label
        lines.append(_line(name, row.penalised, row))
    lines += ["", "| honest | loses quality | 95 % | of | reasons |", "|---|---|---|---|---|"]
    lines += [_line(row.label, row.penalised, row) for row in board.honest]
    return "\n".join(lines)


def _line(name: str, rate: Rate, row: Row) -> str:
    reasons = ", ".join(f"{code} {count}" for code, count in row.reasons[:3])
    return f"| {name} | {_percent(rate)} | {_span(rate)} | {rate.count} | {reasons} |"


def _percent(rate: Rate) -> str:
    return f"{100 * rate.rate:.1f} %" if rate.count else "–"


def _span(rate: Rate) -> str:
    return f"{100 * rate.low:.1f}–{100 * rate.high:.1f} %" if rate.count else "–"
