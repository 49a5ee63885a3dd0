"""Public series with their sources: one TOML file each, under `data/`."""

from __future__ import annotations

import datetime
import tomllib
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable

import numpy as np
from numpy.typing import NDArray

from fieldstone.errors import UsageError


@dataclass(frozen=True, slots=True)
class PublicSeries:
    """Dated values as a source states them. `grade`: A recomputed … D estimate (see `fieldstone.assess`)."""

    name: str
    what: str
    unit: str
    source: str
    locator: str
    grade: str
    note: str
    dates: tuple[datetime.date, ...]
    values: NDArray[np.float64]

    def grouped(self, size: int) -> PublicSeries:
        """Return sums of `size` neighbouring points, dated by the last; a rest at the end is left out."""
        count = len(self.dates) // size
        sums = self.values[: count * size].reshape(count, size).sum(axis=1)
        dates = tuple(self.dates[(group + 1) * size - 1] for group in range(count))
        return PublicSeries(
            self.name, self.what, f"{self.unit} × {size}", self.source, self.locator, self.grade, self.note, dates, sums
        )


def names() -> list[str]:
    """Return the names of all series."""
    return sorted(file.name.removesuffix(".toml") for file in _folder().iterdir() if file.name.endswith(".toml"))


def load(name: str) -> PublicSeries:
    """Return a series by name. Raises UsageError for an unknown one."""
    file = _folder() / f"{name}.toml"
    if name not in names():
        raise UsageError(f"there is no public series {name!r}; they are {', '.join(names())}")
    body = tomllib.loads(file.read_text(encoding="utf-8"))
    dates = tuple(datetime.date.fromisoformat(date) for date, _ in body["points"])
    values = np.array([float(value) for _, value in body["points"]])
    words = {key: str(body[key]) for key in ("name", "what", "unit", "source", "locator", "grade", "note")}
    return PublicSeries(**words, dates=dates, values=values)


def _folder() -> Traversable:
    return resources.files("fieldstone.economy.backtest") / "data"
