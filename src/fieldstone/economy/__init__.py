"""The economy of networks: real monetary policies as pure functions, and what an operator earns under them.

Needs no running network. Public names are imported on first use, so this stays light.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fieldstone.economy.calculator import PaybackInput, Scenario, payback
    from fieldstone.economy.policies import POLICIES, MonetaryPolicy, evaluate

__all__ = ["POLICIES", "MonetaryPolicy", "PaybackInput", "Scenario", "evaluate", "payback"]

_HOME = dict.fromkeys(("POLICIES", "MonetaryPolicy", "evaluate"), "policies")
_HOME |= dict.fromkeys(("PaybackInput", "Scenario", "payback"), "calculator")


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
