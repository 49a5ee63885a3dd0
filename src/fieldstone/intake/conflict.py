"""Messages whose sequence number is not new: a repeat, a late message, or a lie (equivocation).

The signature was right, so the device did sign this. What counts as "another message" is other *signed* bytes: ECDSA
may sign the same bytes twice. Evidence is kept once per sequence number and at most `MAX_EVIDENCE` times per device,
so that a liar cannot fill the journal; one is enough.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from fieldstone.errors import Retryable
from fieldstone.identity import cose
from fieldstone.intake import glance
from fieldstone.intake.checked import Checked
from fieldstone.intake.outcome import Outcome, refused
from fieldstone.journal.entries import Entry, EntryKind, NewEntry

if TYPE_CHECKING:
    from fieldstone.intake.pipeline import Intake

MAX_EVIDENCE = 100
_LOOK_BACK = 200_000  # entries to search when the accepted report is no longer remembered


class Conflicts:
    """Judges late messages one at a time: they are rare, or somebody makes them, who may then wait in line."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._turn = asyncio.Lock()

    async def judge(self, message: Checked) -> Outcome:
        """Return REPLAYED, SEQ_TOO_LOW or EQUIVOCATION; UNAVAILABLE when evidence could not be made durable."""
        assert message.head is not None
        name, seq = message.device.device, message.head.seq
        door = self._intake.door
        repeated = door.find_repeat(message.slot, seq, message.message)
        if repeated is not None:
            return repeated
        with door.marks.lock:
            found = message.slot.mark.find(seq)
            oldest = message.slot.mark.oldest()
        if found is None and oldest is not None and seq > oldest[0]:
            return refused("SEQ_TOO_LOW", f"seq {seq}, the last accepted is {message.slot.mark.last_seq}", name)
        async with self._turn:
            try:
                first = await asyncio.to_thread(self._find, message, found[0] if found else None, oldest)
            except Retryable as error:
                return refused("UNAVAILABLE", str(error), name)
        if first is None:
            return refused("SEQ_TOO_LOW", f"seq {seq}, the last accepted is {message.slot.mark.last_seq}", name)
        if first.body == message.message or self._signed(first.body) == message.signed:
            return refused("REPLAYED", f"seq {seq} is durable with the same signed bytes", name, first.position)
        if cose.parse(first.body).kid != message.kid:
            # Two keys, one device: no lie that anyone could check with the present key. Numbers go on after a rotation.
            return refused("SEQ_TOO_LOW", f"seq {seq} was used with the device's earlier key", name)
        with door.marks.lock:
            kept = door.marks.evidence(name)
            is_new = seq not in kept and len(kept) < MAX_EVIDENCE
            if is_new:
                kept.add(seq)
        if is_new:
            body = msgspec.msgpack.encode((first.body, message.message))
            try:
                await self._intake.group.submit([NewEntry(EntryKind.EQUIVOCATION, name, body)])
            except Retryable as error:
                with door.marks.lock:
                    door.marks.evidence(name).discard(seq)
                return refused("UNAVAILABLE", str(error), name)
        return refused("EQUIVOCATION", f"seq {seq} was accepted with other content", name, first.position)

    def _find(self, message: Checked, position: int | None, oldest: tuple[int, int] | None) -> Entry | None:
        journal = self._intake.group.journal
        if position is not None:
            return journal.entry(position)
        assert message.head is not None
        seq = message.head.seq
        before = oldest[1] if oldest is not None else journal.head + 1
        return journal.last_report_before(
            before, message.device.device, lambda body: glance.seq_of(cose.parse(body).payload) == seq, limit=_LOOK_BACK
        )

    def _signed(self, body: bytes) -> bytes:
        policy = self._intake.policy
        aad = cose.network_aad(policy.network_id, policy.chain_id, policy.schema_version)
        return cose.parse(body).signed_bytes(aad)
