"""What the operator of a disk runs: a share store, its HTTP doors, scrubbing, answers to rounds, proofs of empty space.

    from fieldstone.services.storage.provider import Provider, Settings, Store

Names are imported when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fieldstone.services.storage.provider.store import Store

_HOME = {"Store": "store"}

__all__ = ["Store"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
