"""The doors: the only layer that sees a socket of a device. Names are imported when they are first used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fieldstone.intake.broker import embedded_broker
    from fieldstone.intake.http import routes
    from fieldstone.intake.lane import lane
    from fieldstone.intake.metrics import IntakeMetrics
    from fieldstone.intake.mqtt import MqttDoor
    from fieldstone.intake.pipeline import Intake

_HOME = {
    "Intake": "pipeline",
    "IntakeMetrics": "metrics",
    "MqttDoor": "mqtt",
    "embedded_broker": "broker",
    "lane": "lane",
    "routes": "http",
}

__all__ = ["Intake", "IntakeMetrics", "MqttDoor", "embedded_broker", "lane", "routes"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
