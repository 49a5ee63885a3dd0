"""Rule version 1 of the sensing service: every limit as data, with unit and source. The reference page is generated.

A reading *vouches* for the time until the device's next reading, at most `hold_s` of its model. All shares are shares
of vouched time in whole milliseconds, so a flood of good readings cannot dilute a bad hour, jitter costs nothing, and
the sums are exact integers. What each check takes away is written in `REASONS`, what a model can do in `models.py`.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from fieldstone.errors import UsageError
from fieldstone.services.sensing.rules.fleet_v1 import PARAMETERS as FLEET_PARAMETERS
from fieldstone.services.sensing.rules.models import MODELS, HardwareModel
from fieldstone.services.sensing.rules.parameter import Parameter
from fieldstone.services.sensing.rules.reasons import REASONS

__all__ = [
    "MODELS",
    "PARAMETERS",
    "REASONS",
    "RULE_VERSION",
    "HardwareModel",
    "Parameter",
    "default_params",
    "fleet_parameters",
    "model_of",
    "with_overrides",
]

RULE_VERSION = 1


OWN = "own choice"

PARAMETERS: dict[str, Parameter] = {
    "default_model": Parameter("generic", "", "model whose limits judge a device of an unlisted model…", OWN),
    "slow_model": Parameter("hourly", "", "…and the one that judges it when it reports more slowly than", OWN),
    "slow_from_s": Parameter(600, "s", "this median interval between its readings", OWN),
    "fleet_step_s": Parameter(300, "s", "slot of the series that the fleet checks compare", OWN),
    "fleet_min_slots": Parameter(180, "slots", "an epoch with fewer slots gets finer ones, down to 60 s", OWN),
    "fleet_max_slots": Parameter(9_000, "slots", "an epoch with more slots gets coarser ones", OWN),
    # clock
    "future_tolerance_s": Parameter(
        120, "s", "a reading may be this far ahead of its receipt", "intake policy default"
    ),
    "clock_offset_min_s": Parameter(900, "s", "smallest delay of all readings above which the clock runs behind", OWN),
    "clock_offset_max_s": Parameter(50_400, "s", "…up to 14 h, the largest time zone; longer means an archive", OWN),
    "clock_offset_severity_ppm": Parameter(100_000, "ppm", "quality lost by a clock that runs behind", OWN),
    "clock_offset_min_rows": Parameter(3, "rows", "readings needed to judge the clock", OWN),
    # spikes
    "median_min_readings": Parameter(
        12, "readings", "a median's window is widened to hold as many at the observed interval", OWN
    ),
    "spike_noisy_ppm": Parameter(200_000, "ppm", "share of jumping intervals above which no median is trusted", OWN),
    # stuck
    "fog_humidity_pct": Parameter(
        95.0, "%", "mean humidity of a run above which constant T and RH are fog", "public QoD rules"
    ),
    "dry_humidity_pct": Parameter(
        85.0, "%", "constant calm counts as a fault only in air drier than this", "public QoD rules"
    ),
    "frozen_c": Parameter(0.0, "°C", "at or below, constant wind channels are frozen, not broken", "public QoD rules"),
    "calm_ms": Parameter(0.5, "m/s", "wind below which a direction means nothing", "WMO-No. 8 calm, 0.5 m/s"),
    "stuck_gap_steps": Parameter(4, "steps", "a hole of more steps (and more than an hour) ends a constant run", OWN),
    "stuck_max_min": Parameter(1440, "min", "longest constant run without an exception's evidence", "public QoD rules"),
    "stuck_min_steps": Parameter(8, "steps", "changes needed to estimate a station's resolution", OWN),
    "stuck_max_stretch": Parameter(
        6.0, "×", "most that a coarse observed resolution may stretch a constant window", OWN
    ),
    # cross-channel
    "pm_tolerance_ugm3": Parameter(
        1.0, "µg/m³", "PM2.5 may exceed PM10 by this and …", "resolution of optical sensors"
    ),
    "pm_tolerance_share": Parameter(0.1, "×", "… by this share of PM10", "resolution of optical sensors"),
    "vapour_pressure_max_hpa": Parameter(
        59.0, "hPa", "more water vapour has never been measured (dew point 35.6 °C)", "record dew point 35 °C"
    ),
    # score
    "required_floor_ppm": Parameter(250_000, "ppm", "factor that a completely dead required channel leaves", OWN),
    "optional_weight_ppm": Parameter(200_000, "ppm", "part of the quality that the optional channels decide", OWN),
    "sent_from_ppm": Parameter(
        50_000, "ppm", "where a model requires nothing, a channel present this much of the time counts as required", OWN
    ),
    "accept_from_ppm": Parameter(900_000, "ppm", "quality and availability from which the verdict is accepted", OWN),
    "reject_below_ppm": Parameter(200_000, "ppm", "quality below which the verdict is rejected", OWN),
    "sell_finding_below_ppm": Parameter(500_000, "ppm", "a finding of this severity takes its variable off sale", OWN),
}


def default_params(rule_version: int = RULE_VERSION) -> dict[str, Any]:
    """Return the parameters as a tree of plain values. Raises UsageError for a rule version that does not exist."""
    if rule_version != RULE_VERSION:
        raise UsageError(f"sensing has no rule version {rule_version}; known: {RULE_VERSION}")
    tree: dict[str, Any] = {name: parameter.value for name, parameter in PARAMETERS.items()}
    tree["rule_version"] = RULE_VERSION
    tree["models"] = {name: model.as_params() for name, model in MODELS.items()}
    tree["fleet"] = {name: parameter.value for name, parameter in FLEET_PARAMETERS.items()}
    return tree


def fleet_parameters() -> dict[str, Parameter]:
    """Return the parameters of the fleet checks, which `default_params` lists under `fleet`."""
    return dict(FLEET_PARAMETERS)


def with_overrides(params: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return `params` with dotted keys (`models.WS1000.hold_s`) or nested tables replaced.

    Raises UsageError for a key that does not exist or a value of another kind. New models and new variables of a
    model may be added under `models.`; a new model starts from the default model's values.
    """
    tree: dict[str, Any] = copy.deepcopy(dict(params))
    for key, value in _dotted(overrides):
        _put(tree, key.split("."), value, key)
    return tree


