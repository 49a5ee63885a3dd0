"""Whom a gateway asks at the same moment in a round: two providers that may share a disk, and a third as control.

In about every `live_every_rounds`-th round, by the round's public seed. The first is whose name hashes lowest among the
providers that the gateway pays; the second the lowest of those near it (same network prefix, or the same 10° field),
else of all; the third the lowest of those that are not near it, else of the rest. Who was seen with whom follows from
public data; an accomplice cannot avoid being asked, only refuse, which is a failed challenge and no accusation.

Each answers `live_questions` chunks of the gateway's shares alone, one after the other, and other chunks all at once. Then
the same with as many chunks that lie side by side in one share: answers as long for the line, and one seek for the disk.
"""

from __future__ import annotations

from collections.abc import Mapping

from blake3 import blake3

from fieldstone.services.storage.challenge_draw import draw

__all__ = ["ALONE", "BESIDE_ALONE", "BESIDE_TOGETHER", "PHASES", "TOGETHER", "challenge_seed", "group", "questions"]

GROUP_CONTEXT = b"fieldstone/storage/live-group/v1\0"
SEED_CONTEXT = b"fieldstone/storage/live-seed/v1\0"
ALONE, TOGETHER = b"alone", b"together"
BESIDE_ALONE, BESIDE_TOGETHER = b"beside, alone", b"beside, together"
PHASES = (ALONE, TOGETHER, BESIDE_ALONE, BESIDE_TOGETHER)


def group(seed: bytes, gateway: str, places: Mapping[str, tuple[str, str]], every: int) -> tuple[str, str, str] | None:
    """Return (first, second, control), None in most rounds and for fewer than three providers.

    `places`: provider → (network prefix, field) of those that the gateway pays.
    """
    if len(places) < 3 or draw(GROUP_CONTEXT, seed, gateway, 1, every) != [0]:
        return None
    order = sorted(
        places,
        key=lambda device: (blake3(GROUP_CONTEXT + seed + gateway.encode() + b"\0" + device.encode()).digest(), device),
    )
    first, rest = order[0], order[1:]
    near = [one for one in rest if _is_near(places[first], places[one])]
    second = (near or rest)[0]
    far = [one for one in rest if one != second and one not in near]
    return first, second, (far or [one for one in rest if one != second])[0]


def _is_near(one: tuple[str, str], other: tuple[str, str]) -> bool:
    return one[0] == other[0] or one[1] == other[1]


def challenge_seed(seed: bytes, gateway: str, provider: str, phase: bytes) -> bytes:
    """Return the seed of one challenge: it binds the provider's answer to round, gateway and phase."""
    return blake3(SEED_CONTEXT + seed + phase + b"\0" + gateway.encode() + b"\0" + provider.encode()).digest()


def questions(seed: bytes, provider: str, size_bytes: int, count: int) -> list[int]:
    """Return which of a gateway's bytes on a provider, numbered through, a challenge of `seed` asks for, in their chunks."""
    return draw(SEED_CONTEXT, seed, provider, count, size_bytes)
