"""What all requests of a gateway share: catalogue, pool, and what is remembered of keys and buckets.

Keys and buckets are remembered until their generation in the database changes. SQLite is asked at every request (some
microseconds); PostgreSQL at most once per `LOOK_AGAIN_S`, so a change by another gateway is seen within that time, while
a change through this one is seen at once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeVar

from sqlalchemy import Connection

from fieldstone.clock import Clock, SystemClock
from fieldstone.services.storage.catalog.accounts import (
    GENERATIONS,
    Credentials,
    SecretBox,
    find_account,
    list_accounts,
    load_credentials,
)
from fieldstone.services.storage.catalog.buckets import find_bucket
from fieldstone.services.storage.catalog.rows import Account, Bucket
from fieldstone.services.storage.catalog.store import Store
from fieldstone.services.storage.pool import Profile, Stored
from fieldstone.services.storage.s3 import sigv4
from fieldstone.services.storage.s3.errors import S3Error
from fieldstone.services.storage.s3.server import decision
from fieldstone.services.storage.s3.server.callers import Callers
from fieldstone.services.storage.s3.server.metrics import Metrics

LOOK_AGAIN_S = 1.0
T = TypeVar("T")


class BytesPool(Protocol):
    """What the gateway asks of the pool (`pool.Pool` is one; tests have one on a folder)."""

    async def write(
        self, source: AsyncIterator[bytes | memoryview], *, profile: Profile | None, size_hint: int | None
    ) -> Stored: ...
    def read(self, stored: Stored, start: int, end: int) -> AsyncIterator[bytes | memoryview]: ...
    def holding(self, segment_ids: Sequence[bytes]) -> AbstractContextManager[None]: ...
    def open_inline(self, inline: bytes) -> bytes: ...
    def adopt(self, connection: Connection, stored: Stored) -> None: ...
    def drop(self, connection: Connection, stored: Stored) -> None: ...


@dataclass(frozen=True, slots=True)
class GatewayOptions:
    """`profile`: None lets the pool choose for each write. `base_domains`: hosts below which a bucket is named by the
    host. `etag`: `opaque` spares the MD5 of uploads; such ETags end in -1, so that clients do not take them for one.
    `allow_v2_header`: old clients' signatures (unsafe).
    `trusted_proxies`, `behind_tls`: see `Callers`. `keys_over_http`: customers' keys (SSE-C) may come unencrypted."""

    profile: Profile | None
    region: str = "us-east-1"
    base_domains: tuple[str, ...] = ()
    etag: Literal["md5", "opaque"] = "md5"
    allow_v2_header: bool = False
    body_timeout_s: float = 60.0
    trusted_proxies: tuple[str, ...] = ()
    behind_tls: bool = False
    keys_over_http: bool = False


@dataclass(slots=True)
class BucketView:
    """A bucket with its parsed settings, each parsed when first asked for."""

    row: Bucket
    # what `decision` asks of it, built at the first question
    access: decision.Bucket | None = None
    _parsed: dict[str, Any] = field(default_factory=dict)

    def setting(self, name: str, parse: Callable[[bytes], T]) -> T | None:
        """Return a setting's document as `parse` reads it, None when it is not set."""
        body = self.row.settings.get(name)
        if body is None:
            return None
        found = self._parsed.get(name)
        if found is None:
            found = self._parsed[name] = parse(body)
        return found


class Gateway:
    """The shared state of one process."""

    def __init__(
        self, store: Store, pool: BytesPool, box: SecretBox, options: GatewayOptions, clock: Clock | None = None
    ) -> None:
        self.store = store
        self.pool = pool
        self.options = options
        self.clock = clock or SystemClock()
        self.metrics = Metrics()
        self.callers = Callers(options.trusted_proxies, behind_tls=options.behind_tls)
        self.verifier = sigv4.Verifier(
            self.signing_credential,
            base_domains=options.base_domains,
            allow_v2_header=options.allow_v2_header,
        )
        self._box = box
        self._keys: dict[str, Credentials] = {}
        self._signing: dict[str, sigv4.Credential] = {}
        self._buckets: dict[str, BucketView] = {}
        self._accounts: dict[str, Account] = {}
        self._names: tuple[dict[str, str], dict[str, str]] | None = None
        self._generations = (-1, -1)
        self._looked_s = 0.0
        self._reloaded_s = 0.0
        self._reloading: asyncio.Future[None] | None = None

    def now_ms(self) -> int:
        return self.clock.now_ms()

    async def refresh(self, *, at_once: bool = False) -> None:
        """Forget what other processes changed."""
        loaded = self._generations != (-1, -1)
        if not self.store.is_sqlite and not at_once and loaded:
            now_s = time.monotonic()
            if now_s - self._looked_s < LOOK_AGAIN_S:
                return
            self._looked_s = now_s
        row = await self.store.first(GENERATIONS)
        found = (row[0], row[1]) if row is not None else (-1, -1)
        if found == self._generations:
            return
        if found[0] != self._generations[0]:
            self._keys = await self.store.read(lambda c: load_credentials(c, self._box))
            self._signing = {k.access_key: sigv4.Credential(k.access_key, k.secret) for k in self._keys.values()}
            self._accounts, self._names = {}, None
        self._buckets = {}
        self._generations = found

    async def refresh_for_unknown_key(self) -> None:
        """Look again, at most every second, before a key is refused that another gateway may just have made."""
        if self.store.is_sqlite:
            return
        now_s = time.monotonic()
        if self._reloading is None and now_s - self._reloaded_s >= LOOK_AGAIN_S:
            self._reloaded_s = now_s
            self._reloading = asyncio.ensure_future(self.refresh(at_once=True))
            self._reloading.add_done_callback(self._reloaded)
        if self._reloading is not None:  # all who ask meanwhile wait for the same answer
            await asyncio.shield(self._reloading)

    def _reloaded(self, _: asyncio.Future[None]) -> None:
        self._reloading = None

    async def bucket(self, name: str) -> BucketView:
        """Return a bucket. Errors: NoSuchBucket."""
        known = self._buckets  # while we read, a change may put another in its place: ours is not remembered then
        found = known.get(name)
        if found is None:
            row = await self.store.read(lambda c: find_bucket(c, name))
            if row is None:
                raise S3Error("NoSuchBucket", detail={"BucketName": name})
            found = known[name] = BucketView(row)
        return found

    async def change(self, call: Callable[[Connection], T]) -> T:
        """Write something that changes keys, buckets or settings, and see it at once."""
        result = await self.store.write(call)
        await self.refresh(at_once=True)
        return result

    def account_of_key(self, access_key: str | None) -> Account | None:
        """Return whose key it is; None for an anonymous request."""
        found = self._keys.get(access_key) if access_key is not None else None
        return found.account if found else None

    async def account(self, account_id: str) -> Account | None:
        """Return the account of a canonical id."""
        known = self._accounts
        found = known.get(account_id)
        if found is None:
            found = await self.store.read(lambda c: find_account(c, account_id))
            if found is not None:
                known[account_id] = found
        return found

    async def account_names(self) -> tuple[dict[str, str], dict[str, str]]:
        """Return canonical id → display name and email → canonical id of all accounts."""
        found = self._names
        if found is None:
            known = self._accounts
            accounts = await self.store.read(list_accounts)
            names = {account.id: account.name for account in accounts}
            found = names, {account.email: account.id for account in accounts if account.email}
            if known is self._accounts:  # nothing changed while we read
                self._names = found
        return found

    def signing_credential(self, access_key: str) -> sigv4.Credential | None:
        """Return a key with its secret, None for an unknown one."""
        return self._signing.get(access_key)
