"""The monetary policies of real networks by name: `POLICIES["filecoin.simple_reward"](epoch=0)`."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from fieldstone.economy.policies import (
    akash,
    arweave,
    arweave_price,
    demand_first,
    filecoin,
    filecoin_fees,
    filecoin_smoothing,
    helium,
    helium_backstop,
    helium_data,
    helium_density,
    helium_proposals,
    livepeer,
    render,
    render_guidance,
    render_nodes,
)
from fieldstone.economy.policies.contract import Key, Kind, MonetaryPolicy, Output, Source
from fieldstone.errors import UsageError

__all__ = ["POLICIES", "Key", "Kind", "MonetaryPolicy", "Output", "Source", "evaluate", "find"]

_MODULES = (
    filecoin,
    filecoin_fees,
    filecoin_smoothing,
    helium,
    helium_data,
    helium_backstop,
    helium_density,
    helium_proposals,
    render,
    render_nodes,
    render_guidance,
    akash,
    arweave,
    arweave_price,
    livepeer,
    demand_first,
)

POLICIES: dict[str, MonetaryPolicy] = {policy.name: policy for module in _MODULES for policy in module.POLICIES}


def find(name: str) -> MonetaryPolicy:
    """Return the policy of this name. Raises UsageError that names the nearest ones."""
    if name in POLICIES:
        return POLICIES[name]
    near = difflib.get_close_matches(name, POLICIES, n=3, cutoff=0.5)
    hint = f": did you mean {' or '.join(near)}?" if near else "."
    raise UsageError(f"there is no policy {name[:80]!r}{hint} `fieldstone policy list` shows all of them")


def evaluate(name: str, keys: Mapping[str, object]) -> dict[str, Any]:
    """Evaluate a policy by name; keys are texts or numbers. Raises UsageError (with the usage) on any bad key."""
    return find(name)(**dict(keys))
