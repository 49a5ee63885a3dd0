"""The sensing lab: a world, honest stations, adversaries, fleets. Everything follows from a seed.

    world = World(seed=1, start_ms=1_750_000_000_000)
    fleet = build_fleet(world, honest=120, attacks=["copied_neighbour", "indoors"])
    fleet.registry, fleet.readings(world.start_ms, world.start_ms + DAY_MS), fleet.truth

Live, step by step: `source.readings(world, [now_ms])` for each of `fleet.sources` (build with `stagger=False` and let
`now_ms` be a multiple of the interval).
"""

from fieldstone.services.sensing.lab_adversaries import ATTACKS, Adversary, Attack, Identity, Scene
from fieldstone.services.sensing.lab_fleet import MODELS, TRUTH_SCHEMA, Fleet, build_fleet
from fieldstone.services.sensing.lab_stations import (
    TROUBLES,
    Source,
    Station,
    grid_ms,
    honest_station,
    readings_table,
    sent_ms,
)
from fieldstone.services.sensing.lab_world import World

__all__ = [
    "ATTACKS",
    "MODELS",
    "TROUBLES",
    "TRUTH_SCHEMA",
    "Adversary",
    "Attack",
    "Fleet",
    "Identity",
    "Scene",
    "Source",
    "Station",
    "World",
    "build_fleet",
    "grid_ms",
    "honest_station",
    "readings_table",
    "sent_ms",
]
