"""What the reward linter speaks about: claims, rules as black boxes, findings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from fieldstone.units import PPM

GAIN_TOLERANCE_PPM = 1_000  # gains below 0.1 % are rounding of small amounts


@dataclass(frozen=True, slots=True)
class Claim:
    """What one identity shows: verified `work`, `bought_nano` (10⁻⁹ $ that customers paid for it), its `place`, and how
    many `witnesses` vouch for it."""

    work: int
    bought_nano: int = 0
    place: int = 0
    witnesses: int = 0


Rule = Callable[[Sequence[Claim]], Sequence[int]]
"""Claims of one epoch → rewards beside them, worth 10⁻⁹ $ each."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One weakness. `error` refuses the policy. `gain_ppm`: what the same people get, in ppm of what they got (split,
    merge, collude) or of what they spent (self-deal, above-demand, oracle-lag). `example`: what shows it."""

    check: str
    severity: Literal["error", "warning"]
    message: str
    gain_ppm: int = PPM
    example: dict[str, Any] = field(default_factory=dict)


def plain(claims: Sequence[Claim]) -> list[list[int]]:
    """Return claims as rows of numbers: `Claim(*row)` is the claim again."""
    return [[claim.work, claim.bought_nano, claim.place, claim.witnesses] for claim in claims]


def ratio_ppm(got: int, had: int) -> int:
    """Return got / had in ppm; whoever had nothing is counted as having had one unit."""
    return got * PPM // max(1, had)


def exceeds(got: int, had: int, parts: int) -> bool:
    """Return whether a gain is more than the rounding of `parts` amounts."""
    return got > had + had * GAIN_TOLERANCE_PPM // PPM + 2 * parts
