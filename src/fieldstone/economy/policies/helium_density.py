"""Helium's density scale: a crowded hexagon earns a capped total, so that clones in it dilute each other.

Rule (HIP-17, parameters changed by HIP-104), from fine to coarse H3 resolutions:
    unclipped(cell) = devices in it (finest level) or Σ clipped(children)
    occupied(cell)  = how many of the cell and its six neighbours hold at least `target`
    limit(cell)     = min(max, target · max(1, occupied − N + 1))
    clipped(cell)   = min(unclipped, limit)
    scale(device)   = Π over its parents of clipped / unclipped
Reason: density is allowed only where the surroundings are served too. All cells of a level are counted before any of
them is clipped, so the result depends on no order (upstream walks a hash map).
Invariants: `order_does_not_matter`, `a_cell_never_counts_above_its_maximum`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from fractions import Fraction
from math import prod
from typing import Any

from fieldstone.economy.policies.contract import Key, Kind, MonetaryPolicy, Output, Source, choice
from fieldstone.errors import UsageError

# resolution → (N, target, max)
_FINE = {11: (2, 1, 1), 12: (2, 1, 1), 13: (2, 1, 1)}
LIMITS: dict[str, dict[int, tuple[int, int, int]]] = {
    "hip104": {
        4: (2, 500, 1000),
        5: (4, 100, 200),
        6: (4, 25, 50),
        7: (4, 5, 10),
        8: (2, 1, 1),
        9: (2, 1, 1),
        10: (2, 1, 1),
    }
    | _FINE,
    "hip17": {
        4: (1, 250, 800),
        5: (1, 100, 400),
        6: (1, 25, 100),
        7: (2, 5, 20),
        8: (2, 1, 4),
        9: (2, 1, 2),
        10: (2, 1, 1),
    }
    | _FINE,
}
COARSEST, FINEST = 4, 13
MOST_DEVICES = 10**12
_CELL = re.compile(r"[0-9a-f]{15}")


def density_scales(devices: Mapping[str, int], rule: str = "hip104") -> dict[str, Fraction]:
    """Return the exact reward scale of a device in each of these H3 cells (all of one resolution, 4 to 13).

    Raises UsageError for a text that is no cell or for mixed resolutions.
    """
    import h3 as untyped

    h3: Any = untyped
    resolutions = set()
    for cell in devices:
        # by its letters first: the library raises on a negative or too large number
        if not _CELL.fullmatch(cell) or not h3.is_valid_cell(cell):
            raise UsageError(f"{cell[:40]!r} is not an H3 cell")
        resolutions.add(h3.get_resolution(cell))
    if len(resolutions) != 1 or not COARSEST <= min(resolutions) <= FINEST:
        raise UsageError(f"all cells must have one resolution from {COARSEST} to {FINEST}, not {sorted(resolutions)}")
    finest = resolutions.pop()
    ratios: dict[str, Fraction] = {}
    level: dict[str, int] = dict(devices)
    for resolution in range(finest, COARSEST - 1, -1):
        needed, target, most = LIMITS[rule][resolution]
        clipped = {}
        for cell, count in level.items():
            occupied = sum(level.get(near, 0) >= target for near in h3.grid_disk(cell, 1))
            limit = min(most, target * max(1, occupied - needed + 1))
            clipped[cell] = min(count, limit)
            ratios[cell] = Fraction(clipped[cell], count) if count else Fraction(1)
        parents: dict[str, int] = defaultdict(int)
        if resolution > COARSEST:
            for cell, count in clipped.items():
                parents[h3.cell_to_parent(cell, resolution - 1)] += count
        level = dict(parents)
    chain = range(finest, COARSEST - 1, -1)
    return {cell: prod((ratios[h3.cell_to_parent(cell, r)] for r in chain), start=Fraction(1)) for cell in devices}


def _density(devices: tuple[tuple[str, int], ...], rule: str) -> Mapping[str, Any]:
    counts: dict[str, int] = defaultdict(int)
    for cell, count in devices:
        counts[cell] += count
    scales = density_scales(counts, rule)
    total = sum((scales[cell] * count for cell, count in counts.items()), start=Fraction(0))
    return {
        "scale": {cell: float(scales[cell]) for cell in sorted(scales)},
        "mean_scale": float(total / sum(counts.values())) if sum(counts.values()) else 1.0,
        "units": float(total),
    }


def _transmit_scale(ratios: tuple[Fraction, ...]) -> Mapping[str, Any]:
    return {"scale": float(prod(ratios, start=Fraction(1)))}


_SOURCE = Source(
    "HIP 17 and HIP 104", "helium/HIP, 0017-hex-density-based-transmit-reward-scaling.md; 0104, parameters"
)

POLICIES = (
    MonetaryPolicy(
        name="helium.density",
        summary="Reward scale of devices by how crowded their hexagons are.",
        function=_density,
        keys=(
            Key(
                name="devices",
                kind=Kind.CELLS,
                unit="H3 cell[:count]",
                doc="where devices stand, separated by commas; cells of one resolution, 4 to 13",
                minimum=1,
                maximum=MOST_DEVICES,
            ),
            choice("rule", "parameters: since 2024, or the original ones", ("hip104", "hip17")),
        ),
        outputs=(
            Output("scale", "1 by cell", "what one device in the cell is scaled by"),
            Output("mean_scale", "1", "mean over all devices"),
            Output("units", "reward units", "devices times scale, in all"),
        ),
        rounding="exact ratios, printed as floats; the network rounds its scale to four digits",
        exact=False,
        example={"devices": "8c2a1072b59a1ff:4,8c2a1072b59b1ff"},
        source=_SOURCE,
    ),
    MonetaryPolicy(
        name="helium.density_product",
        summary="Reward scale from a device's clipped/unclipped ratios, one per parent hexagon.",
        function=_transmit_scale,
        keys=(
            Key(
                name="ratios",
                kind=Kind.FRACTIONS,
                unit="clipped/unclipped",
                doc="one ratio per level, separated by commas; levels left out count as 1",
                maximum=1,
            ),
        ),
        outputs=(Output("scale", "1", "their product"),),
        rounding="none",
        exact=False,
        example={"ratios": "4/61,27/27,49/106"},
        source=_SOURCE,
    ),
)
