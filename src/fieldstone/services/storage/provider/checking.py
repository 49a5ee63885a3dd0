"""Read what a round assigns: a checker's part. An ordinary signed order for ordinary bytes, and an honest report of what came.

The checker cannot know the right bytes and need not: it reports the hash of what it got, and the provider has to prove
that leaf in the next round (`services.storage.retrieval`). A provider that deleted the share by its gateway's order shows
that to the network itself (`duties.show_missed`), which voids the read; the checker says what it saw in any case.

Whoever is read may be hostile: every read has one deadline over all it does, what comes is never decoded, and nothing
that one provider sends or announces costs the reads of others.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol

import httpx

from fieldstone.clock import Clock, SystemClock
from fieldstone.identity.keys import Signer
from fieldstone.services.storage import records
from fieldstone.services.storage.challenge import LeafRead
from fieldstone.services.storage.codes.fast_tree import leaf_hash
from fieldstone.services.storage.provider.orders import header
from fieldstone.services.storage.records import AccessOrder, CheckSet, RetrievalCheck
from fieldstone.services.storage.schema import SERVICE

TIMEOUT_S = 20.0  # a little above the rule's `slow_ms`: slower than that is the same as nothing
ALL_S = 1_200.0  # for all reads of a round; what is reported later than `check_within_s` counts for nothing
ORDER_VALID_MS = 300_000
MOST_CAUGHT_UP_BYTES = 2**30  # per provider and start: what a provider's word alone may make us sign for
NOTHING = bytes(32)

_LOG = logging.getLogger("fieldstone.storage")
_AT_ONCE = 8
_MOST_CHECKS = 250  # in one report, which may have 64 KiB
_LONGEST_REFUSAL = 8_192

Outcome = Literal["ok", "wrong", "refused", "timeout"]


class Notes(Protocol):
    """Numbers that survive a crash: how many bytes were ordered from each provider so far."""

    def note(self, name: str) -> str | None: ...


class Checker:
    """Carries out test reads. `keep(name, value)` writes a note durably; `get` asks the network's node."""

    def __init__(
        self,
        key: Signer,
        get: Callable[[str], Any],
        notes: Notes,
        keep: Callable[[str, str], None],
        *,
        clock: Clock | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._key = key
        self._get = get
        self._notes = notes
        self._keep = keep
        self._clock = clock or SystemClock()
        self._timeout_s = timeout_s
        self._caught_up: dict[str, int] = {}

    def report(self, number: int, reads: Sequence[LeafRead]) -> list[bytes]:
        """Read everything that round `number` assigns, in any order; return the bodies of the reports, none for nothing."""
        if not reads:
            return []
        listed = self._get(f"/v1/{SERVICE}/directory")["devices"]
        urls = {device["device"]: (device["url"], device.get("key") or device["device"]) for device in listed}
        checks = asyncio.run(self._all(random.sample(list(reads), len(reads)), urls))
        parts = (tuple(checks[at : at + _MOST_CHECKS]) for at in range(0, len(checks), _MOST_CHECKS))
        return [records.encode(CheckSet(number=number, checks=part)) for part in parts]

    async def _all(self, reads: Sequence[LeafRead], urls: Mapping[str, tuple[str, str]]) -> list[RetrievalCheck]:
        """Read side by side. What could not be begun in time is left out."""
        room, deadline_s = asyncio.Semaphore(_AT_ONCE), time.monotonic() + ALL_S
        headers = {"accept-encoding": "identity"}
        async with httpx.AsyncClient(timeout=self._timeout_s, trust_env=False, headers=headers) as client:

            async def one(wanted: LeafRead) -> RetrievalCheck | None:
                async with room:
                    if time.monotonic() > deadline_s:
                        return None
                    return await self._read(client, wanted, *urls.get(wanted.provider, ("", wanted.provider)))

            found = await asyncio.gather(*(one(wanted) for wanted in reads))
        return [check for check in found if check is not None]

    async def _read(self, client: httpx.AsyncClient, wanted: LeafRead, url: str, provider_key: str) -> RetrievalCheck:
        began = time.monotonic()
        outcome: Outcome = "refused"
        body, first_byte_ms = b"", 0
        if url:
            try:
                async with asyncio.timeout(self._timeout_s):
                    outcome, body, first_byte_ms = await self._ask(client, wanted, url, provider_key)
            except (TimeoutError, httpx.TimeoutException):
                outcome = "timeout"
            except (
                Exception
            ) as error:  # whatever its address or answer does to our client: it is that provider's failure
                _LOG.info("a test read of %s failed: %r", wanted.provider, error)
        total_ms = int((time.monotonic() - began) * 1_000)
        is_whole = outcome == "ok" and len(body) == wanted.end - wanted.start
        return RetrievalCheck(
            provider=wanted.provider,
            share=wanted.share,
            leaf_index=wanted.leaf_index,
            outcome="ok" if is_whole else ("wrong" if outcome == "ok" else outcome),
            first_byte_ms=first_byte_ms or total_ms,
            total_ms=total_ms,
            size_bytes=len(body),
            answer=leaf_hash(body) if is_whole else NOTHING,
        )

    async def _ask(
        self, client: httpx.AsyncClient, wanted: LeafRead, url: str, provider_key: str
    ) -> tuple[Outcome, bytes, int]:
        """Send the order; once more when the provider remembers a higher count than we do (a crash, a lost answer)."""
        name = f"ordered from {provider_key}"
        length = wanted.end - wanted.start
        so_far = int(self._notes.note(name) or 0)
        for _ in range(2):
            so_far += length
            self._keep(name, str(so_far))  # before it is sent: a number is never used twice
            order = AccessOrder(
                operation="get",
                gateway=self._key.public.device_id,
                provider=provider_key,
                share=wanted.share,
                expires_ms=self._clock.now_ms() + ORDER_VALID_MS,
                start=wanted.start,
                end=wanted.end,
                egress_bytes=so_far,
            )
            signed = header(records.sign(self._key, order, records.ACCESS))
            began = time.monotonic()
            path = f"{url}/v1/shares/{wanted.share.hex()}"
            async with client.stream("GET", path, headers={"authorization": signed}) as answer:
                first_byte_ms = int((time.monotonic() - began) * 1_000)
                body = await _at_most(answer, length if answer.is_success else _LONGEST_REFUSAL)
            if answer.status_code == 409:
                newest = self._believed(provider_key, so_far, _remembered(body))
                if newest is None:
                    break
                so_far = newest
                continue
            return ("ok" if answer.is_success else "refused"), body if answer.is_success else b"", first_byte_ms
        return "refused", b"", 0

    def _believed(self, provider_key: str, so_far: int, newest: int) -> int | None:
        """Return what to count on from when a provider says that it has an order for `newest` bytes; None: no more is believed.

        Who believes it signs for bytes that nobody read.
        """
        rise = max(0, newest - so_far)
        caught_up = self._caught_up.get(provider_key, 0) + rise
        if caught_up > MOST_CAUGHT_UP_BYTES:
            _LOG.warning("%s says we ordered %d bytes more than we know of: not believed", provider_key, rise)
            return None
        self._caught_up[provider_key] = caught_up
        return so_far + rise


async def _at_most(answer: httpx.Response, length: int) -> bytes:
    """Return the body as it came, cut off soon after it has become too long: nobody can fill a checker's memory."""
    found = bytearray()
    async for piece in answer.aiter_raw(65_536):
        found += piece
        if len(found) > length:
            break
    return bytes(found)


def _remembered(body: bytes) -> int:
    try:
        said = json.loads(body)["egress_bytes"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return 0
    return said if isinstance(said, int) else 0
