"""What an operator's bonds cover, in units of capacity: as a node tells it, and as lines for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def told_of(node: str, owner: str) -> dict[str, Any]:
    """Return a node's answer about an operator's bonds; {} where its network asks for none. Raises Retryable, CheckFailed."""
    from fieldstone.cli.node_client import node_client
    from fieldstone.epoch.fetch import get

    with node_client(node, timeout_s=30.0) as client:
        found: dict[str, Any] = get(client, f"/v1/bonds/{owner}").json()
    return found if found["services"] else {}


def cover_lines(told: Mapping[str, Any], device: str = "") -> Iterator[str]:
    """Yield a line for each service and device: how much the newest epoch needed and had covered, and what the tokens that are
    staked now would cover."""
    from fieldstone.rewards.bonded import capacity_text
    from fieldstone.units import format_token

    if not told:
        return
    for name, rule in told["services"].items():
        per_unit = int(rule["per_unit_base"])
        staked = sum(int(amount) for key, amount in told["staked_base"].items() if not device or key == device)
        yield (
            f"covers     {capacity_text(staked, per_unit)} {rule['unit']} of {name}, at {format_token(per_unit)} tokens "
            "each; counted from the next epoch on"
        )
    for one in told["devices"]:
        if not device or one["device"] == device:
            per_unit = int(one["per_unit_base"])
            covered, needed = (capacity_text(int(one[name]), per_unit) for name in ("covered_base", "needed_base"))
            yield f"epoch {told['epoch']:<4} {one['device']}: {covered} of {needed} {one['unit']} covered"
    if told["problem"]:
        yield f"problem    {told['problem']}"
