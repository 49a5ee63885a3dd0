"""Read what a round assigns: a checker's part. An ordinary signed order for ordinary bytes, and an honest report of what came.

The checker cannot know the right bytes and need not: it reports the hash of what it got, and the provider has to prove
that leaf in the next round (`services.storage.retrieval`).
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

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
ORDER_VALID_MS = 300_000
NOTHING = bytes(32)


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
        client: httpx.Client | None = None,
    ) -> None:
        self._key = key
        self._get = get
        self._notes = notes
        self._keep = keep
        self._clock = clock or SystemClock()
        self._client = client or httpx.Client(timeout=TIMEOUT_S, trust_env=False)

    def report(self, number: int, reads: Sequence[LeafRead]) -> bytes | None:
        """Read everything that round `number` assigns, in any order; return the body of the report, None when nothing is."""
        if not reads:
            return None
        listed = self._get(f"/v1/{SERVICE}/directory")["devices"]
        urls = {device["device"]: (device["url"], device.get("key") or device["device"]) for device in listed}
        mixed = random.sample(list(reads), len(reads))
        checks = tuple(self._read(one, *urls.get(one.provider, ("", one.provider))) for one in mixed)
        return records.encode(CheckSet(number=number, checks=checks))

    def _read(self, wanted: LeafRead, url: str, provider_key: str) -> RetrievalCheck:
        began = time.monotonic()
        outcome, body, first_byte_ms = "refused", b"", 0
        if url:
            try:
                outcome, body, first_byte_ms = self._ask(wanted, url, provider_key)
            except httpx.TimeoutException:
                outcome = "timeout"
            except httpx.HTTPError:
                outcome = "refused"
        total_ms = int((time.monotonic() - began) * 1_000)
        is_whole = outcome == "ok" and len(body) == wanted.end - wanted.start
        return RetrievalCheck(
            provider=wanted.provider,
            share=wanted.share,
            leaf_index=wanted.leaf_index,
            outcome="ok" if is_whole else ("wrong" if outcome == "ok" else outcome),  # type: ignore[arg-type]
            first_byte_ms=first_byte_ms or total_ms,
            total_ms=total_ms,
            size_bytes=len(body),
            answer=leaf_hash(body) if is_whole else NOTHING,
        )

    def _ask(self, wanted: LeafRead, url: str, provider_key: str) -> tuple[str, bytes, int]:
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
            with self._client.stream(
                "GET", f"{url}/v1/shares/{wanted.share.hex()}", headers={"authorization": signed}
            ) as answer:
                first_byte_ms = int((time.monotonic() - began) * 1_000)
                body = _at_most(answer, length)
            if answer.status_code == 409:
                so_far = max(so_far, _remembered(body))
                continue
            return ("ok" if answer.is_success else "refused"), body if answer.is_success else b"", first_byte_ms
        return "refused", b"", 0


def _at_most(answer: httpx.Response, length: int) -> bytes:
    """Return the body, cut off soon after it has become too long: a provider cannot fill a checker's memory."""
    found = bytearray()
    for piece in answer.iter_bytes(65_536):
        found += piece
        if len(found) > max(length, 4_096):
            break
    return bytes(found)


def _remembered(body: bytes) -> int:
    import json

    try:
        return int(json.loads(body)["egress_bytes"])
    except (ValueError, KeyError, TypeError):
        return 0
