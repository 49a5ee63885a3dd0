"""Check a Chia proof of space (construction of 2020, seven tables) in plain Python, without the library that makes plots.

A proof for (plot id, k, challenge) is 64 numbers x of k bits. They are valid when, pair by pair through six levels,
their values match, and the top k bits of the last value are those of the challenge:

    f1(x)        = ChaCha8(plot id)[k·x … k·x + k bits] ‖ top 6 bits of x
    f(y, L, R)   = first k + 6 bits of BLAKE3(y ‖ L ‖ R), of the collated values L, R of the two halves
    y_l, y_r match when their buckets (y // 15113) follow each other and, for an m < 64 and p = parity of the left one,
                   y_r mod 15113 = ((b + m) mod 119)·127 + ((2m + p)² + c) mod 127,  (b, c) = divmod(y_l mod 15113, 127)

Source: Chia Network, "Proof of Space Construction" v1.1, and the reference implementation chiapos (Apache-2.0), whose
proofs are the test vectors.
"""

from __future__ import annotations

import struct

from blake3 import blake3

_EXTRA_BITS = 6
_B, _C = 119, 127
_BC = _B * _C
_COLLATED = (0, 0, 1, 2, 4, 4, 3, 2)  # collated values of a table's entries, in units of k bits
_X_COUNT = 64
_SIGMA = struct.unpack("<4I", b"expand 32-byte k")
_MASK = 0xFFFFFFFF


def is_valid(plot_id: bytes, k: int, challenge: bytes, proof: bytes) -> bool:
    """Tell whether `proof` (8·k bytes) proves that the plot holds an answer to `challenge` (32 bytes). About 3 ms."""
    if len(plot_id) != 32 or len(challenge) != 32 or not 16 <= k <= 50 or len(proof) != _X_COUNT * k // 8:
        return False
    packed = int.from_bytes(proof, "big")
    mask = (1 << k) - 1
    xs = [packed >> (_X_COUNT - 1 - i) * k & mask for i in range(_X_COUNT)]
    stream = _Stream(plot_id)
    values = [(stream.bits(x * k, k) << _EXTRA_BITS | x >> (k - _EXTRA_BITS), x) for x in xs]
    for table in range(2, 8):
        above = []
        for left, right in zip(values[::2], values[1::2], strict=True):
            if not _match(left[0], right[0]):
                return False
            above.append(_combine(table, k, left, right))
        values = above
    top = values[0][0] >> _EXTRA_BITS
    return top == int.from_bytes(challenge, "big") >> (256 - k)


def _match(left: int, right: int) -> bool:
    bucket = left // _BC
    if right // _BC != bucket + 1:
        return False
    b, c = divmod(left % _BC, _C)
    wanted_b, wanted_c = divmod(right % _BC, _C)
    m = (wanted_b - b) % _B
    # b + m is taken modulo 119 and m stays below 64, so at most one m fits
    return m < 64 and ((2 * m + bucket % 2) ** 2 + c) % _C == wanted_c


def _combine(table: int, k: int, left: tuple[int, int], right: tuple[int, int]) -> tuple[int, int]:
    bits = _COLLATED[table] * k
    collated = left[1] << bits | right[1]
    length = k + _EXTRA_BITS + 2 * bits
    padding = -length % 8
    body = (left[0] << 2 * bits | collated) << padding
    digest = int.from_bytes(blake3(body.to_bytes((length + padding) // 8, "big")).digest(), "big")
    y = digest >> (256 - k - _EXTRA_BITS)
    if table < 4:
        return y, collated
    if table == 7:
        return y, 0
    wanted = _COLLATED[table + 1] * k
    return y, digest >> (256 - k - _EXTRA_BITS - wanted) & ((1 << wanted) - 1)


class _Stream:
    """The ChaCha8 key stream of a plot as one long row of bits."""

    def __init__(self, plot_id: bytes) -> None:
        key = b"\x01" + plot_id[:31]
        self._key = struct.unpack("<8I", key)

    def bits(self, start: int, count: int) -> int:
        """Return bits `start` … `start + count` as a number; `count` is below 512."""
        block, offset = divmod(start, 512)
        row = int.from_bytes(self._block(block), "big")
        width = 512
        if offset + count > 512:
            row = row << 512 | int.from_bytes(self._block(block + 1), "big")
            width = 1024
        return row >> (width - offset - count) & ((1 << count) - 1)

    def _block(self, number: int) -> bytes:
        first = [*_SIGMA, *self._key, number & _MASK, number >> 32, 0, 0]
        x = list(first)
        for _ in range(4):
            for a, b, c, d in _ROUND:
                x[a] = (x[a] + x[b]) & _MASK
                t = x[d] ^ x[a]
                x[d] = (t << 16 | t >> 16) & _MASK
                x[c] = (x[c] + x[d]) & _MASK
                t = x[b] ^ x[c]
                x[b] = (t << 12 | t >> 20) & _MASK
                x[a] = (x[a] + x[b]) & _MASK
                t = x[d] ^ x[a]
                x[d] = (t << 8 | t >> 24) & _MASK
                x[c] = (x[c] + x[d]) & _MASK
                t = x[b] ^ x[c]
                x[b] = (t << 7 | t >> 25) & _MASK
        return struct.pack("<16I", *((word + begin) & _MASK for word, begin in zip(x, first, strict=True)))


_ROUND = (
    *((i, 4 + i, 8 + i, 12 + i) for i in range(4)),
    *((i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4) for i in range(4)),
)