def _dotted(overrides: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    for key, value in overrides.items():
        if isinstance(value, Mapping):
            pairs += _dotted(value, f"{prefix}{key}.")
        else:
            pairs.append((f"{prefix}{key}", value))
    return pairs


def _put(tree: dict[str, Any], path: list[str], value: Any, key: str) -> None:
    if path[0] == "models" and len(path) > 2 and path[1] not in tree["models"]:
        tree["models"][path[1]] = copy.deepcopy(tree["models"][tree["default_model"]])
    node: Any = tree
    for name in path[:-1]:
        if not isinstance(node, dict) or name not in node:
            raise UsageError(f"parameter {key!r} does not exist in sensing rule version {RULE_VERSION}")
        node = node[name]
    if not isinstance(node, dict) or path[-1] not in node:
        raise UsageError(f"parameter {key!r} does not exist in sensing rule version {RULE_VERSION}")
    old = node[path[-1]]
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if isinstance(old, list):
        fits = isinstance(value, list | tuple) and all(isinstance(item, str) for item in value)
        value = list(value) if fits else value
    elif old is None or isinstance(old, int | float):
        fits = number and value == value and abs(value) != float("inf")
    else:
        fits = isinstance(value, type(old))
    if not fits:
        raise UsageError(f"parameter {key!r} must be a value like {old!r}, not {value!r}")
    node[path[-1]] = value


def model_of(params: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return the parameters of model `name`, or of the default model when it is not listed."""
    models: Mapping[str, Mapping[str, Any]] = params["models"]
    return models.get(name) or models[params["default_model"]]
