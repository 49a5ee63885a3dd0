"""What empty capacity is worth believing: the document of a `space` report, and the pure function that checks it.

A device fills free space with *plots* (Chia's proof of space): files that take hours to make and answer a challenge by a
few reads. Plot i of a device has the id BLAKE3(context ‖ did:key ‖ k ‖ i), so no plot counts for two devices. In a round
with seed s, plot i is asked when BLAKE3(s ‖ did:key ‖ i) mod `every` = 0: neither the device nor anybody else chooses. A
device that holds the plots answers an asked one with probability 1 − 1/e; so

    proven bytes = valid proofs · every · bytes of a plot · e / (e − 1)                                  (expected value)

What a cheat can do, in a round that waits W seconds for answers:
* make plots when they are asked: with a plotting speed of P bytes/s this fakes at most `every` · W · P bytes. A core with
  chiapos does 2.3–3 MB/s: with W = 1,800 s and every = 1 about 5 GB per busy core. A large GPU does about 1.5 GB/s
  (public figures of GPU plotters, not measured here): 2.7 TB per busy GPU, which costs far more than the disks.
* keep compressed plots and rebuild parts by GPU: public plot formats save 20–50 % of the bytes. So a claim of n bytes
  may stand on about n/2 bytes of disk.
Therefore: small `every`, short W, and a small weight for empty space. It shows that a disk is there and free, roughly; it
is never a customer's storage. In terms of q = asked plots and C_gen = seconds to make one: cores needed = q·C_gen / W.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Annotated

import msgspec
from blake3 import blake3

from fieldstone.services.storage.provider.space.chia import is_valid

PLOT_CONTEXT = b"fieldstone/storage/plot/v1\0"
ASK_CONTEXT = b"fieldstone/storage/space/v1\0"
MOST_PLOTS = 1 << 20
LEAST_K, MOST_K = 22, 34

_ODDS_PPM = 632_121  # P(a plot has an answer) = 1 − 1/e


class SpaceProof(msgspec.Struct, array_like=True, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of a `space` report: proofs of plots that round `number` asked. Indices rise, so none counts twice.

    A longer array is refused unread, as in `records`."""

    number: Annotated[int, msgspec.Meta(ge=0)]
    k: Annotated[int, msgspec.Meta(ge=16, le=50)]
    proofs: tuple[tuple[Annotated[int, msgspec.Meta(ge=0, lt=MOST_PLOTS)], bytes], ...]


@dataclass(frozen=True, slots=True)
class SpaceVerdict:
    """`proven_bytes`: expected value of the empty capacity behind the valid proofs; `wrong`: proofs that are not."""

    valid: int
    wrong: int
    proven_bytes: int


def plot_id(device: str, k: int, index: int) -> bytes:
    """Return the id of plot `index` of a device."""
    return blake3(PLOT_CONTEXT + struct.pack("<BI", k, index) + device.encode()).digest()


def question(device: str, seed: bytes, index: int, every: int) -> bytes | None:
    """Return the challenge (32 bytes) that a round's seed has for a plot; None: it is not asked."""
    drawn = blake3(ASK_CONTEXT + seed + struct.pack("<I", index) + device.encode()).digest(length=40)
    return drawn[:32] if int.from_bytes(drawn[32:], "little") % every == 0 else None


def plot_bytes(k: int) -> int:
    """Return the usual size of a plot: 0.762 · (2k + 1) · 2^(k−1) bytes (chiapos: k = 20 measured 16.3 MB)."""
    return 762 * (2 * k + 1) * (1 << (k - 1)) // 1_000


def read(body: bytes) -> SpaceProof:
    """Read a document. Raises msgspec.DecodeError."""
    return msgspec.msgpack.decode(body, type=SpaceProof)


def verify_space(
    device: str,
    proof: SpaceProof,
    number: int,
    seed: bytes,
    *,
    every: int = 1,
    least_k: int = LEAST_K,
    most_proofs: int = 4_096,
) -> SpaceVerdict:
    """Check a device's answer to the round `number` with `seed`. Pure; about 3 ms a proof.

    Wrong are: another round's answer, a k that the rules do not take, an index out of order or not asked, an invalid
    proof. Proofs after `most_proofs` do not count.
    """
    if proof.number != number or not least_k <= proof.k <= MOST_K:
        return SpaceVerdict(0, len(proof.proofs), 0)
    valid = wrong = 0
    last = -1
    for index, answer in proof.proofs[:most_proofs]:
        challenge = question(device, seed, index, every)
        if (
            index <= last
            or challenge is None
            or not is_valid(plot_id(device, proof.k, index), proof.k, challenge, answer)
        ):
            wrong += 1
        else:
            valid += 1
            last = index
    return SpaceVerdict(valid, wrong, valid * every * plot_bytes(proof.k) * 1_000_000 // _ODDS_PPM)
