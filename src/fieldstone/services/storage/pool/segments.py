"""Segments and shares in SQL: what is planned, held, live, dropped. Functions of a connection, for anybody's transaction.

`adopt` and `drop` run inside the catalogue's own transaction, so an object's row and the use of its segments become
true together. Reads take any `held` share of a segment that is there, live or pending.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, func, select, update

from fieldstone.errors import Retryable
from fieldstone.services.storage.codes import cipher
from fieldstone.services.storage.codes.fast_tree import LEAF_BYTES
from fieldstone.services.storage.codes.stripes import Layout
from fieldstone.services.storage.pool.profile import SegmentRef
from fieldstone.services.storage.pool.tables import incident, segment, share


class SegmentGone(Retryable):
    """A segment was swept or dropped before it was adopted; the object has to be written again."""


@dataclass(frozen=True, slots=True)
class Share:
    """One share: its number in the segment, where it is and, once held, its commitment over leaves of `leaf_bytes`."""

    id: bytes
    number: int
    device: str
    size_bytes: int
    root: bytes | None = None
    leaf_bytes: int = LEAF_BYTES


@dataclass(frozen=True, slots=True)
class Segment:
    """What is needed to read a segment. `shares`: those held, by number."""

    id: bytes
    size_bytes: int
    layout: Layout
    wrapped_key: bytes
    shares: dict[int, Share]


def plan(
    connection: Connection,
    found: Segment,
    shares: Sequence[Share],
    *,
    writer: str,
    relaxed: str,
    now_ms: int,
) -> None:
    """Write a pending segment and its planned shares down."""
    layout = found.layout
    connection.execute(
        segment.insert(),
        {
            "id": found.id,
            "k": layout.k,
            "n": layout.n,
            "block_bytes": layout.block_bytes,
            "size_bytes": found.size_bytes,
            "sealed_bytes": layout.size_bytes,
            "wrapped_key": found.wrapped_key,
            "state": "pending",
            "complete": False,
            "uses": 0,
            "writer": writer,
            "created_ms": now_ms,
            "dropped_ms": None,
            "relaxed": relaxed,
        },
    )
    plan_shares(connection, found.id, shares, now_ms)


def plan_shares(connection: Connection, segment_id: bytes, shares: Sequence[Share], now_ms: int) -> None:
    """Write further shares down before they are sent (replacements, repairs)."""
    connection.execute(
        share.insert(),
        [
            {
                "id": s.id,
                "segment_id": segment_id,
                "number": s.number,
                "device": s.device,
                "size_bytes": s.size_bytes,
                "state": "planned",
                "root": None,
                "receipt": None,
                "leased_ms": None,
                "released_ms": None,
                "changed_ms": now_ms,
            }
            for s in shares
        ],
    )


_HELD = (
    update(share)
    .where(share.c.id == bindparam("share_id"), share.c.state == "planned")
    .values(
        state="held",
        leaf_bytes=bindparam("new_leaf_bytes"),
        root=bindparam("new_root"),
        receipt=bindparam("new_receipt"),
        changed_ms=bindparam("now"),
    )
)


def hold(connection: Connection, receipts: Iterable[tuple[bytes, int, bytes, bytes]], now_ms: int) -> None:
    """Note receipts: (share id, leaf size, root, signed receipt)."""
    rows = [
        {"share_id": i, "new_leaf_bytes": leaf_bytes, "new_root": root, "new_receipt": body, "now": now_ms}
        for i, leaf_bytes, root, body in receipts
    ]
    if rows:
        connection.execute(_HELD, rows)


def complete(connection: Connection, segment_id: bytes) -> None:
    """Note that enough receipts of a segment are written down. Raises SegmentGone when it was swept meanwhile."""
    here = (segment.c.id == segment_id) & (segment.c.state == "pending")
    if connection.execute(segment.update().where(here).values(complete=True)).rowcount != 1:
        raise SegmentGone(f"segment {segment_id.hex()} was swept while it was written: write the object again")


def leave(connection: Connection, share_ids: Iterable[bytes], now_ms: int) -> None:
    """Give shares up: the sweeper deletes them from their nodes."""
    rows = [{"share_id": i, "now": now_ms} for i in share_ids]
    if rows:
        connection.execute(
            update(share)
            .where(share.c.id == bindparam("share_id"))
            .values(state="leaving", changed_ms=bindparam("now")),
            rows,
        )


def adopt(connection: Connection, refs: Iterable[SegmentRef]) -> None:
    """Count one more use of each segment (twice if it stands there twice). Raises SegmentGone."""
    for segment_id, count in sorted(Counter(ref.id for ref in refs).items()):  # one order: no deadlock
        usable = (segment.c.id == segment_id) & segment.c.complete & segment.c.state.in_(("pending", "live"))
        changed = connection.execute(
            segment.update().where(usable).values(state="live", uses=segment.c.uses + count, dropped_ms=None)
        )
        if changed.rowcount != 1:
            raise SegmentGone(f"segment {segment_id.hex()} is gone: write the object again")


def drop(connection: Connection, refs: Iterable[SegmentRef], now_ms: int) -> None:
    """Count one use less of each segment; those without any are dropped. Raises SegmentGone when one is not in use."""
    for segment_id, count in sorted(Counter(ref.id for ref in refs).items()):
        used = (segment.c.id == segment_id) & (segment.c.state == "live") & (segment.c.uses >= count)
        changed = connection.execute(segment.update().where(used).values(uses=segment.c.uses - count))
        if changed.rowcount != 1:
            raise SegmentGone(f"segment {segment_id.hex()} is not used {count} times: its use counts are off")
        unused = (segment.c.id == segment_id) & (segment.c.uses == 0)
        connection.execute(segment.update().where(unused).values(state="dropped", dropped_ms=now_ms))


def abandon(connection: Connection, segment_ids: Iterable[bytes], now_ms: int) -> None:
    """Drop segments that were never adopted: the sweeper deletes their shares."""
    for segment_id in segment_ids:
        pending = (segment.c.id == segment_id) & (segment.c.state == "pending")
        connection.execute(segment.update().where(pending).values(state="dropped", dropped_ms=now_ms))


def load(connection: Connection, segment_id: bytes) -> Segment | None:
    """Return a segment with its held shares; None when it is gone."""
    row = connection.execute(select(segment).where(segment.c.id == segment_id)).one_or_none()
    if row is None:
        return None
    held = connection.execute(
        select(share.c.id, share.c.number, share.c.device, share.c.size_bytes, share.c.root, share.c.leaf_bytes).where(
            share.c.segment_id == segment_id, share.c.state == "held"
        )
    )
    shares = {row.number: Share(*row) for row in held}
    layout = Layout(row.sealed_bytes, row.k, row.n, row.block_bytes)
    return Segment(row.id, row.size_bytes, layout, row.wrapped_key, shares)


def mark(connection: Connection, share_id: bytes, state: str, now_ms: int, *, keep: int = 0) -> bool:
    """Set a held share's state: `corrupt` or `lost`; repair regenerates it. False when it is not held any more, or when
    fewer than `keep` others of its segment are: what others say must not make an object unreadable."""
    held = (share.c.id == share_id) & (share.c.state == "held")
    if keep:
        # locked: two who give up a share each at once would both count the other's
        mine = select(share.c.segment_id).where(held).scalar_subquery()
        here = connection.execute(select(segment.c.id).where(segment.c.id == mine).with_for_update()).scalar()
        others = (share.c.segment_id == here) & (share.c.state == "held") & (share.c.id != share_id)
        if connection.execute(select(func.count()).select_from(share).where(others)).scalar_one() < keep:
            return False
    return connection.execute(share.update().where(held).values(state=state, changed_ms=now_ms)).rowcount == 1


def note_incident(connection: Connection, device: str, share_id: bytes, kind: str, detail: str, now_ms: int) -> None:
    """Keep what a node did wrong, with the evidence."""
    connection.execute(
        incident.insert(),
        {"at_ms": now_ms, "device": device, "share_id": share_id, "kind": kind, "detail": detail},
    )


def key_context(segment_id: bytes) -> bytes:
    """Return what a segment's wrapped key is bound to."""
    return b"fieldstone/pool/segment/v1\0" + segment_id


def cipher_of(found: Segment, master: bytes) -> cipher.SegmentCipher:
    """Return the cipher that opens a segment. Raises CheckFailed for another master key."""
    return cipher.SegmentCipher(cipher.unwrap_key(master, found.wrapped_key, key_context(found.id)), found.id)
