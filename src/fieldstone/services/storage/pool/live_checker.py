"""The gateway's side of same-time challenges: ask two providers and a control alone, then all at once; report the times.

Whom it asks follows from the round (`services.storage.live_draw`). Only whole answers are reported: one whose leaves do
not verify, or that does not come, says nothing about a shared disk, and audits and test reads look after it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from sqlalchemy import Connection, select

from fieldstone.errors import Rejected, UsageError
from fieldstone.services.storage import records
from fieldstone.services.storage.codes import fast_tree
from fieldstone.services.storage.live_draw import ALONE, TOGETHER, challenge_seed, group, questions
from fieldstone.services.storage.pool.directory import Node, prefix_of, region_of
from fieldstone.services.storage.pool.nodes import NodeProblem
from fieldstone.services.storage.pool.parts import Parts
from fieldstone.services.storage.pool.tables import share

START_WITHIN = 0.6  # of the time that a report has
_MOST_SHARES = 2_000  # of one provider that leaves are drawn from

Answered = tuple[int, bytes]  # µs, receipt


class LiveChecker:
    """Run `once` every few seconds. `get` asks the network, `send` hands a report over durably (both may block)."""

    def __init__(
        self,
        parts: Parts,
        params: Mapping[str, Any],
        get: Callable[[str], Any],
        send: Callable[[str, bytes], object],
        *,
        sleep: Callable[[float], Any] = asyncio.sleep,
    ) -> None:
        self._parts = parts
        self._get, self._send, self._sleep = get, send, sleep
        self._every = int(params["live_every_rounds"])
        self._count = int(params["live_questions"])
        self._within_s = int(params["check_within_s"])
        self._done = -1

    async def once(self) -> bool | None:
        """Measure what the newest round draws. Return whether a report was made; None when nothing was to be measured."""
        try:
            latest = await asyncio.to_thread(self._get, "/v1/storage/rounds/latest")
        except UsageError:  # 404: nothing is asked
            return None
        number, seed, issued_ms = int(latest["number"]), bytes.fromhex(latest["seed"]), int(latest["issued_ms"])
        if number <= self._done:
            return None
        self._done = number
        gateway = self._parts.nodes.gateway
        devices = await self._parts.database.read(lambda c: _paid(c, issued_ms))
        drawn = group(seed, gateway, {device: self._place(device) for device in devices}, self._every)
        left_s = START_WITHIN * self._within_s - (self._parts.clock.now_ms() - issued_ms) / 1_000
        if drawn is None or left_s <= 0:
            return None
        nodes = [self._parts.directory.get(device) for device in drawn]
        await self._sleep(random.uniform(0, left_s))
        measures = await self._measure(seed, [node for node in nodes if node is not None])
        if len(measures) < len(drawn):
            return False
        body = records.encode(records.LiveSet(number=number, measures=tuple(measures)))
        await asyncio.to_thread(self._send, "live", body)
        return True

    async def _measure(self, seed: bytes, nodes: list[Node]) -> list[records.LiveMeasure]:
        """Challenge the nodes one after the other, then together; return those that answered both in full."""
        alone = [await self._ask(seed, node, ALONE) for node in nodes]
        together = await asyncio.gather(*(self._ask(seed, node, TOGETHER) for node in nodes))
        return [
            records.LiveMeasure(
                provider=node.did, alone_us=first[0], together_us=second[0], receipts=(first[1], second[1])
            )
            for node, first, second in zip(nodes, alone, together, strict=True)
            if first is not None and second is not None
        ]

    async def _ask(self, seed: bytes, node: Node, phase: bytes) -> Answered | None:
        challenge = challenge_seed(seed, self._parts.nodes.gateway, node.did, phase)
        asked = await self._parts.database.read(lambda c: _leaves(c, node.did, challenge, self._count))
        body = msgspec.msgpack.encode([challenge, [[one[0], one[1]] for one in asked]])
        try:
            answer, receipt, took_us = await self._parts.nodes.live(node, body)
            proofs = records.open_signed(answer, records.ProofSet, node.did, records.live_purpose(challenge)).proofs
        except (NodeProblem, Rejected):
            return None
        is_whole = len(proofs) == len(asked) > 0 and all(
            (proof.share, proof.leaf_index) == (name, leaf)
            and fast_tree.verify(root, size_bytes, leaf_bytes, leaf, proof.leaf, proof.path)
            for proof, (name, leaf, root, size_bytes, leaf_bytes) in zip(proofs, asked, strict=True)
        )
        return (took_us, receipt) if is_whole else None

    def _place(self, device: str) -> tuple[str, str]:
        node = self._parts.directory.get(device)
        return ("", "") if node is None else (prefix_of(node.url), region_of(node.lat, node.lon))


def _paid(connection: Connection, issued_ms: int) -> list[str]:
    """Return the providers that the network knew we paid when a round was asked."""
    leased = share.c.leased_ms.is_not(None) & share.c.released_ms.is_(None) & (share.c.leased_ms < issued_ms)
    return list(connection.execute(select(share.c.device).where(leased).distinct()).scalars())


def _leaves(connection: Connection, device: str, seed: bytes, count: int) -> list[tuple[bytes, int, bytes, int, int]]:
    """Return (share, leaf, root, size, leaf size) of random leaves of what a provider holds for us."""
    held = (share.c.device == device) & (share.c.state == "held")
    columns = (share.c.id, share.c.root, share.c.size_bytes, share.c.leaf_bytes)
    rows = connection.execute(select(*columns).where(held).order_by(share.c.id).limit(_MOST_SHARES)).all()
    numbered = [(row, leaf) for row in rows for leaf in range(-(-row.size_bytes // row.leaf_bytes))]
    chosen = [numbered[place] for place in questions(seed, device, len(numbered), count)]
    return [(row.id, leaf, row.root, row.size_bytes, row.leaf_bytes) for row, leaf in chosen]
