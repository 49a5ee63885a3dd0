"""Random fields in space and time as sums of travelling waves.

A component with length L and life τ is a sum of cosines whose wave numbers are normal with deviation 1/L, which gives
the Gaussian correlation exp(−d²/2L²); the sum moves with the steering wind and also changes in place over τ. Because
cos(a − b) = cos a cos b + sin a sin b, a whole fleet over a whole day is one matrix product.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fieldstone.services.sensing.lab_noise import stream

Floats = NDArray[np.float64]

EARTH_KM = 6371.0
_KEPT_TIME_BASES = 8  # a day of minutes is 35 MB


@dataclass(frozen=True, slots=True)
class Component:
    """One scale of one field: standard deviation in the field's unit, length in km, life in s (inf: never changes)."""

    field: str
    sd: float
    length_km: float
    life_s: float
    modes: int = 64


def sphere_km(lat: Floats, lon: Floats) -> Floats:
    """Return positions on the sphere as an (N, 3) array in km."""
    phi, lam = np.radians(lat), np.radians(lon)
    return EARTH_KM * np.stack([np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)], axis=-1)


class Fields:
    """A set of components evaluated together; `steering_kms` is the velocity that carries them, km/s in 3-D."""

    def __init__(self, seed: int, components: Sequence[Component], steering_kms: Floats) -> None:
        self.components = tuple(components)
        waves, turns, phases, bounds = [], [], [], [0]
        for number, part in enumerate(self.components):
            rng = np.random.default_rng(stream(seed, "field", number, part.field))
            k = rng.standard_normal((part.modes, 3)) / part.length_km
            still = not np.isfinite(part.life_s)
            waves.append(k)
            turns.append(
                np.zeros(part.modes) if still else k @ steering_kms + rng.standard_normal(part.modes) / part.life_s
            )
            phases.append(rng.uniform(0, 2 * np.pi, part.modes))
            bounds.append(bounds[-1] + part.modes)
        self._waves = np.concatenate(waves)
        self._turns = np.concatenate(turns)
        self._phases = np.concatenate(phases)
        self._bounds = bounds
        self._time_bases: OrderedDict[bytes, tuple[Floats, Floats]] = OrderedDict()

    def _time_basis(self, t_s: Floats) -> tuple[Floats, Floats]:
        key = t_s.tobytes()
        found = self._time_bases.get(key)
        if found is None:
            angle = np.outer(self._turns, t_s)
            found = (np.cos(angle), np.sin(angle))
            self._time_bases[key] = found
            if len(self._time_bases) > _KEPT_TIME_BASES:
                self._time_bases.popitem(last=False)
        else:
            self._time_bases.move_to_end(key)
        return found

    def evaluate(self, places_km: Floats, t_s: Floats, smallest_km: float = 0.0) -> dict[str, Floats]:
        """Return field name → (places, times). Components shorter than `smallest_km` are left out (a coarse model)."""
        if t_s.size == 0:
            return {part.field: np.zeros((places_km.shape[0], 0)) for part in self.components}
        cos_t, sin_t = self._time_basis(t_s - t_s[0])  # stations on one grid share it, whatever their phase
        angle = places_km @ self._waves.T + self._phases - self._turns * t_s[0]
        cos_x, sin_x = np.cos(angle), np.sin(angle)
        shape = (places_km.shape[0], t_s.size)
        out: dict[str, Floats] = {part.field: np.zeros(shape) for part in self.components}
        for number, part in enumerate(self.components):
            if part.length_km < smallest_km and np.isfinite(part.life_s):
                continue
            cut = slice(self._bounds[number], self._bounds[number + 1])
            waves = cos_x[:, cut] @ cos_t[cut] + sin_x[:, cut] @ sin_t[cut]
            out[part.field] += part.sd * np.sqrt(2 / part.modes) * waves
        return out
