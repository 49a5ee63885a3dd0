"""Test reads by independent checkers: who reads what from whom, and what the majority says.

In about every `check_every_rounds`-th round one leaf of a device is read by a committee. Both are drawn from the round's
seed. A seat goes to whoever proved a KiB-second drawn from all that were proven for customers in the epoch before:
identities are free, and so are leases between two devices of one owner; proven bytes are not, so an attacker's chance of
a seat is his share of them, however many names he gives himself. His own gateways' data, copies and what a suspended
device holds give no seat. (In a network's first epoch nothing was proven yet: seats are drawn by leaves held.) Every
operator has one seat at most, the device's own operator none. Nobody chooses, and the device cannot ask who.

The read itself is an ordinary signed order for ordinary bytes. What is read by whom follows from public data, so a
device that works it out can tell a test by its leaf: `secret_reads` are what it cannot tell. The verdict of a committee
is the weighted majority of the reports that came in time; a tie, or fewer than `committee_quorum` reports, decides nothing. A good report carries
the hash of the leaf. The device has to prove a chunk of that leaf in the next round, and with it the hash, so an "ok" for other bytes is "wrong"
whoever says it; where no proof came, reports that say "ok" but name different bytes do not agree. Who contradicts a majority weighs less
in later committees; weights start equal and fade back with agreement.

P(a majority of bad checkers) at a share c of bad bytes (5 seats): c = 10 % → 0.86 %, c = 30 % → 16.3 % (reference 2.9).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fieldstone.errors import Rejected
from fieldstone.services.contract import EpochInput
from fieldstone.services.storage import records
from fieldstone.services.storage.challenge import Posed, draw, leaf_to_read
from fieldstone.services.storage.schema import CHECK
from fieldstone.services.storage.shelf import Shelf

__all__ = ["READ_SCHEMA", "Committees", "Finding", "Task", "decide", "reports"]

SEAT_CONTEXT = b"fieldstone/storage/check-seats/v1\0"
_DRAWS_PER_SEAT = 32

# Reports of test reads that rounds not yet judged assigned.
READ_SCHEMA: dict[str, pl.DataType] = {
    "checker": pl.String(),
    "number": pl.Int64(),
    "provider": pl.String(),
    "share": pl.Binary(),
    "leaf_index": pl.Int64(),
    "outcome": pl.String(),
    "total_ms": pl.Int64(),
    "answer": pl.Binary(),
    "received_ms": pl.Int64(),
    "in_secret": pl.Boolean(),  # a gateway's, judged by `secret_reads`
}


@dataclass(frozen=True, slots=True)
class Task:
    """One leaf of one device, and who reads it."""

    number: int
    provider: str
    share: bytes
    leaf_index: int
    checkers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Finding:
    """What a committee found. `good` is None when it could not decide. `dissent`, `agree`: checkers; `silent`: no report."""

    task: Task
    good: bool | None
    outcome: str
    agree: tuple[str, ...]
    dissent: tuple[str, ...]
    silent: tuple[str, ...]


class Committees:
    """Draws the test reads of a round among the holdings of all devices."""

    def __init__(self, shelves: Sequence[Shelf], operators: Mapping[str, str], params: Mapping[str, Any]) -> None:
        self._shelves = [shelf for shelf in shelves if shelf.device in operators]
        self._operators = operators
        self._seats = int(params["committee"])

    def tasks(self, posed: Posed) -> Iterator[Task]:
        """Return the tasks of a round in the order of the providers."""
        asked = posed.asked
        held = [shelf.held(asked.position) for shelf in self._shelves]
        sizes = [
            0 if shelf.device in posed.excluded or not rows.size else _weight(shelf, rows, posed)
            for shelf, rows in zip(self._shelves, held, strict=True)
        ]
        edges = np.cumsum(np.array(sizes, dtype=np.int64))
        for shelf in self._shelves:
            read = leaf_to_read(shelf, posed)
            if read is None:
                continue
            checkers = self._committee(asked.seed, shelf.device, edges)
            if checkers:
                yield Task(asked.number, shelf.device, shelf.shares[read[0]], read[1], checkers)

    def _committee(self, seed: bytes, device: str, edges: np.ndarray[Any, Any]) -> tuple[str, ...]:
        numbers = draw(SEAT_CONTEXT, seed, device, _DRAWS_PER_SEAT * self._seats, int(edges[-1]))
        taken = {self._operators[device].lower()}
        seats: list[str] = []
        for place in np.searchsorted(edges, numbers, side="right").tolist():
            name = self._shelves[place].device
            operator = self._operators[name].lower()
            if operator not in taken:
                taken.add(operator)
                seats.append(name)
                if len(seats) == self._seats:
                    break
        return tuple(seats)


def _weight(shelf: Shelf, rows: NDArray[np.int64], posed: Posed) -> int:
    return posed.seats.get(shelf.device, 0) if posed.seats else int(shelf.leaves[rows].sum())


def reports(inp: EpochInput) -> tuple[pl.DataFrame, dict[str, int]]:
    """Return READ_SCHEMA of the carry's and the epoch's check reports, in order, and bad reports by device."""
    rows = list(inp.carry["reads"].select(list(READ_SCHEMA)).iter_rows()) if "reads" in inp.carry else []
    bad: dict[str, int] = defaultdict(int)
    table = inp.evidence.get(CHECK)
    found = [] if table is None else table.sort("position").select("device", "received_ms", "body").iter_rows()
    for device, received_ms, body in found:
        try:
            one = records.decode(body, records.CheckSet)
        except Rejected:
            bad[device] += 1
            continue
        secret = bool(one.secret)
        rows += [
            (
                device,
                one.number,
                c.provider,
                c.share,
                c.leaf_index,
                c.outcome,
                c.total_ms,
                c.answer,
                received_ms,
                secret,
            )
            for c in one.checks
        ]
    return pl.DataFrame(rows, schema=READ_SCHEMA, orient="row"), dict(bad)


def decide(
    tasks: Sequence[Task],
    read: pl.DataFrame,
    deadline_ms: Mapping[int, int],
    weights: Mapping[str, int],
    params: Mapping[str, Any],
    truths: Mapping[tuple[str, int], bytes] = MappingProxyType({}),
) -> tuple[list[Finding], dict[str, int]]:
    """Return a finding per task, and per device how many reports no task asked for. The first report of a seat counts.

    `truths`: (provider, round) → hash of the leaf as the device proved it. `deadline_ms`: round → last moment at which a report is received in time. `weights`: checker → ppm, default 10⁶.
    """
    seats = {(checker, t.number, t.provider, t.share, t.leaf_index) for t in tasks for checker in t.checkers}
    numbers = {task.number for task in tasks} | set(deadline_ms)
    said: dict[tuple[Any, ...], tuple[str, bytes]] = {}
    unasked: dict[str, int] = defaultdict(int)
    slow_ms = int(params["slow_ms"])
    for checker, number, provider, share, leaf, outcome, total_ms, answer, received_ms, _ in read.iter_rows():
        seat = (checker, number, provider, share, leaf)
        if seat not in seats:
            unasked[checker] += number in numbers
        elif received_ms <= deadline_ms[number]:
            if outcome == "ok" and total_ms > slow_ms:
                outcome = "slow"
            if outcome == "ok" and truths.get((provider, number), answer) != answer:
                outcome = "wrong"
            said.setdefault(seat, (outcome, answer if outcome == "ok" else b""))
    quorum = min(int(params["committee_quorum"]), int(params["committee"]))
    return [_decide(task, said, weights, quorum) for task in tasks], {k: n for k, n in unasked.items() if n}


def _decide(
    task: Task, said: Mapping[tuple[Any, ...], tuple[str, bytes]], weights: Mapping[str, int], quorum: int
) -> Finding:
    heard: dict[str, tuple[str, bytes]] = {}
    for checker in task.checkers:
        report = said.get((checker, task.number, task.provider, task.share, task.leaf_index))
        if report is not None:
            heard[checker] = report
    # where nobody reported, the round may not have reached anybody: no seat is blamed alone
    silent = tuple(checker for checker in task.checkers if checker not in heard) if heard else ()
    undecided = Finding(task, None, "undecided", (), (), silent)
    if len(heard) < max(2, min(quorum, len(task.checkers))):  # one alone never decides over another
        return undecided
    votes: dict[tuple[str, bytes], int] = defaultdict(int)  # an "ok" counts by its bytes, every failure as failure
    for checker, (outcome, answer) in heard.items():
        votes[("ok", answer) if outcome == "ok" else ("failed", b"")] += weights.get(checker, 1_000_000)
    best = max(votes.values())
    winners = [vote for vote, weight in votes.items() if weight == best]
    if len(winners) > 1 or 2 * best <= sum(votes.values()):
        return undecided
    kind, answer = winners[0]
    agree = tuple(c for c, (o, a) in heard.items() if (o == "ok", a) == (kind == "ok", answer))
    outcomes = sorted(heard[checker][0] for checker in agree)
    outcome = "ok" if kind == "ok" else max(outcomes, key=lambda one: (outcomes.count(one), one))
    return Finding(task, kind == "ok", outcome, agree, tuple(c for c in heard if c not in agree), silent)
