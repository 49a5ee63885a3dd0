"""The gateway's side of secret test reads: commit, draw, read like a paid read, report.

An order for a drawn leaf is signed by the same key, counted in the same voucher, sent from the same address over the
same connections as customers' reads: from a random moment of the round on beside the next paid read of the same provider
(customers read in bursts, a lone read would be told apart), alone only where none comes. It asks for a range that a paid
read would ask for: whole sealed chunks, as many as one of the latest paid reads. What comes is reported as it came. See
`services.storage.secret_reads`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import Connection, select

from fieldstone.errors import Retryable
from fieldstone.services.storage import records
from fieldstone.services.storage.codes.cipher import CHUNK_BYTES, TAG_BYTES
from fieldstone.services.storage.codes.fast_tree import leaf_hash
from fieldstone.services.storage.codes.stripes import Layout
from fieldstone.services.storage.pool.download import Flat, need_of
from fieldstone.services.storage.pool.nodes import NodeProblem
from fieldstone.services.storage.pool.parts import Parts
from fieldstone.services.storage.pool.round_duty import RoundDuty, leased_before, paid_devices
from fieldstone.services.storage.pool.tables import segment, share
from fieldstone.services.storage.secret_draw import Links, pair_is_drawn, reads_drawn

LENGTH = 16_384  # rounds of a chain: 341 days of half hours
NOTHING = bytes(32)
_MOST_CHECKS = 250  # in one report
_OTHERS = 4  # asked whether they are up, before a provider that does not answer is said to be away
_LOG = logging.getLogger("fieldstone.storage")


@dataclass(frozen=True, slots=True)
class Wanted:
    """A leaf to read: bytes `low` … `high` of a share."""

    segment: bytes
    device: str
    share: bytes
    leaf: int
    low: int
    high: int
    number: int
    layout: Layout


class SecretReader:
    """Run `once` every few seconds. `get` asks the network, `send` hands a report over durably (both may block)."""

    def __init__(
        self,
        parts: Parts,
        file: Path,
        params: Mapping[str, Any],
        get: Callable[[str], Any],
        send: Callable[[str, bytes], object],
        *,
        sleep: Callable[[float], Any] = asyncio.sleep,
        beside: Callable[[str, float], Any] | None = None,
    ) -> None:
        """`file` keeps the chain: whoever reads it knows what will be tested. `params`: the network's storage rules."""
        self._parts = parts
        self._rounds = RoundDuty(parts, params, get, send, sleep=sleep)
        self._file, self._publish, self._sleep = file, send, sleep
        self._beside = beside or parts.nodes.beside_a_read
        self._every = int(params["secret_every_rounds"])
        self._links: Links | None = None

    async def once(self) -> int | None:
        """Carry out the newest round's reads; return how many were made, None when it was done or there is none.

        Raises Retryable.
        """
        turn = await self._rounds.newest()
        if turn is None:
            return None
        links = await asyncio.to_thread(self._chain, turn.number)
        secret = links.secret(turn.number)
        self._rounds.take(turn)
        if (
            secret is None or turn.left_s <= 0
        ):  # found too late to look like anything: the round is void, and we are told so
            return None
        left_s, seed, issued_ms = turn.left_s, turn.seed, turn.issued_ms
        wanted = await self._parts.database.read(lambda c: self._draw(c, secret, seed, issued_ms))
        leaves = Counter((one.device, one.share) for one in wanted)
        read = await asyncio.gather(
            *((self._at_some_time if leaves[one.device, one.share] > 1 else self._twice)(one, left_s) for one in wanted)
        )
        checks = [one for one in read if one is not None]
        for at in range(0, max(1, len(checks)), _MOST_CHECKS):
            part = tuple(checks[at : at + _MOST_CHECKS])
            body = records.encode(records.CheckSet(number=turn.number, checks=part, secret=secret))
            await self._rounds.send("check", body)
        return len(checks)

    # ---- inside ----

    def _chain(self, number: int) -> Links:
        """Return the chain in force; make and publish one for the rounds to come when there is none, or it ends."""
        links = self._links
        if links is None and self._file.exists():
            links = self._links = self._kept()
        if links is None or number >= links.first + links.length:
            last, first = random.SystemRandom().randbytes(32), number + 1
            links = Links(last, first, LENGTH)
            chain = records.encode(records.ReaderChain(tip=links.tip, first=first, length=LENGTH))
            fresh = self._file.with_suffix(".new")
            fresh.touch(0o600)
            with fresh.open("w") as file:
                file.write(json.dumps({"last": last.hex(), "first": first, "length": LENGTH}))
                file.flush()
                os.fsync(file.fileno())
            self._publish("chain", chain)  # before it is kept: a crash in between only publishes another one
            fresh.replace(self._file)
            self._links = links
        return links

    def _kept(self) -> Links | None:
        try:
            kept = json.loads(self._file.read_text())
            return Links(bytes.fromhex(kept["last"]), int(kept["first"]), int(kept["length"]))
        except (ValueError, KeyError, TypeError) as problem:  # cut off by a failing disk: another chain, and we go on
            _LOG.warning("%s is no chain of secrets, a new one is made: %s", self._file, problem)
            return None

    def _draw(self, connection: Connection, secret: bytes, seed: bytes, issued_ms: int) -> list[Wanted]:
        """Work out what the round draws among the shares that the network knows we pay for."""
        leased, found = leased_before(issued_ms), []
        for device in paid_devices(connection, issued_ms):
            if pair_is_drawn(secret, seed, device, self._every):
                found += self._draw_on(connection, secret, seed, device, issued_ms, leased & (share.c.device == device))
        return found

    def _draw_on(
        self, connection: Connection, secret: bytes, seed: bytes, device: str, issued_ms: int, mine: Any
    ) -> list[Wanted]:
        columns = (
            share.c.id,
            share.c.number,
            share.c.size_bytes,
            share.c.leaf_bytes,
            share.c.leased_ms,
            share.c.segment_id,
        )
        layout = (segment.c.sealed_bytes, segment.c.k, segment.c.n, segment.c.block_bytes)
        joined = select(*columns, *layout).join(segment, segment.c.id == share.c.segment_id).where(mine)
        rows = connection.execute(joined).all()
        shares = [row.id for row in rows]
        numbers = ([row[place] for row in rows] for place in (2, 3, 4))
        found = []
        for place, leaf in reads_drawn(secret, seed, device, issued_ms, shares, *numbers):
            row = rows[place]
            low = leaf * row.leaf_bytes
            high = min(low + row.leaf_bytes, row.size_bytes)
            shape = Layout(row.sealed_bytes, row.k, row.n, row.block_bytes)
            found.append(Wanted(row.segment_id, device, row.id, leaf, low, high, row.number, shape))
        return found

    async def _at_some_time(self, one: Wanted, left_s: float) -> records.RetrievalCheck | None:
        """Read a leaf at some moment; None when we gave the share up meanwhile: then nobody need serve it. None also when
        our own database did not answer: that says nothing of the provider, and must not end the other reads."""
        pause_s = random.uniform(0, left_s)
        await self._sleep(pause_s)
        await self._beside(one.device, left_s - pause_s)
        try:
            if not await self._parts.database.read(lambda c: _is_ours(c, one.share)):
                return None
            return await self._measured(one)
        except Retryable as problem:
            _LOG.warning("a test read was left out: %s", problem)
            return None

    async def _twice(self, one: Wanted, left_s: float) -> records.RetrievalCheck | None:
        """Read the only leaf of a share twice, as of others two leaves are read; return the worse."""
        both = await asyncio.gather(self._at_some_time(one, left_s), self._at_some_time(one, left_s))
        came = sorted((check for check in both if check is not None), key=lambda check: check.outcome == "ok")
        return came[0] if came else None

    async def _measured(self, one: Wanted) -> records.RetrievalCheck | None:
        """Read a leaf and say what came; None when the provider shows our own order to delete it, which our database forgot, and
        when it is our own line that is down."""
        at_ms = self._parts.clock.now_ms()
        sizes = self._parts.nodes.read_sizes
        start, end = like_a_paid_read(one.layout, one.number, one.low, one.high, random.choice(sizes) if sizes else 0)
        began = time.monotonic()
        outcome, answer = "refused", NOTHING
        node = self._parts.directory.get(one.device)
        if node is not None:
            try:
                body = await self._read(one, start, end)
                outcome, answer = "ok", leaf_hash(body[one.low - start : one.high - start])
            except NodeProblem as problem:
                outcome = "timeout" if problem.kind == "timeout" else "refused"
                if problem.kind == "missing":
                    await self._note_loss(one, problem)
                if self._parts.nodes.had_deleted(problem, one.share):
                    return None
                if problem.kind in ("offline", "timeout", "broken") and await self._nobody_answers(one.device):
                    _LOG.warning("a test read was left out: nobody answers, so it is our own line: %s", problem)
                    return None
        elif not len(self._parts.directory):
            return None  # we know of nobody yet: that is no fault of theirs
        total_ms = int((time.monotonic() - began) * 1_000)
        return records.RetrievalCheck(
            provider=one.device,
            share=one.share,
            leaf_index=one.leaf,
            outcome=outcome,  # type: ignore[arg-type]
            first_byte_ms=total_ms,
            total_ms=total_ms,
            size_bytes=end - start if outcome == "ok" else 0,
            answer=answer,
            at_ms=at_ms,
        )

    async def _nobody_answers(self, device: str) -> bool:
        """Tell whether some others do not answer either: who accuses all of them when the own line is down harms everybody."""
        others = [node for node in self._parts.directory if node.did != device]
        asked = random.sample(others, min(_OTHERS, len(others)))
        return bool(asked) and not any(await asyncio.gather(*(self._parts.nodes.is_up(node) for node in asked)))

    async def _note_loss(self, one: Wanted, problem: NodeProblem) -> None:
        """Give up at once what a provider says it has not got, as any read does: no need to wait for the epoch's verdict."""
        with suppress(Retryable):  # it is reported all the same
            found = await self._parts.segment(one.segment)
            held = found.shares.get(one.number)
            if held is not None and held.id == one.share:
                await self._parts.note_fault(found, held, "lost", "missing", {"said": str(problem)[:300]})

    async def _read(self, one: Wanted, start: int, end: int) -> memoryview:
        """Order the bytes as a download does, once more when the provider remembers a higher count."""
        parts = self._parts
        node = parts.directory.get(one.device)
        assert node is not None
        room = memoryview(np.empty(end - start, np.uint8))  # type: ignore[arg-type]
        order = await parts.vouchers.order({node.did: end - start})
        try:
            await parts.nodes.get(node, one.share, start, end, order[node.did], Flat(room), is_test=True)
        except NodeProblem as problem:
            newest = problem.egress_bytes
            if newest is None or not await parts.vouchers.catch_up(node.did, newest):
                raise
            again = await parts.vouchers.order({node.did: end - start})
            await parts.nodes.get(node, one.share, start, end, again[node.did], Flat(room), is_test=True)
        return room


