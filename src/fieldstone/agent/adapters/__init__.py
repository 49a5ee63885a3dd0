"""Adapters: unsigned protocols of real stations, turned into readings of the network's columns and units.

A station speaks to the agent on the local network; the agent signs. What arrives that way is only as trustworthy as
that local network, so adapters never pass on an identity that the station claims, and secrets never reach a log.

To add one, write a class with the members of `form.Adapter` in a file of its own and enter it in `ADAPTERS`.
"""

from __future__ import annotations

from collections.abc import Callable

from fieldstone.agent.adapters.ecowitt import Ecowitt
from fieldstone.agent.adapters.form import Adapter, Parsed, redact
from fieldstone.agent.adapters.wunderground import WeatherUnderground

__all__ = ["ADAPTERS", "Adapter", "Ecowitt", "Parsed", "WeatherUnderground", "redact"]

ADAPTERS: dict[str, Callable[[], Adapter]] = {"ecowitt": Ecowitt, "wunderground": WeatherUnderground}
