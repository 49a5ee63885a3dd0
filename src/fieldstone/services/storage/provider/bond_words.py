"""How much of what a provider rents out its bond covers, in words for the operator who starts it.

    covered = (staked for this device + an even part of what is staked for all the operator's devices) / asked per TiB

It is what will count from the next epoch on; what counts now, and what of it is in use, the network's directory says
(`bond_room`). Gateways place nothing above the cover, and what is held above it earns no bootstrap.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fieldstone.services.storage.schema import GIB, SERVICE
from fieldstone.units import TOKEN_BASE, format_token

_TIB = 2**40
_CENT = TOKEN_BASE // 10_000  # tokens are shown with four digits; what is asked for is rounded up to them


def bond_words(
    told: Mapping[str, Any], listed: Sequence[Mapping[str, Any]], device: str, capacity_bytes: int
) -> Iterator[str]:
    """Yield what to say about the bond of `device`; nothing where the network asks for none.

    `told`: the node's answer to `/v1/bonds/{operator}`; `listed`: the devices of its directory. Raises KeyError, TypeError
    or ValueError when they are something else.
    """
    rule = told["services"].get(SERVICE)
    if rule is None:
        return
    per_tib, staked, owner = int(rule["per_unit_base"]), told["staked_base"], str(told["operator"]).lower()
    mine = {one["device"]: one for one in listed if str(one.get("operator")).lower() == owner}
    own, shared = int(staked.get(device, 0)), int(staked.get("", 0))
    base = own + shared // len({*mine, device})
    covered, needed = base * _TIB // per_tib, -(-capacity_bytes * per_tib // _TIB)
    yield (
        f"{format_token(per_tib)} tokens per TiB are asked for; {format_token(own)} are staked for this device and "
        f"{format_token(shared)} for all of its operator's: {_size(covered)} of {_size(capacity_bytes)} are covered"
    )
    counted = mine.get(device, {})
    if "bond_room_bytes" in counted:
        held, room = int(counted["bond_held_bytes"]), int(counted["bond_room_bytes"])
        yield f"in this epoch room for {_size(room)} more is counted beside {_size(held)} in use"
    if told.get("problem"):
        yield f"the network could not read the bonds: {told['problem']}"
    if needed > base:
        tokens = format_token(-(-(needed - base) // _CENT) * _CENT).replace(",", "").rstrip("0").rstrip(".")
        yield (
            "too little: gateways place nothing above the cover, and nothing above it earns bootstrap. To cover all of it:\n"
            f"         fieldstone bond add {tokens} --reference NAME --device {device} --wallet FILE\n"
            "         it counts from the next epoch on; or rent out less with --capacity"
        )


def _size(count: int) -> str:
    return f"{count / GIB:,.2f} GiB"
