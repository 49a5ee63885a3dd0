"""What runs beside a device: sign, number, keep offline, deliver, keep the receipts.

    from fieldstone.agent import Agent, Buffer, HttpTransport, Reading

Names are imported when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fieldstone.agent.agent import Agent, Flushed
    from fieldstone.agent.buffer import Buffer, Reading
    from fieldstone.agent.transport import HttpTransport, NetworkInfo, Result, Transport

_HOME = {
    "Agent": "agent",
    "Buffer": "buffer",
    "Flushed": "agent",
    "HttpTransport": "transport",
    "NetworkInfo": "transport",
    "Reading": "buffer",
    "Result": "transport",
    "Transport": "transport",
}

__all__ = ["Agent", "Buffer", "Flushed", "HttpTransport", "NetworkInfo", "Reading", "Result", "Transport"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
