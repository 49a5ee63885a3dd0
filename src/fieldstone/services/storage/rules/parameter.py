"""One documented setting of a rule version."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Parameter:
    """Value, unit, meaning, and where the value comes from."""

    value: int | list[int]
    unit: str
    meaning: str
    source: str
