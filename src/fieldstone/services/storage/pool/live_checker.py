"""The gateway's side of same-time challenges: ask two providers and a control alone, then all at once; report the times.

Whom it asks follows from the round (`services.storage.live_draw`). Times are reported of whole answers only: of a provider
whose chunks do not verify, or do not come, it is said that it did not answer (`live_rounds`: refusing would be a way out).
"""

from __future__ import annotations

import asyncio
import random
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import accumulate
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection, select

from fieldstone.errors import Rejected
from fieldstone.services.storage import records
from fieldstone.services.storage.codes.blake3_inner import CHUNK_BYTES
from fieldstone.services.storage.codes.chunk_opening import Claim, chunk_of, verify_all
from fieldstone.services.storage.live_draw import (
    ALONE,
    BESIDE_ALONE,
    BESIDE_TOGETHER,
    PHASES,
    challenge_seed,
    group,
    questions,
)
from fieldstone.services.storage.pool.directory import Node, prefix_of, region_of
from fieldstone.services.storage.pool.nodes import NodeProblem
from fieldstone.services.storage.pool.round_duty import RoundDuty, paid_devices
from fieldstone.services.storage.pool.tables import share

_MOST_SHARES = 2_000  # of one provider that chunks are drawn from


class _Asked(NamedTuple):
    """A chunk of a share, and what it is verified against."""

    share: bytes
    start: int
    root: bytes
    size_bytes: int
    leaf_bytes: int


class _Answered(NamedTuple):
    """What a provider said to a challenge, not looked at yet."""

    challenge: bytes
    asked: list[_Asked]
    answer: bytes
    receipt: bytes
    took_us: int

    def is_whole(self, node: Node) -> bool:
        """Tell whether every chunk was proven."""
        try:
            purpose = records.live_purpose(self.challenge)
            proofs = records.open_signed(self.answer, records.ProofSet, node.did, purpose).proofs
        except Rejected:
            return False
        if not self.asked or [(one.share, one.start) for one in proofs] != [one[:2] for one in self.asked]:
            return False
        claims = [
            Claim(one.root, one.size_bytes, one.leaf_bytes, one.start, proof.chunk, proof.siblings)
            for proof, one in zip(proofs, self.asked, strict=True)
        ]
        return None not in verify_all(claims)


