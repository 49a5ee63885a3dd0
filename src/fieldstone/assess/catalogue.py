"""What claims can be about: `data/metrics.toml`, read once."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Literal

from fieldstone.assess.amounts import KINDS

Better = Literal["higher", "lower", "none"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One kind of number. `many`: its value may be a list, one number per holder."""

    name: str
    kind: str
    better: Better
    title: str
    where: str
    many: bool


@cache
def metrics() -> Mapping[str, Metric]:
    """Return every metric by name."""
    tree = tomllib.loads((resources.files("fieldstone.assess") / "data" / "metrics.toml").read_text(encoding="utf-8"))
    found = {
        name: Metric(name, row["kind"], row["better"], row["title"], row["where"], bool(row.get("list", False)))
        for name, row in tree.items()
    }
    assert all(metric.kind in KINDS for metric in found.values())
    return found
