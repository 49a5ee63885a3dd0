"""One by one: thousands of operators, each with its own costs and patience, who join and leave by themselves.

The flywheel's cohorts are averages. Here each operator i has a device with weight w_i, price c_i, running costs o_i, a
hurdle h_i and a patience of m_i steps; the income of a step (what the flywheel pays: tokens and dollars) is shared by
weight. Per step:
    rate    = income / Σ w of the active, or / w_i for a lone newcomer
    leaves  if active and w_i · rate < o_i for more than m_i steps on end
    joins   if not active and (w_i · rate − o_i) · horizon ≥ (1 + h_i) · c_i, at most `intake` a step, lowest index first;
            works from the next step on
No chance inside: people differ, they do not throw dice (`draw_operators` spreads them once, from a seed).
Invariants: `compiled_equals_plain`, `nobody_joins_twice`, `income_is_shared_whole`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fieldstone.errors import UsageError

Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Operators:
    """Operators as columns of one length. Dollars, dollars per step, fractions, steps."""

    weight: Numbers
    capex_usd: Numbers
    opex_usd: Numbers
    hurdle: Numbers
    patience: NDArray[np.int32]

    def __post_init__(self) -> None:
        sizes = {len(getattr(self, name)) for name in self.__slots__}
        if len(sizes) != 1 or not self.weight.size or self.weight.min() <= 0:
            raise UsageError("operators need columns of one length, at least one operator, and positive weights")


@dataclass(frozen=True, slots=True)
class Crowd:
    """What happened: active, joined and left per step; steps active and dollars earned (less opex) per operator."""

    active: NDArray[np.int64]
    joined: NDArray[np.int64]
    left: NDArray[np.int64]
    steps_active: NDArray[np.int32]
    earned_usd: Numbers


def draw_operators(
    count: int, *, capex_usd: float, opex_usd: float, hurdle: float, patience: float, spread: float = 0.5, seed: int = 0
) -> Operators:
    """Return operators around given means; costs and weights are lognormal with standard deviation `spread` of the log."""
    if count < 1 or min(capex_usd, opex_usd, patience, spread) < 0:
        raise UsageError("operators need a count of at least 1 and costs, patience and spread that are not negative")
    rng = np.random.Generator(np.random.Philox(key=seed))
    weight, capex, opex = np.exp(spread * rng.standard_normal((3, count)) - spread**2 / 2)
    return Operators(
        weight=weight,
        capex_usd=capex_usd * capex,
        opex_usd=opex_usd * opex,
        hurdle=hurdle + spread * rng.standard_normal(count),
        patience=rng.poisson(patience, count).astype(np.int32),
    )


def crowd(
    operators: Operators, income_usd: Numbers, *, horizon: float = 24.0, intake: int = 1_000_000, begin_active: int = 0
) -> Crowd:
    """Return what operators do under an income per step (dollars). The first `begin_active` are active at the start.

    `horizon` in steps. Compiled with numba; `plain_crowd` is the same in Python.
    """
    return _run(_compiled(), operators, income_usd, horizon, intake, begin_active)


def plain_crowd(
    operators: Operators, income_usd: Numbers, *, horizon: float = 24.0, intake: int = 1_000_000, begin_active: int = 0
) -> Crowd:
    """Return the same as `crowd`, computed in Python."""
    return _run(_steps, operators, income_usd, horizon, intake, begin_active)


def _run(loop: Any, operators: Operators, income_usd: Numbers, horizon: float, intake: int, begin_active: int) -> Crowd:
    income = np.ascontiguousarray(income_usd, dtype=np.float64)
    count, steps = operators.weight.size, income.size
    if income.ndim != 1 or not np.isfinite(income).all() or not 0 <= begin_active <= count or intake < 0:
        raise UsageError(
            "income must be a finite row of dollars per step, and begin_active between 0 and the operators"
        )
    active = np.zeros(count)
    active[:begin_active] = 1.0
    losses, worked, earned = np.zeros(count, np.int32), np.zeros(count, np.int32), np.zeros(count)
    # the rate from which an operator would join, and below which it loses
    entry = ((1 + operators.hurdle) * operators.capex_usd / horizon + operators.opex_usd) / operators.weight
    floor = operators.opex_usd / operators.weight
    counts = np.zeros((3, steps), np.int64)
    loop(
        operators.weight, operators.opex_usd, operators.patience, entry, floor, income, intake, active, losses, worked,
        earned, counts,
    )  # fmt: skip
    return Crowd(counts[0], counts[1], counts[2], worked, earned)


def _steps(
    weight: Any, opex: Any, patience: Any, entry: Any, floor: Any, income: Any, intake: int, active: Any, losses: Any,
    worked: Any, earned: Any, counts: Any,
) -> None:  # fmt: skip
    """Advance all steps in place. Plain loops without branches in the first two: compilers turn them into vectors."""
    count = len(weight)
    for t in range(len(income)):
        # four sums side by side: one alone would wait for each addition
        a, b, c, d = 0.0, 0.0, 0.0, 0.0
        for i in range(0, count - 3, 4):
            a += weight[i] * active[i]
            b += weight[i + 1] * active[i + 1]
            c += weight[i + 2] * active[i + 2]
            d += weight[i + 3] * active[i + 3]
        total = a + b + c + d
        for i in range(count - count % 4, count):
            total += weight[i] * active[i]
        rate = income[t] / total if total > 0.0 else 0.0
        stay, gone, eager = 0, 0, 0
        for i in range(count):
            here = active[i]
            earned[i] += here * (weight[i] * rate - opex[i])
            worked[i] += np.int32(here)
            run = np.int32(losses[i] + 1) if (here > 0.0) & (rate < floor[i]) else np.int32(0)
            losses[i] = run
            now = 0.0 if run > patience[i] else here
            active[i] = now
            gone += run > patience[i]
            stay += now > 0.0
            # who leaves in this step is not eager: the rate that drove him out is below his entry
            eager += (now == 0.0) & (rate >= entry[i])
        came = 0
        if total <= 0.0:
            for i in range(count):
                if income[t] / weight[i] >= entry[i] and came < intake:  # alone he would get it all
                    active[i] = 1.0
                    came += 1
        elif eager:
            for i in range(count):
                if active[i] == 0.0 and rate >= entry[i] and came < intake:
                    active[i] = 1.0
                    came += 1
        counts[0, t], counts[1, t], counts[2, t] = stay + came, came, gone


_loop: Any = None


def _compiled() -> Any:
    global _loop
    if _loop is None:
        import numba

        try:
            _loop = numba.njit(nogil=True, error_model="numpy", cache=True)(_steps)
        except RuntimeError:  # no writable place for a cache
            _loop = numba.njit(nogil=True, error_model="numpy")(_steps)
    return _loop
