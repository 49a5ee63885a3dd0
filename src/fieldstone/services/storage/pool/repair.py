"""Keep segments whole: take those that have lost shares in the order of danger (`triage`), and regenerate what is missing.

After its grace an absent node's share is missing and may be regenerated elsewhere; when the node has been away so long
that it is declared lost (or failed an audit, or admitted the loss), its shares are given up for good and their lease is
released (`giving_up`). Who answers the network's rounds no more is away, whatever it answers us. The shares of a
disqualified node are regenerated elsewhere at once, and given up only then: until then they may be the ones that are
needed. Those of a node that leaves are copied from it while it answers, one read instead of k, and it is paid until they
are there.

Nothing is read before there is a place to put the result. Reads and writes of repairs together keep below `bytes_per_s`.
What a repair cost, in bytes and dollars, is written down, also of one that failed after it had read.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection, select, update

from fieldstone.errors import Retryable
from fieldstone.services.storage.codes import fast_tree
from fieldstone.services.storage.codes.stripes import Layout
from fieldstone.services.storage.pool import giving_up, segments
from fieldstone.services.storage.pool.download import Download
from fieldstone.services.storage.pool.parts import Parts
from fieldstone.services.storage.pool.placement import Placement, TooFewNodes, place
from fieldstone.services.storage.pool.profile import Profile
from fieldstone.services.storage.pool.segments import Segment, SegmentGone, Share
from fieldstone.services.storage.pool.tables import repair, segment, share, state
from fieldstone.services.storage.pool.triage import Patient, RepairRules, Triage
from fieldstone.services.storage.pool.upload import NotStored, Receipt, Upload
from fieldstone.services.storage.pool.watch import Absence
from fieldstone.services.storage.pool.wire import Blocks
from fieldstone.services.storage.pool.writing import SEED

__all__ = ["MOST", "Patient", "Repair", "RepairRules", "Repaired", "cost_so_far"]

MOST = 1_000  # repairs in a pass
_TURN_MS = 600_000
_RENEW_S = 60.0
_CUT_BYTES = 1_048_576


@dataclass(frozen=True, slots=True)
class Repaired:
    """What one repair did and cost. `problem`: why it could not be done ('' when it could)."""

    segment: bytes
    healthy_before: int
    healthy_after: int
    read_bytes: int = 0
    written_bytes: int = 0
    cost_micro_usd: int = 0
    problem: str = ""


class Repair:
    """Run `scan` and `run` in turn, or `once`. One process per database repairs at a time."""

    def __init__(self, parts: Parts, rules: RepairRules | None = None) -> None:
        self._parts = parts
        self.rules = rules or RepairRules()
        self._triage = Triage(parts, self.rules)
        self._free_at = 0.0
        self._failed: set[bytes] = set()  # segments that could not be repaired when last tried
        self._has_turn, self._renewed_s = False, 0.0

    async def once(self, absences: Mapping[str, Absence], *, most: int = MOST) -> list[Repaired]:
        """Declare lost nodes, scan all segments, repair up to `most` of them. Empty when another process has its turn.

        A pass of many takes hours: what `absences` says meanwhile is heeded.
        """
        self._renewed_s = 0.0
        await self._renew()
        if not self._has_turn:
            return []
        await self.declare_lost(absences)
        done = []
        for patient in (await self._triage.scan(absences, self._failed, self._renew))[:most]:
            await self._renew()
            if not self._has_turn:  # taken by another process while we stood still
                break
            repaired = await self.repair(patient, absences)
            if repaired is not None:
                done.append(repaired)
        return done

    async def declare_lost(self, absences: Mapping[str, Absence]) -> list[str]:
        """See `giving_up.declare_lost`."""
        return await giving_up.declare_lost(self._parts, absences, self.rules.lost_ms)

    async def fail_audit(self, share_ids: Collection[bytes], detail: str, *, device: str | None = None) -> int:
        """See `giving_up.fail_audit`."""
        return await giving_up.fail_audit(self._parts, share_ids, detail, device=device)

    async def heed_audits(self) -> int:
        """See `giving_up.heed_audits`."""
        return await giving_up.heed_audits(self._parts)

    async def scan(self, absences: Mapping[str, Absence]) -> list[Patient]:
        """See `Triage.scan`."""
        return await self._triage.scan(absences, self._failed)

    async def repair(self, patient: Patient, absences: Mapping[str, Absence]) -> Repaired | None:
        """Regenerate the missing shares of one segment from k verified ones and place them anew. Never raises Retryable.

        None when nothing is missing any more.
        """
        try:
            done = await self._repair(patient.segment, absences)
        except Retryable as problem:
            done = Repaired(patient.segment, patient.there, patient.there, problem=str(problem))
        if done is not None and done.problem:
            self._failed.add(patient.segment)
        else:
            self._failed.discard(patient.segment)
        return done

    async def _repair(self, segment_id: bytes, absences: Mapping[str, Absence]) -> Repaired | None:
        parts = self._parts
        parts.forget(segment_id)
        found = await parts.segment(segment_id)
        held = [(one.number, one.device) for one in found.shares.values()]
        patient = self._triage.examine(segment_id, found.layout.k, found.layout.n, held, absences)
        if patient is None:
            return None
        if patient.is_hopeless:
            raise Retryable(f"{patient.readable} of the {patient.k} shares that are needed are on nodes that answer")
        placement = await self._place(found, patient)
        await self._pace(found.layout.share_bytes * (patient.k + len(placement.indexes)))
        download = parts.download(found)
        done = Repaired(segment_id, patient.there, patient.there)
        try:
            made, wrong = await self._made(download, found, placement.indexes)
            receipts = await self._upload(found, made, placement)
        except Retryable as problem:
            if not download.whole_bytes:
                raise
            done = replace(done, problem=str(problem), read_bytes=download.whole_bytes)
            return await self._note(self._priced(done), [])
        lost = sum(one.number not in patient.missing for one in wrong)
        done = replace(
            done,
            healthy_after=patient.there - lost + len(receipts),
            read_bytes=download.whole_bytes,
            written_bytes=sum(receipt.share.size_bytes for receipt in receipts),
        )
        return await self._note(self._priced(done), receipts)

    def _priced(self, done: Repaired) -> Repaired:
        return replace(done, cost_micro_usd=-(-done.read_bytes * self.rules.price_micro_usd_per_gib // 2**30))

    async def _note(self, done: Repaired, receipts: Sequence[Receipt]) -> Repaired:
        """Write down what a repair did and cost; the shares that it replaced are given up in the same transaction."""
        now_ms = self._parts.clock.now_ms()
        ids = [one.share.id for one in receipts]
        numbers = [one.share.number for one in receipts]

        def write(connection: Connection) -> bool:
            here = (segment.c.id == done.segment) & (segment.c.state == "live")
            is_live = connection.execute(select(segment.c.id).where(here).with_for_update()).first() is not None
            if is_live:
                rows = [(one.share.id, one.leaf_bytes, one.root, one.message) for one in receipts]
                segments.hold(connection, rows, now_ms)
                # whatever there was of these numbers: also what another process made anew beside us
                old = (share.c.segment_id == done.segment) & share.c.number.in_(numbers) & share.c.id.not_in(ids)
                replaced = old & share.c.state.in_(("held", "lost", "corrupt"))
                connection.execute(update(share).where(replaced).values(state="leaving", changed_ms=now_ms))
            else:
                segments.leave(connection, ids, now_ms)
            row = {"at_ms": now_ms, "segment_id": done.segment, "healthy_before": done.healthy_before,
                   "healthy_after": done.healthy_after, "read_bytes": done.read_bytes,
                   "written_bytes": done.written_bytes, "cost_micro_usd": done.cost_micro_usd}  # fmt: skip
            connection.execute(repair.insert(), row)
            return is_live

        is_live = await self._parts.database.write(write)
        self._parts.forget(done.segment)
        return done if is_live or done.problem else replace(done, problem="the object was deleted meanwhile")

    async def _made(
        self, download: Download, found: Segment, numbers: Sequence[int]
    ) -> tuple[dict[int, memoryview], list[Share]]:
        """Return the shares `numbers`, from nodes that leave or made of k others, and those that turned out wrong."""
        made = await self._copied(download, found, numbers)
        rest = [number for number in numbers if number not in made]
        if not rest:
            return made, []
        anew, _, wrong = await download.certain(rest)
        for one in wrong:
            self._parts.nodes.note_wrong_bytes(one.device)
            await self._parts.note_fault(found, one, "corrupt", "wrong_root", {"range": (0, one.size_bytes)})
        return made | anew, wrong

    async def _copied(self, download: Download, found: Segment, numbers: Sequence[int]) -> dict[int, memoryview]:
        """Return the shares that nodes which leave still gave whole and right. One read is k less."""
        going = [found.shares[number] for number in numbers if number in found.shares]
        nodes = {one.id: self._parts.directory.get(one.device) for one in going}
        wanted = [one for one in going if (node := nodes[one.id]) is not None and node.is_leaving]
        bodies = await asyncio.gather(*map(download.whole_share, wanted))
        return {one.number: body for one, body in zip(wanted, bodies, strict=True) if isinstance(body, memoryview)}

    async def _place(self, found: Segment, patient: Patient) -> Placement:
        """Choose nodes for the missing shares, for as many of them as there are nodes. Raises TooFewNodes without any."""
        parts, layout = self._parts, found.layout
        profile = _profile(layout)
        remaining = [one for one in found.shares.values() if one.number not in patient.missing]
        holders = [one for s in remaining if (one := parts.directory.get(s.device)) is not None]
        # who holds (or should hold) another share of the segment gets no second one
        taken = {one.device for one in found.shares.values()}
        free = [candidate for candidate in parts.candidates() if candidate.node.did not in taken]
        # whoever had a share of it and lost, spoilt or gave it up is asked again only where there is nobody else
        before = await parts.database.read(lambda c: _ever_held(c, found.id))
        usable = [candidate for candidate in free if candidate.node.did not in before]
        numbers = patient.missing
        while True:
            try:
                return place(
                    profile, usable, seed=SEED, share_bytes=layout.share_bytes, indexes=numbers, holders=holders
                )
            except TooFewNodes as few:
                if len(usable) < len(free):
                    usable = free
                    continue
                if few.have == 0:
                    raise
                numbers = numbers[: few.have]

    async def _upload(self, found: Segment, made: Mapping[int, memoryview], placement: Placement) -> list[Receipt]:
        """Put the regenerated shares on their nodes. Raises NotStored when none takes one, SegmentGone."""
        parts = self._parts

        async def plan(shares: Sequence[Share]) -> None:
            now_ms = parts.clock.now_ms()
            await parts.database.write(lambda c: _plan(c, found.id, shares, now_ms))

        upload = Upload(parts.nodes, _Made(found.layout, made), _profile(found.layout), placement, plan)
        await plan([one for one, _ in upload.first])
        upload.start()
        try:
            receipts = await upload.enough(need=1, goal=len(placement.indexes))
        except NotStored:
            await self._leave(upload)
            raise
        finally:
            await upload.stop()
        await self._leave(upload)
        return list(receipts.values())

    async def _leave(self, upload: Upload) -> None:
        ids, now_ms = [one.id for one in upload.failed], self._parts.clock.now_ms()
        if ids:
            await self._parts.database.write(lambda c: segments.leave(c, ids, now_ms))

    async def _pace(self, size_bytes: int) -> None:
        """Wait until so many bytes fit under the cap."""
        now = time.monotonic()
        wait_s = self._free_at - now
        self._free_at = max(now, self._free_at) + size_bytes / self.rules.bytes_per_s
        if wait_s > 0:
            await asyncio.sleep(wait_s)

    async def _renew(self) -> None:
        if time.monotonic() - self._renewed_s > _RENEW_S or not self._renewed_s:
            self._has_turn = await self._parts.database.write(self._take_turn)
            self._renewed_s = time.monotonic()

    def _take_turn(self, connection: Connection) -> bool:
        """Let one process repair: two would regenerate the same shares twice. A turn ends by itself after ten minutes."""
        connection.execute(
            select(state.c.value).where(state.c.name == "schema").with_for_update()
        )  # one decides at a time
        now_ms = self._parts.clock.now_ms()
        name = f"repair until, {self._parts.writer}"
        # no turn lasts longer: one that seems to was taken while the clock was ahead, and would keep us out for years
        is_running = state.c.value.between(now_ms + 1, now_ms + 2 * _TURN_MS)
        busy = select(state.c.name).where(state.c.name.like("repair until, %"), state.c.name != name, is_running)
        if connection.execute(busy).first() is not None:
            return False
        connection.execute(state.delete().where(state.c.name.like("repair until, %")))
        connection.execute(state.insert(), {"name": name, "value": now_ms + _TURN_MS})
        return True


class _Made:
    """Regenerated shares, to be sent (upload.Coded)."""

    is_whole = True

    def __init__(self, layout: Layout, made: Mapping[int, memoryview]) -> None:
        self.layout = layout
        self._made = made

    async def blocks(self, number: int) -> Blocks:
        body = self._made[number]
        for at in range(0, len(body), _CUT_BYTES):
            yield [body[at : at + _CUT_BYTES]]

    def root(self, number: int, leaf_bytes: int) -> bytes:
        return fast_tree.Tree.build(self._made[number], leaf_bytes).commitment


def _profile(layout: Layout) -> Profile:
    return Profile(f"{layout.k}/{layout.n}", layout.k, layout.n, layout.block_bytes)


def _plan(connection: Connection, segment_id: bytes, shares: Sequence[Share], now_ms: int) -> None:
    live = select(segment.c.id).where(segment.c.id == segment_id, segment.c.state == "live").with_for_update()
    if connection.execute(live).first() is None:
        raise SegmentGone(f"segment {segment_id.hex()} was deleted while it was repaired")
    segments.plan_shares(connection, segment_id, shares, now_ms)


def _ever_held(connection: Connection, segment_id: bytes) -> frozenset[str]:
    return frozenset(connection.execute(select(share.c.device).where(share.c.segment_id == segment_id)).scalars())


def cost_so_far(connection: Connection, since_ms: int = 0) -> tuple[int, int, int]:
    """Return (bytes read, bytes written, micro-dollars) of all repairs since a time."""
    found = select(repair.c.read_bytes, repair.c.written_bytes, repair.c.cost_micro_usd).where(
        repair.c.at_ms >= since_ms
    )
    rows = connection.execute(found).all()
    return (
        sum(row.read_bytes for row in rows),
        sum(row.written_bytes for row in rows),
        sum(row.cost_micro_usd for row in rows),
    )