class LiveChecker:
    """Run `once` every few seconds. `rounds` tells what is asked, and takes the report."""

    def __init__(self, rounds: RoundDuty, params: Mapping[str, Any]) -> None:
        """`params`: the network's storage rules."""
        self._rounds, self._parts = rounds, rounds.parts
        self._every = int(params["live_every_rounds"])
        self._count = int(params["live_questions"])

    async def once(self) -> bool | None:
        """Measure what the newest round draws. Return whether a report was made; None when nothing was to be measured."""
        turn = await self._rounds.newest()
        if turn is None:
            return None
        self._rounds.take(turn)
        devices = await self._parts.database.read(lambda c: paid_devices(c, turn.issued_ms))
        places = {device: self._place(device) for device in devices}
        drawn = group(turn.seed, self._parts.nodes.gateway, places, self._every)
        if drawn is None or turn.left_s <= 0:
            return None
        nodes = [self._parts.directory.get(device) for device in drawn]
        await self._rounds.sleep(random.uniform(0, turn.left_s))
        measures = await self._measure(turn.seed, [node for node in nodes if node is not None])
        if len(measures) < len(drawn) or not any(one.is_answered for one in measures):  # all three: it was our own line
            return False
        await self._rounds.send("live", records.encode(records.LiveSet(number=turn.number, measures=tuple(measures))))
        return True

    async def _measure(self, seed: bytes, nodes: list[Node]) -> list[records.LiveMeasure]:
        """Challenge the nodes one after the other, then together, twice. Whom nothing could be asked is left out.

        Answers are verified when all times are taken: it would hold up those that are on their way.
        """
        said: list[list[_Answered | None]] = []
        asked = [await self._questions(seed, node) for node in nodes]
        if not all(all(part) for part in asked):  # no share is long enough for so many chunks side by side
            return []
        for place, phase in enumerate(PHASES):
            turns = [self._ask(seed, node, phase, part[place]) for node, part in zip(nodes, asked, strict=True)]
            if phase in (ALONE, BESIDE_ALONE):
                said.append([await turn for turn in turns])
            else:
                said.append(await asyncio.gather(*turns))
        found = []
        for node, *answers in zip(nodes, *said, strict=True):
            whole = [one for one in answers if one is not None and one.is_whole(node)]
            is_whole = len(whole) == len(PHASES)
            times = [one.took_us for one in whole] if is_whole else [0] * 4
            receipts = [one.receipt for one in whole] if is_whole else [b""] * 4
            found.append(
                records.LiveMeasure(
                    provider=node.did,
                    alone_us=times[0],
                    together_us=times[1],
                    beside_alone_us=times[2],
                    beside_together_us=times[3],
                    receipts=(receipts[0], receipts[1], receipts[2], receipts[3]),
                )
            )
        return found

    async def _questions(self, seed: bytes, node: Node) -> list[list[_Asked]]:
        """Return what a node is asked in each phase. All is looked up before the first: our database is not on the clock."""
        found = []
        for phase in PHASES:
            challenge = challenge_seed(seed, self._parts.nodes.gateway, node.did, phase)
            choose = _beside if phase in (BESIDE_ALONE, BESIDE_TOGETHER) else _chunks
            draw = partial(choose, device=node.did, seed=challenge, count=self._count)
            found.append(await self._parts.database.read(draw))
        return found

    async def _ask(self, seed: bytes, node: Node, phase: bytes, asked: list[_Asked]) -> _Answered | None:
        challenge = challenge_seed(seed, self._parts.nodes.gateway, node.did, phase)
        body = msgspec.msgpack.encode([challenge, [[one.share, one.start] for one in asked]])
        try:
            answer, receipt, took_us = await self._parts.nodes.live(node, body)
        except NodeProblem:
            return None
        return _Answered(challenge, asked, answer, receipt, took_us)

    def _place(self, device: str) -> tuple[str, str]:
        node = self._parts.directory.get(device)
        return ("", "") if node is None else (prefix_of(node.url), region_of(node.lat, node.lon))


def _chunks(connection: Connection, device: str, seed: bytes, count: int) -> list[_Asked]:
    """Return random chunks of what a provider holds for us, each byte as likely as any."""
    rows = _held(connection, device)
    edges = list(accumulate(row.size_bytes for row in rows))
    chosen: dict[tuple[bytes, int], _Asked] = {}
    for byte in questions(seed, device, edges[-1] if edges else 0, count):
        place = bisect_right(edges, byte)
        row = rows[place]
        start = chunk_of(row.size_bytes, row.leaf_bytes, byte - edges[place] + row.size_bytes).start
        chosen[row.id, start] = _Asked(row.id, start, row.root, row.size_bytes, row.leaf_bytes)
    return list(chosen.values())


def _beside(connection: Connection, device: str, seed: bytes, count: int) -> list[_Asked]:
    """Return as many chunks that lie side by side in one share; none when no share has so many."""
    rows = [row for row in _held(connection, device) if row.size_bytes >= count * CHUNK_BYTES]
    if not rows:
        return []
    word = questions(seed, device, 2**62, 1)[0]
    row = rows[word % len(rows)]
    first = word // len(rows) % (row.size_bytes - count * CHUNK_BYTES + 1)
    found: dict[int, _Asked] = {}
    while len(found) < count and first < row.size_bytes:
        chunk = chunk_of(row.size_bytes, row.leaf_bytes, first)
        found[chunk.start] = _Asked(row.id, chunk.start, row.root, row.size_bytes, row.leaf_bytes)
        first = chunk.end
    return list(found.values())


def _held(connection: Connection, device: str) -> Sequence[Any]:
    held = (share.c.device == device) & (share.c.state == "held")
    columns = (share.c.id, share.c.root, share.c.size_bytes, share.c.leaf_bytes)
    return connection.execute(select(*columns).where(held).order_by(share.c.id).limit(_MOST_SHARES)).all()
