"""Survival under stress, from a study of the economy model: the `summary.json` that `fieldstone simulate` writes.

Question 11 asks for P(collapse) with the stress pack and without speculation. Each stress of the pack that the scenario can
feel counts the same; the pooled share comes with Wilson's interval, and the worst stress is named. A scenario is as good as
its worst input, and so is the claim: a number nobody sourced makes it grade D.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from fieldstone.assess.case import Case
from fieldstone.assess.claims import Claim, Grade, Period, Source, worst
from fieldstone.errors import UsageError
from fieldstone.metrics import Interval, wilson

SUMMARY_VERSION = 1
FIVE_YEARS = 60


@dataclass(frozen=True, slots=True)
class StressPack:
    """What a study found. `stresses`: title and P(collapse) without speculation. `heat`: rows price, columns demand."""

    scenario: str
    config_sha256: str
    months: int
    runs: int
    seed: int
    grade: Grade
    stresses: tuple[tuple[str, Interval], ...]
    not_run: tuple[tuple[str, str], ...]
    demand: tuple[float, ...]
    price: tuple[float, ...]
    heat: tuple[tuple[float, ...], ...]

    @property
    def pooled(self) -> Interval:
        """P(collapse) over all stresses, each counting the same."""
        collapsed = sum(round(found.value * self.runs) for _, found in self.stresses)
        pooled = wilson(collapsed, self.runs * len(self.stresses))
        assert pooled is not None
        return pooled


def read_summary(path: Path) -> StressPack:
    """Read a study's summary. Raises UsageError when it is none, or was made without stresses."""
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise UsageError(f"{path} is no summary of `fieldstone simulate`: {error}") from error
    try:
        return _pack(tree)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(
            f"{path} is no summary of `fieldstone simulate` (version {SUMMARY_VERSION}): {error!r}"
        ) from error


def with_stress(case: Case, pack: StressPack, on: date) -> Case:
    """Return the case with the claim that a study makes for question 11."""
    return case.with_claims((*case.claims, _claim(pack, on)))


def _pack(tree: Mapping[str, Any]) -> StressPack:
    if tree["schema_version"] != SUMMARY_VERSION:
        raise ValueError(f"schema version {tree['schema_version']!r}")
    found, left_out = [], []
    for row in tree["stress"]:
        alone = row["utility_only_collapse"]
        if row["not_run"] or alone is None:
            left_out.append((str(row["title"]), str(row["not_run"] or "no result")))
        else:
            found.append((str(row["title"]), _interval(alone)))
    if not found:
        raise ValueError("it was made without stresses")
    heat = tree.get("heat_map") or {"demand_factor": [], "price_factor": [], "collapse": []}
    runs = int(tree["stress_runs"])
    if runs < 1:
        raise ValueError(f"{runs} runs")
    return StressPack(
        scenario=str(tree["scenario"]["name"]),
        config_sha256=str(tree["scenario"]["config_sha256"]),
        months=int(tree["scenario"]["months"]),
        runs=runs,
        seed=int(tree["seed"]),
        grade=worst(Grade(row["grade"]) for row in tree["inputs"] if row["grade"]),
        stresses=tuple(found),
        not_run=tuple(left_out),
        demand=tuple(float(v) for v in heat["demand_factor"]),
        price=tuple(float(v) for v in heat["price_factor"]),
        heat=tuple(tuple(float(v) for v in row) for row in heat["collapse"]),
    )


def _interval(row: Mapping[str, float]) -> Interval:
    value, low, high = float(row["value"]), float(row["low"]), float(row["high"])
    if not 0 <= low <= value <= high <= 1:
        raise ValueError(f"a probability of {value} within {low} and {high}")
    return Interval(value, low, high)


def _claim(pack: StressPack, on: date) -> Claim:
    pooled, worst_of = pack.pooled, max(pack.stresses, key=lambda item: (item[1].value, item[0]))
    horizon = "five years" if pack.months == FIVE_YEARS else f"{pack.months} months, not five years"
    left_out = f"; {len(pack.not_run)} stresses do not apply to the scenario" if pack.not_run else ""
    source = Source(
        "stress-pack", f"Stress pack on scenario {pack.scenario}", f"config {pack.config_sha256[:16]}, seed {pack.seed}, {pack.runs} runs a stress"
    )  # fmt: skip
    return Claim(
        id="stress-pack-collapse",
        metric="resilience.collapse_probability",
        value=pooled.value,
        values=None,
        low=pooled.low,
        high=pooled.high,
        unit="1",
        base="1",
        shown=f"{pooled.value:.1%} ({pooled.low:.1%} to {pooled.high:.1%})",
        period=Period(on, on),
        as_of=on,
        source=source,
        retrieved=on,
        grade=pack.grade,
        method="estimated",
        scope=f"{len(pack.stresses)} stresses pooled, no speculation, within {horizon}",
        derived_from=(),
        contradicts=(),
        error=None,
        counts=True,
        part_of=None,
        note=f"Worst: {worst_of[0]}, {worst_of[1].value:.0%}{left_out}. A scenario is as good as its worst input.",
    )
