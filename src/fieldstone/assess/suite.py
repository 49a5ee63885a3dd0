"""Detection and false alarms from an attack suite: the scoreboard that `fieldstone lab SERVICE --json` prints.

The detection rate is that of all simulated attackers together, with Wilson's interval; the attack that is caught least is
named, because an attacker picks that one. Grade A: anyone can run the suite with the same seeds and get the same board.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from fieldstone.assess.case import Case
from fieldstone.assess.claims import Claim, Grade, Period, Source
from fieldstone.errors import UsageError
from fieldstone.metrics import Interval, wilson


@dataclass(frozen=True, slots=True)
class Board:
    """What a suite measured. `attacks`: name and rate at which its attackers lost reward, least caught first."""

    detection: Interval
    false_alarms: Interval | None
    attacks: tuple[tuple[str, float], ...]
    seeds: int


def read_board(path: Path) -> Board:
    """Read a scoreboard. Raises UsageError when it is none, or tried no attack."""
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
        rows = [(str(row["label"]), row["penalised"]) for row in tree["attacks"]]
        detection = wilson(sum(int(r["hits"]) for _, r in rows), sum(int(r["count"]) for _, r in rows))
        alarms = wilson(int(tree["false_alarms"]["hits"]), int(tree["false_alarms"]["count"]))
        seeds = int(tree["seeds"])
        rates = sorted(((label, _rate(r)) for label, r in rows), key=lambda item: (item[1], item[0]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, UsageError) as error:
        raise UsageError(f"{path} is no scoreboard of `fieldstone lab SERVICE --json`: {error!r}") from error
    if detection is None:
        raise UsageError(f"{path} tried no attack, so nothing follows from it")
    return Board(detection, alarms, tuple(rates), seeds)


def with_suite(case: Case, board: Board, on: date) -> Case:
    """Return the case with the claims that a suite makes for question 3."""
    name, rate = board.attacks[0]
    found = [_claim("verification.detection_rate", board.detection, board, on, f"{len(board.attacks)} attacks together",
                    f"Caught least: {name}, {rate:.0%}.")]  # fmt: skip
    if board.false_alarms:
        scope = "healthy honest devices"
        found.append(_claim("verification.false_positive_rate", board.false_alarms, board, on, scope, ""))
    return case.with_claims((*case.claims, *found))


def _rate(row: Mapping[str, Any]) -> float:
    return int(row["hits"]) / int(row["count"]) if int(row["count"]) else 0.0


def _claim(metric: str, found: Interval, board: Board, on: date, scope: str, note: str) -> Claim:
    return Claim(
        id=f"suite-{metric.rpartition('.')[2].replace('_', '-')}",
        metric=metric,
        value=found.value,
        values=None,
        low=found.low,
        high=found.high,
        unit="1",
        base="1",
        shown=f"{found.value:.1%} ({found.low:.1%} to {found.high:.1%})",
        period=Period(on, on),
        as_of=on,
        source=Source("attack-suite", "Attack suite of the service's lab", f"{board.seeds} seeds"),
        retrieved=on,
        grade=Grade.A,
        method="measured",
        scope=scope,
        derived_from=(),
        contradicts=(),
        error=None,
        counts=True,
        part_of=None,
        note=note,
    )
