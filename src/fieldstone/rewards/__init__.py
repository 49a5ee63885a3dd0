"""Rewards: who gets how much, in integers, and why. Public names are imported on first use, so this stays light."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fieldstone.rewards.allocation import Allocation, allocate
    from fieldstone.rewards.allocation_input import AllocationInput
    from fieldstone.rewards.statements import STATEMENT_SCHEMA

__all__ = ["STATEMENT_SCHEMA", "Allocation", "AllocationInput", "allocate"]

_HOME = {"Allocation": "allocation", "AllocationInput": "allocation_input", "allocate": "allocation"}
_HOME["STATEMENT_SCHEMA"] = "statements"


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
