"""Worked examples of rule version 1: what happened, and what is paid for it. Each is tested, and shown on the page."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RoundExample:
    """One judged round. `asked` questions were drawn; `released` of the unanswered shares were released in time."""

    title: str
    asked: int
    right: int
    wrong: int
    released: int
    answered: bool
    late_ms: int
    state: str
    weight_ppm: int


ROUNDS: tuple[RoundExample, ...] = (
    RoundExample("Ten questions, ten right chunks", 10, 10, 0, 0, True, 0, "proven", 1_000_000),
    RoundExample("One lost share is left out: nine tenths are paid", 10, 9, 0, 0, True, 0, "proven", 900_000),
    RoundExample("…and excused when its gateway had released it", 10, 9, 0, 1, True, 0, "proven", 1_000_000),
    RoundExample("One made-up chunk: nothing is paid", 10, 9, 1, 0, True, 0, "wrong", 0),
    RoundExample("No answer: nothing is paid, the questions come again", 10, 0, 0, 0, False, 0, "silent", 0),
    RoundExample("An answer five seconds after the deadline is none", 10, 0, 0, 0, False, 5_000, "late", 0),
    RoundExample("An empty answer is an answer: ten failed questions", 10, 0, 0, 0, True, 0, "empty", 0),
    RoundExample("All that was asked about was released meanwhile", 3, 0, 0, 3, False, 0, "proven", 1_000_000),
)


@dataclass(frozen=True, slots=True)
class PayExample:
    """One share of `size_bytes`, leased `leased_s` after the first of rounds `round_s` apart that weigh `weights_ppm`;
    the round before them was judged earlier. `units`: KiB-seconds paid."""

    title: str
    size_bytes: int
    leased_s: int
    released_s: int | None
    round_s: int
    weights_ppm: tuple[int, ...]
    units: int


PAY: tuple[PayExample, ...] = (
    PayExample("1 MiB over two proven half hours", 2**20, 0, None, 1_800, (1_000_000, 1_000_000), 1_024 * 3_600),
    PayExample("…the second not proven", 2**20, 0, None, 1_800, (1_000_000, 0), 1_024 * 1_800),
    PayExample("…leased in the middle of the first", 2**20, 900, None, 1_800, (1_000_000, 1_000_000), 1_024 * 2_700),
    PayExample("…released in the middle of the second", 2**20, 0, 2_700, 1_800, (1_000_000, 1_000_000), 1_024 * 2_700),
    PayExample("…nine tenths of the second proven", 2**20, 0, None, 1_800, (1_000_000, 900_000), 1_024 * 3_420),
    PayExample("1 byte for an hour: 3,600 / 1,024, floored", 1, 0, None, 1_800, (1_000_000, 1_000_000), 3),
)
