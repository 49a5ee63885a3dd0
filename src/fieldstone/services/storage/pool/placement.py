"""Which node gets which share of a segment: a weighted draw under caps. Pure: the randomness is an argument.

Nobody gets two shares of a segment on one device. One operator, autonomous system, network prefix or hardware maker gets at most
max(1, ⌊(n − k) / 4⌋), one region at most n − k (reference 2.1, 2.4 of the attacks: who holds k shares can regenerate
all others, and who may lose n − k at once loses nothing). A network too small for that relaxes one cap by one step at
a time, regions first, operators last, and the result says so: a cap is never broken silently.

Weights: free space × score; new nodes (`vetting`) take at most a small part of the shares of a segment.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from fieldstone.errors import Retryable
from fieldstone.services.storage.pool.directory import Node
from fieldstone.services.storage.pool.profile import Profile

GIB = 2**30
VETTING_SHARE = 0.05  # most shares of one segment with nodes under vetting: a twentieth of n, rounded up


@dataclass(frozen=True, slots=True)
class Candidate:
    """A node that may take a share. `score`: 0 … 1 (audits, uptime); `vetting`: too new to be trusted with much."""

    node: Node
    score: float = 1.0
    vetting: bool = False

    @property
    def weight(self) -> float:
        """Free space in GiB (1 when unknown, at most 10,000) times the score squared; 0 when nothing is free."""
        free = self.node.free_bytes
        space = 1.0 if free < 0 else min(free / GIB, 10_000.0)
        return space * self.score**2


@dataclass(frozen=True, slots=True)
class Relaxed:
    """A cap that could not be kept: at most `allowed` shares were let through where `cap` is the rule."""

    name: str
    cap: int
    allowed: int

    def __str__(self) -> str:
        return f"{self.name} {self.allowed} instead of {self.cap}"


@dataclass(frozen=True, slots=True)
class Placement:
    """`nodes[i]` gets share `indexes[i]`; `spares` are further nodes, best first, none of which holds a share of it."""

    indexes: tuple[int, ...]
    nodes: tuple[Node, ...]
    spares: tuple[Node, ...]
    relaxed: tuple[Relaxed, ...]


class TooFewNodes(Retryable):
    """Fewer usable nodes than shares to place. `have` and `need` count them."""

    def __init__(self, have: int, need: int) -> None:
        self.have, self.need = have, need
        super().__init__(
            f"{need} shares need as many storage nodes, {have} can take one now: add nodes, or use a smaller profile"
            if have
            else "no storage node can take a share now: wait for providers that are in reach and have room, or add some"
        )


# The order in which caps are relaxed: what costs least independence first.
_TRAITS: tuple[tuple[str, Callable[[Node], str]], ...] = (
    ("region", lambda node: node.region),
    ("maker", lambda node: node.maker),
    ("prefix", lambda node: node.prefix),
    ("asn", lambda node: node.asn or node.prefix),
    ("operator", lambda node: node.operator),
)


def caps(profile: Profile) -> dict[str, int]:
    """Return the most shares of one segment per trait."""
    wide = max(1, profile.parity)
    return {
        "region": wide,
        "maker": profile.operator_cap,
        "prefix": profile.operator_cap,
        "asn": profile.operator_cap,
        "operator": profile.operator_cap,
    }


def place(
    profile: Profile,
    candidates: Iterable[Candidate],
    *,
    seed: random.Random,
    share_bytes: int = 0,
    indexes: Sequence[int] | None = None,
    holders: Collection[Node] = (),
) -> Placement:
    """Choose nodes for `indexes` (all n when None); `holders` have shares of the segment already and count for the caps.

    Nodes without room for `share_bytes`, on the disk or under the bond, or with score 0 are left out. Raises TooFewNodes when devices run out.
    """
    wanted = tuple(range(profile.n)) if indexes is None else tuple(indexes)
    taken = {node.did for node in holders}
    usable = [c for c in candidates if c.node.did not in taken and c.weight > 0 and has_room(c.node, share_bytes)]
    if len(usable) < len(wanted):
        raise TooFewNodes(len(usable), len(wanted))
    drawn = sorted(usable, key=lambda c: (-math.log(1.0 - seed.random()) / c.weight, c.node.did))
    limits = {**caps(profile), "vetting": max(1, math.ceil(profile.n * VETTING_SHARE))}
    counts = {name: Counter(trait(node) for node in holders) for name, trait in _TRAITS}
    counts["vetting"] = Counter()
    chosen, rest = _draw(drawn, len(wanted), limits, counts)
    for name in ("vetting", *(name for name, _ in _TRAITS)):
        # all that this one cap kept out comes in, as little over the cap as will do; then the next cap
        while len(chosen) < len(wanted) and _would_help(rest, name, counts, limits):
            limits[name] += 1
            more, rest = _draw(rest, len(wanted) - len(chosen), limits, counts)
            chosen += more
    while len(chosen) < len(wanted):  # several caps at once keep the rest out: all of them by one step
        for name in limits:
            limits[name] += 1
        more, rest = _draw(rest, len(wanted) - len(chosen), limits, counts)
        chosen += more
    relaxed = _relaxed(profile, counts)
    spares, _ = _draw(rest, len(rest), limits, {name: Counter(count) for name, count in counts.items()})
    return Placement(wanted, tuple(c.node for c in chosen), tuple(c.node for c in spares), relaxed)


def has_room(node: Node, share_bytes: int) -> bool:
    """Tell whether a share fits on the node's disk and under its operator's bond, as far as either is known."""
    wanted = max(1, share_bytes)
    is_covered = node.bond_room_bytes < 0 or node.bond_room_bytes >= wanted
    return is_covered and (node.free_bytes < 0 or node.free_bytes >= share_bytes)


def _traits(candidate: Candidate) -> list[tuple[str, str]]:
    found = [(name, trait(candidate.node)) for name, trait in _TRAITS]
    return [*found, ("vetting", "new")] if candidate.vetting else found


def _draw(
    drawn: Sequence[Candidate], most: int, limits: Mapping[str, int], counts: Mapping[str, Counter[str]]
) -> tuple[list[Candidate], list[Candidate]]:
    """Take up to `most` in order, none over a limit; count what was taken. Returns taken and left."""
    taken: list[Candidate] = []
    left: list[Candidate] = []
    for candidate in drawn:
        traits = _traits(candidate)
        if len(taken) < most and all(counts[name][value] < limits[name] for name, value in traits):
            taken.append(candidate)
            for name, value in traits:
                counts[name][value] += 1
        else:
            left.append(candidate)
    return taken, left


def _would_help(
    rest: Sequence[Candidate], name: str, counts: Mapping[str, Counter[str]], limits: Mapping[str, int]
) -> bool:
    """Say whether some node is kept out by the cap `name` and by no other."""
    for candidate in rest:
        full = {trait for trait, value in _traits(candidate) if counts[trait][value] >= limits[trait]}
        if full == {name}:
            return True
    return False


def _relaxed(profile: Profile, counts: Mapping[str, Counter[str]]) -> tuple[Relaxed, ...]:
    rules = {**caps(profile), "vetting": max(1, math.ceil(profile.n * VETTING_SHARE))}
    most = {name: max(counts[name].values(), default=0) for name in rules}
    return tuple(Relaxed(name, rules[name], most[name]) for name in rules if most[name] > rules[name])
