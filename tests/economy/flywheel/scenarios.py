"""Random scenarios: every number of every part drawn around its default, every word of every choice, all policies."""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import Any

from hypothesis import strategies as st

from fieldstone.economy.flywheel import parameters as p
from fieldstone.economy.flywheel.emission import PLANS
from fieldstone.economy.flywheel.inputs import TARGETS

# what a scenario must keep consistent is drawn by hand below
_BY_HAND = {"months", "steps_per_year", "demand_share", "initial_devices", "potential_devices", "locked_tokens"}
_BY_HAND |= {"max_tokens", "initial_tokens", "lead_months", "share", "take", "start_month", "price_change_year"}


@st.composite
def part(draw: Any, kind: type, **given: Any) -> Any:
    """Draw a part: defaults times a factor, or anything in a narrow range where the default is 0."""
    values = dict(given)
    for item in fields(kind):
        rules = item.metadata
        if item.name in values or item.name in _BY_HAND:
            continue
        if "choices" in rules:
            values[item.name] = draw(st.sampled_from(rules["choices"]))
        elif "low" in rules and item.default is not MISSING:
            base = float(item.default)
            value = base * draw(st.floats(0.2, 3)) if base else draw(st.sampled_from([0.0, 0.0, 0.1, 0.5, 1.0]))
            values[item.name] = min(max(value, rules["low"]), rules["high"])
    return kind(**values)


@st.composite
def scenarios(draw: Any, months: int = 30, shocks: bool = True) -> p.Scenario:
    """Draw a scenario that is valid and far from any real one."""
    many = draw(st.integers(1, 3))
    shares = [draw(st.floats(0.1, 1)) for _ in range(many)]
    regions = tuple(
        draw(part(p.Region, name=f"r{i}", demand_share=share / sum(shares[:-1] + shares[-1:])))
        for i, share in enumerate(shares)
    )
    cohorts = []
    for i in range(draw(st.integers(1, 4))):
        potential = draw(st.sampled_from([0.0, 0.3, 50.0, 5_000.0]))
        cohorts.append(
            draw(
                part(
                    p.Cohort,
                    name=f"c{i}",
                    region=f"r{draw(st.integers(0, many - 1))}",
                    vendor=draw(st.sampled_from(["", "acme"])),
                    potential_devices=potential,
                    initial_devices=potential * draw(st.floats(0, 1)),
                    lead_months=draw(st.sampled_from([0.0, 1.0, 4.0])),
                )
            )
        )
    share = draw(st.floats(0, 1))
    locked = draw(st.sampled_from([0.0, 1e6, 9e7]))
    found = p.Scenario(
        months=months,
        steps_per_year=draw(st.sampled_from([12, 52])),
        regions=regions,
        cohorts=tuple(cohorts),
        segments=tuple(draw(part(p.Segment, name=f"s{i}")) for i in range(draw(st.integers(1, 2)))),
        service=draw(part(p.Service, price_change_year=draw(st.sampled_from([0.0, -0.2])))),
        supply=draw(
            part(p.Supply, initial_tokens=1e8, locked_tokens=locked, max_tokens=draw(st.sampled_from([1e15, 1.05e8])))
        ),
        emission=draw(
            part(p.Emission, policy=draw(st.sampled_from(sorted(PLANS))), start_month=draw(st.sampled_from([0.0, 7.5])))
        ),
        burn=draw(part(p.Burn, share=share, take=(1 - share) * draw(st.floats(0, 1)))),
        price=draw(part(p.Price)),
        treasury=draw(part(p.Treasury)),
        behaviour=draw(part(p.Behaviour)),
        shocks=(draw(st.lists(shock(), max_size=3).map(tuple)) if shocks else ()),
    )
    return found


@st.composite
def shock(draw: Any) -> p.Shock:
    """Draw a shock on everything that an input's name covers."""
    target = draw(st.sampled_from(sorted(TARGETS)))
    add = target in ("unlock", "fraud", "oracle_lag")
    return p.Shock(
        target=target,
        kind="add" if add else "mul",
        value={"unlock": 1e6, "fraud": 0.5, "oracle_lag": 3.0}[target]
        if add
        else draw(st.sampled_from([0.0, 0.2, 2.0])),
        from_month=draw(st.sampled_from([0.0, 3.0])),
        until_month=draw(st.sampled_from([12.0, 1200.0])),
        ramp_months=draw(st.sampled_from([0.0, 4.0])),
    )
