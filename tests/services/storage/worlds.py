"""Small storage worlds for the tests of the rules; a fleet is played once per session where it is only looked at."""

from __future__ import annotations

import json
from typing import Any

import polars as pl

from fieldstone.services.contract import EpochInput, FleetVerdicts
from fieldstone.services.storage.lab_providers import Honest
from fieldstone.services.storage.lab_world import World


def fleet(seed: int = 1, *, honest: int = 6, shares: int = 20, **others: Any) -> World:
    """Return a world of honest providers and named others, each holding `shares` shares of 16 leaves."""
    world = World(seed)
    for number in range(honest):
        world.add(f"honest{number}", Honest())
    for name, behaviour in others.items():
        world.add(name, behaviour, label=name)
    world.store(shares)
    return world


def named(world: World, result: FleetVerdicts) -> dict[str, dict[str, Any]]:
    """Return verdict rows by the name of the device, `detail` read."""
    names = {one.device: one.name for one in world.providers}
    rows = {}
    for row in result.verdicts.iter_rows(named=True):
        rows[names.get(row["device"], "gateway")] = {**row, "detail": json.loads(row["detail"])}
    return rows


def usage_of(world: World, result: FleetVerdicts, name: str, product: str = "storage") -> int:
    """Return the units that customers use of a device."""
    device = next(one.device for one in world.providers if one.name == name)
    rows = result.usage.filter((pl.col("device") == device) & (pl.col("product") == product))
    return int(rows["units"].sum())


def played(world: World, hours: float = 6.0) -> tuple[EpochInput, FleetVerdicts, dict[str, dict[str, Any]]]:
    """Play one epoch; return its input, result and named verdicts."""
    whole, result = world.run(hours)
    return whole, result, named(world, result)
