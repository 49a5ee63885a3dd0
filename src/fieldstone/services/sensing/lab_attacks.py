"""What an attack is: who it finds, whom it enrols, what it sends.

An adversary knows the rules and sees all published readings up to now (`latest_ms`). It does not hold other people's
keys, cannot see the future, and its claims about place and time of enrolment pass the registry. Attacks that pay a
whole farm enrol several identities; the honest sensor behind a farm is labelled "original": it may be paid once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fieldstone.services.sensing.lab_stations import Readings, Source, Station
from fieldstone.services.sensing.lab_world import World

Times = NDArray[np.int64]
Produce = Callable[[World, Times], Readings]


@dataclass(frozen=True)
class Scene:
    """What an adversary finds: the world, the honest stations, and `claim(near_km=…)`, which enrols a new identity."""

    world: World
    honest: Sequence[Station]
    rng: np.random.Generator
    claim: Callable[..., Station]

    def victim(self) -> Station:
        """Return a healthy honest weather station."""
        candidates = [s for s in self.honest if not s.trouble and "wind_speed_ms" in s.variables]
        return candidates[int(self.rng.integers(len(candidates)))]


class Adversary(Protocol):
    """One attack: `name`, what it claims and does (`summary`), days until it can be seen, and its identities."""

    @property
    def name(self) -> str: ...
    @property
    def summary(self) -> str: ...
    @property
    def days(self) -> int: ...

    def enrol(self, scene: Scene) -> list[Source]: ...


@dataclass(frozen=True)
class Identity:
    """One enrolled identity of an adversary."""

    claim: Station
    label: str
    produce: Produce

    def readings(self, world: World, times_ms: ArrayLike) -> Readings:
        """Return what this identity sends at the times."""
        return self.produce(world, np.atleast_1d(np.asarray(times_ms, dtype=np.int64)))


@dataclass(frozen=True)
class Attack:
    """An adversary made of one function."""

    name: str
    summary: str
    days: int
    make: Callable[[Scene, str], list[Source]]

    def enrol(self, scene: Scene) -> list[Source]:
        """Return the identities of one instance of this attack."""
        return self.make(scene, self.name)


Make = Callable[[Scene, str], list[Source]]


def collect(into: dict[str, Attack]) -> Callable[..., Callable[[Make], None]]:
    """Return the decorator `(name, summary, days=1)` that puts an attack's function into a table."""

    def attack(name: str, summary: str, days: int = 1) -> Callable[[Make], None]:
        def register(make: Make) -> None:
            into[name] = Attack(name, summary, days, make)

        return register

    return attack


def seconds_in(world: World, times: Times) -> NDArray[np.float64]:
    """Return seconds since the world began."""
    return np.asarray((times - world.start_ms) / 1000.0, dtype=np.float64)
