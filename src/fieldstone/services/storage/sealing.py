"""The sealing profile: bytes masked so that holding a *copy* costs what storing it costs. Optional, and why.

    sealed = chunk ⊕ mask(device, share, chunk number)      mask: Argon2d, memory-hard, one per 256 KiB chunk

A buyer who insists on full replicas (the same bytes at several providers) cannot rely on different shares. Sealed, each
provider's bytes differ, and one who keeps a single unsealed copy must make masks anew at every challenge. That binds
only by the deadline W of a live challenge:

    q · C_gen / W  >  cores that a cheat would keep idle,        while an honest disk needs  q · t_read ≪ W

Money never binds: audits are rare, so regenerating a hundred masks a day costs core-minutes a month, far below a
terabyte of disk. And sealing proves nothing about *where* the bytes are: fetching sealed bytes from a friend is faster
than making them. Limits are printed with every figure (`binding`), and `attack` plays the cheat.

Not shipped: chained AES-CBC ("slow seal, fast read") has a time-memory trade-off, checkpoints of 25 % rebuild a chunk in
50 µs (reference 2.8); proof of replication needs hours and a GPU.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fieldstone.errors import EnvironmentProblem, UsageError

__all__ = ["CHUNK_BYTES", "Attack", "Binding", "attack", "binding", "mask", "seal", "unseal"]

CHUNK_BYTES = 262_144
CONTEXT = b"fieldstone/storage/seal/v1\0"
MEMORY_KIB = 65_536  # 64 MiB: 78 ms measured on one core of a server of 2020


@dataclass(frozen=True, slots=True)
class Binding:
    """Whether a live challenge of `questions` leaves within `window_ms` binds a cheat of `cheat_cores` cores."""

    cores_needed: float
    honest_ms: float
    binds: bool
    honest_in_time: bool


def mask(device: str, share: bytes, chunk: int, *, size: int = CHUNK_BYTES, memory_kib: int = MEMORY_KIB) -> bytes:
    """Return the mask of one chunk. Raises EnvironmentProblem when argon2-cffi is not installed."""
    try:
        from argon2.low_level import Type, hash_secret_raw
    except ImportError:
        raise EnvironmentProblem("sealing needs argon2-cffi: pip install argon2-cffi") from None
    if chunk < 0 or not 4 <= size <= CHUNK_BYTES:
        raise UsageError(f"no mask of {size} bytes for chunk {chunk}")
    secret = CONTEXT + device.encode() + b"\0" + share
    # always the whole chunk's mask: a mask cut short must not be cheaper, nor another mask
    whole = hash_secret_raw(
        secret,
        CONTEXT + chunk.to_bytes(8, "big"),
        time_cost=1,
        memory_cost=memory_kib,
        parallelism=1,
        hash_len=CHUNK_BYTES,
        type=Type.D,
    )
    return whole[:size]


def seal(data: bytes, device: str, share: bytes, *, memory_kib: int = MEMORY_KIB) -> bytes:
    """Return `data` sealed for one device and share. Its own inverse; the audit tree is built over sealed bytes."""
    sealed = bytearray(len(data))
    for chunk, start in enumerate(range(0, len(data), CHUNK_BYTES)):
        piece = np.frombuffer(data, np.uint8, min(CHUNK_BYTES, len(data) - start), start)
        key = mask(device, share, chunk, size=max(4, piece.size), memory_kib=memory_kib)
        sealed[start : start + piece.size] = np.bitwise_xor(piece, np.frombuffer(key, np.uint8, piece.size)).tobytes()
    return bytes(sealed)


def unseal(data: bytes, device: str, share: bytes, *, memory_kib: int = MEMORY_KIB) -> bytes:
    """Return the bytes that `seal` got."""
    return seal(data, device, share, memory_kib=memory_kib)


def binding(
    questions: int, window_ms: float, *, mask_ms: float, read_ms: float, cheat_cores: float, spindles: int = 1
) -> Binding:
    """Return what a challenge demands of a cheat without the sealed bytes, and of an honest disk."""
    if questions < 1 or window_ms <= 0 or mask_ms <= 0 or read_ms <= 0:
        raise UsageError(f"no binding for {questions} questions in {window_ms} ms")
    cores = questions * mask_ms / window_ms
    honest = questions * read_ms / spindles
    return Binding(round(cores, 3), honest, cores > cheat_cores, honest <= window_ms)


@dataclass(frozen=True, slots=True)
class Attack:
    """A cheat who keeps `kept` of the sealed bytes and makes the rest anew: how often it answers in time."""

    in_time: float
    median_ms: float
    core_minutes_per_month: float
    trials: int
    seed: int


def attack(
    questions: int,
    window_ms: float,
    *,
    mask_ms: float,
    read_ms: float,
    cores: int,
    kept: float,
    challenges_per_day: float = 48.0,
    trials: int = 2_000,
    seed: int = 1,
) -> Attack:
    """Play a cheat who answers what it kept from disk while `cores` make the missing masks.

    How many questions miss is binomial; each mask takes `mask_ms` ± 10 %. Pipelining is perfect: the cheat's best case.
    """
    dice = np.random.default_rng(seed)
    missing = dice.binomial(questions, 1 - kept, trials)
    making = missing * mask_ms * dice.normal(1.0, 0.1, trials).clip(0.7, 1.3) / cores
    took = np.maximum(making, (questions - missing) * read_ms)
    minutes = float(missing.mean()) * mask_ms / 60_000 * challenges_per_day * 30
    return Attack(float((took <= window_ms).mean()), float(np.median(took)), round(minutes, 2), trials, seed)
