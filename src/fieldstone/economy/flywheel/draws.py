"""Random numbers by address: (seed, run, channel, step) → one number, whatever else is drawn.

Philox4x32-10 (Salmon, Moraes, Dror, Shaw: Parallel Random Numbers: As Easy as 1, 2, 3, SC 2011) with the counter
(step, run, channel, 0) and the seed as key. Two policies under one seed therefore see the same weather (common random
numbers), a further channel shifts no other, and runs may be computed in any order on any number of threads.
"""

from __future__ import annotations

import math

# append only: a channel's number is its stream
DEMAND, PRICE, JUMP, JUMP_SIZE, UPTIME = range(5)
CHANNELS = ("demand", "price", "jump", "jump_size", "uptime")

MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10
_MASK = 0xFFFFFFFF

Block = tuple[int, int, int, int]


def philox(counter: Block, key: tuple[int, int]) -> Block:
    """Return the four 32-bit words of one counter."""
    a, b, c, d = counter
    k, m = key
    for _ in range(ROUNDS):
        first, second = MULTIPLIERS[0] * a, MULTIPLIERS[1] * c
        a, b, c, d = (second >> 32) ^ b ^ k, second & _MASK, (first >> 32) ^ d ^ m, first & _MASK
        k, m = (k + WEYL[0]) & _MASK, (m + WEYL[1]) & _MASK
    return a, b, c, d


def key_of(seed: int) -> tuple[int, int]:
    """Return the key of a seed in [0, 2⁶⁴)."""
    return seed & _MASK, seed >> 32 & _MASK


def uniform(seed: int, run: int, channel: int, step: int) -> float:
    """Return the number in (0, 1] of this address."""
    a, b, _, _ = philox((step, run, channel, 0), key_of(seed))
    return ((a >> 5) * 67_108_864 + (b >> 6) + 0.5) / 9_007_199_254_740_992


def normal(seed: int, run: int, channel: int, step: int) -> float:
    """Return the standard normal number of this address (Box and Muller 1958)."""
    a, b, c, d = philox((step, run, channel, 0), key_of(seed))
    first = ((a >> 5) * 67_108_864 + (b >> 6) + 0.5) / 9_007_199_254_740_992
    second = ((c >> 5) * 67_108_864 + (d >> 6) + 0.5) / 9_007_199_254_740_992
    return math.sqrt(-2 * math.log(first)) * math.cos(2 * math.pi * second)
