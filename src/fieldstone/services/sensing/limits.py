"""Limits of the models as arrays with one entry per device, so that a check needs no look-up per row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fieldstone.services.sensing.rules.v1 import model_of
from fieldstone.services.sensing.schema import VARIABLE_NAMES

Floats = NDArray[np.float64]


class Limits:
    """The limits that apply to a list of devices. `channel` gives one number per device; NaN switches a check off."""

    def __init__(self, models: Sequence[str], params: Mapping[str, Any]) -> None:
        listed = params["models"]
        self.params = params
        self.names = [name if name in listed else str(params["default_model"]) for name in models]
        self._kinds = sorted(set(self.names))
        place = {name: number for number, name in enumerate(self._kinds)}
        self._kind_of = np.array([place[name] for name in self.names], dtype=np.int64)

    def model(self, field: str) -> Floats:
        """Return a number of the model (`step_s`, `hold_s`, …) per device."""
        return self._spread([float(model_of(self.params, kind)[field]) for kind in self._kinds])

    def channel(self, variable: str, field: str) -> Floats:
        """Return a limit of one channel per device; NaN where the model has none."""
        found = []
        for kind in self._kinds:
            value = model_of(self.params, kind)["variables"].get(variable, {}).get(field)
            found.append(np.nan if value is None else float(value))
        return self._spread(found)

    def required(self) -> NDArray[np.bool_]:
        """Return which channels each device's model requires: (devices, variables)."""
        table = np.array(
            [[name in model_of(self.params, kind)["required"] for name in VARIABLE_NAMES] for kind in self._kinds],
            dtype=np.bool_,
        ).reshape(len(self._kinds), len(VARIABLE_NAMES))
        return table[self._kind_of] if len(self._kind_of) else np.zeros((0, len(VARIABLE_NAMES)), dtype=np.bool_)

    def _spread(self, per_kind: list[float]) -> Floats:
        return np.array(per_kind, dtype=np.float64)[self._kind_of]


def per_row(per_device: Floats, device: NDArray[np.int32]) -> Floats | np.float64:
    """Spread a limit over rows; a single number when all devices share it, which spares the copy."""
    if len(per_device) and (per_device == per_device[0]).all():
        return np.float64(per_device[0])
    return per_device[device]