def _is_ours(connection: Connection, share_id: bytes) -> bool:
    """Tell whether a share is still kept: neither released, nor of a segment that nobody uses, nor being deleted."""
    kept = (share.c.id == share_id) & share.c.released_ms.is_(None) & share.c.state.not_in(("leaving", "deleted"))
    found = select(share.c.id).join(segment, segment.c.id == share.c.segment_id).where(kept, segment.c.state == "live")
    return connection.execute(found).first() is not None


def like_a_paid_read(layout: Layout, number: int, low: int, high: int, like_bytes: int) -> tuple[int, int]:
    """Return the range of share `number` that a paid read asks for to get bytes `low` … `high` of it, of about `like_bytes`.

    A paid read needs whole sealed chunks of the segment; a parity share is asked for the hull of what data shares are.
    Whoever reads as much as the whole share begins at its beginning.
    """
    whole = need_of(layout, 0, layout.size_bytes)
    start, end = whole.by_share.get(number, whole.hull)
    if like_bytes >= end - start:
        return min(start, low), max(end, high)
    stripe = min(low // layout.block_bytes, layout.stripes - 1)
    block = layout.block_bytes if stripe < layout.full_stripes else layout.last_block_bytes
    at = stripe * layout.stripe_bytes + number % layout.k * block + low - stripe * layout.block_bytes
    chunk = CHUNK_BYTES + TAG_BYTES
    first = min(at, layout.size_bytes - 1) // chunk
    count = 1
    while True:
        until = min((first + count) * chunk, layout.size_bytes)
        need = need_of(layout, first * chunk, until)
        start, end = need.by_share.get(number, need.hull)
        if start <= low and high <= end and (end - start >= like_bytes or until == layout.size_bytes):
            return start, end
        if until == layout.size_bytes:
            return min(start, low), max(end, high)  # the last stripe's padding
        count *= 2
