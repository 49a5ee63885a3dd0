"""Work that no request asks for: lifecycle rules, uploads nobody finishes, answers kept for clients that ask again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence

import structlog

from fieldstone.errors import FieldstoneError
from fieldstone.services.storage.catalog.buckets import buckets_with
from fieldstone.services.storage.catalog.faults import CatalogFault
from fieldstone.services.storage.catalog.listing import list_uploads, list_versions
from fieldstone.services.storage.catalog.rows import Bucket, Version
from fieldstone.services.storage.catalog.uploads import abort_upload, find_upload, forget_completed
from fieldstone.services.storage.catalog.versions import delete_current, delete_version
from fieldstone.services.storage.s3 import lifecycle
from fieldstone.services.storage.s3.lifecycle import DAY_MS, Facts, Rule
from fieldstone.services.storage.s3.server.gateway import Gateway

_log = structlog.get_logger("s3.worker")

LOOK_S = 600.0
KEPT_COMPLETED_MS = DAY_MS
_PAGE = 1_000


async def work(gateway: Gateway, *, look_s: float = LOOK_S, day_ms: int = DAY_MS) -> None:
    """Look again and again, until cancelled. A failure is logged and tried again."""
    while True:
        try:
            await sweep(gateway, day_ms=day_ms)
        except FieldstoneError as error:
            _log.warning("lifecycle_waits", why=str(error))
        await asyncio.sleep(look_s)


async def sweep(gateway: Gateway, *, day_ms: int = DAY_MS) -> int:
    """Apply every bucket's lifecycle once; return how many versions and uploads ended. `day_ms` shortens days in trials."""
    await gateway.refresh(at_once=True)
    now_ms = gateway.now_ms()
    await gateway.store.write(lambda c: forget_completed(c, now_ms - KEPT_COMPLETED_MS))
    ended = 0
    for name in await gateway.store.read(lambda c: buckets_with(c, "lifecycle")):
        try:
            view = await gateway.bucket(name)
            rules = view.setting("lifecycle", lifecycle.parse) or ()
            ended += await _sweep_versions(gateway, view.row, rules, now_ms, day_ms)
            ended += await _sweep_uploads(gateway, view.row, rules, now_ms, day_ms)
        except FieldstoneError as error:
            # deleted meanwhile, or rules that cannot be read: the other buckets' do not wait for it
            _log.warning("lifecycle_waits", bucket=name, why=str(error))
    return ended


async def _sweep_versions(gateway: Gateway, bucket: Bucket, rules: Sequence[Rule], now_ms: int, day_ms: int) -> int:
    ended = 0
    walk = Walk()
    key, row = b"", None
    while True:
        page = await gateway.store.read(
            lambda c, key=key, row=row: list_versions(c, bucket.id, after=key, after_row=row, limit=_PAGE)  # type: ignore[misc]
        )
        # On a thread: a thousand rules on a page of versions take seconds, and requests are not to wait for them.
        due = await asyncio.to_thread(_due, walk.facts(page.entries, more=page.truncated), rules, now_ms, day_ms)
        for version in due:
            ended += await _end(gateway, bucket, version, now_ms)
        if not page.truncated:
            return ended
        key, row = page.next_key, page.next_entry.id


def _due(facts: Iterable[tuple[Version, Facts]], rules: Sequence[Rule], now_ms: int, day_ms: int) -> list[Version]:
    return [
        version
        for version, known in facts
        if any(lifecycle.expired(rule, known, now_ms, day_ms=day_ms) for rule in rules)
    ]


class Walk:
    """What the rules ask about each version, as a bucket's versions come by in the order of listings: keys, newest first.

    Of what came before it keeps one row, however many versions a key has.
    """

    def __init__(self) -> None:
        self._newer: Version | None = None  # the one before, of the same key
        self._index = 0
        self._waiting: Version | None = None  # whether it stands alone is known with the next one

    def facts(self, rows: Sequence[Version], *, more: bool) -> Iterator[tuple[Version, Facts]]:
        """Yield versions with their facts. `more`: further rows follow, so the last one waits for them."""
        for row in rows:
            if self._waiting is not None:
                yield self._known(self._waiting, row)
            self._waiting = row
        if self._waiting is not None and not more:
            yield self._known(self._waiting, None)
            self._waiting = None

    def _known(self, version: Version, following: Version | None) -> tuple[Version, Facts]:
        newer = self._newer
        if newer is None or newer.key != version.key:
            newer, self._index = None, 0
        facts = Facts(
            version.key.decode(),
            version.modified_ms,
            version.size_bytes,
            version.tag_map() if version.tags else {},
            version.marker,
            newer.modified_ms if newer is not None else None,
            max(self._index - 1, 0),
            newer is None and (following is None or following.key != version.key),
        )
        self._newer, self._index = version, self._index + 1
        return version, facts


async def _end(gateway: Gateway, bucket: Bucket, version: Version, now_ms: int) -> int:
    for_good = version.marker or not version.is_current

    def unchanged(found: Version | None) -> None:
        # an old version may have become the current one again, an object may have got a tag that keeps it
        if found is None or (found.id, found.is_current, found.tags) != (version.id, version.is_current, version.tags):
            raise CatalogFault("PreconditionFailed", "the object was changed meanwhile")

    try:
        if for_good:
            await gateway.store.write(
                lambda c: delete_version(
                    c, gateway.pool, bucket.id, version.key, version.version_id, now_ms, check=unchanged
                )
            )
        else:
            await gateway.store.write(
                lambda c: delete_current(c, gateway.pool, bucket.id, version.key, bucket.owner, now_ms, unchanged)
            )
    except CatalogFault as fault:
        # locked, or changed: the next look decides again
        _log.info("lifecycle_skipped", bucket=bucket.name, version=version.version_id, why=str(fault))
        return 0
    return 1


async def _sweep_uploads(gateway: Gateway, bucket: Bucket, rules: Sequence[Rule], now_ms: int, day_ms: int) -> int:
    ended = 0
    key, behind = b"", ""
    while True:
        page = await gateway.store.read(
            lambda c, key=key, behind=behind: list_uploads(  # type: ignore[misc]
                c, bucket.id, after=key, after_upload=behind, limit=_PAGE
            )
        )
        for row in page.entries:
            name = row.key.decode()
            if any(lifecycle.upload_expired(rule, name, row.created_ms, now_ms, day_ms=day_ms) for rule in rules):
                try:
                    await gateway.store.write(
                        lambda c, row=row: abort_upload(  # type: ignore[misc]
                            c, gateway.pool, find_upload(c, bucket.id, row.key, row.upload_id)
                        )
                    )
                    ended += 1
                except CatalogFault:
                    continue  # completed or aborted meanwhile
        if not page.truncated:
            return ended
        key, behind = page.next_key, page.next_entry.upload_id
