"""Work that no request asks for: lifecycle rules, uploads nobody finishes, answers kept for clients that ask again."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from fieldstone.errors import FieldstoneError
from fieldstone.services.storage.catalog.buckets import buckets_with
from fieldstone.services.storage.catalog.faults import CatalogFault
from fieldstone.services.storage.catalog.listing import list_uploads, list_versions
from fieldstone.services.storage.catalog.rows import Bucket, Version
from fieldstone.services.storage.catalog.uploads import abort_upload, find_upload, forget_completed
from fieldstone.services.storage.catalog.versions import delete_current, delete_version
from fieldstone.services.storage.s3 import lifecycle
from fieldstone.services.storage.s3.errors import S3Error
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
        except S3Error:
            continue  # deleted meanwhile
        rules = view.setting("lifecycle", lifecycle.parse) or ()
        if rules:
            ended += await _sweep_versions(gateway, view.row, rules, now_ms, day_ms)
            ended += await _sweep_uploads(gateway, view.row, rules, now_ms, day_ms)
    return ended


async def _sweep_versions(gateway: Gateway, bucket: Bucket, rules: Sequence[Rule], now_ms: int, day_ms: int) -> int:
    ended = 0
    key, behind = b"", ""
    # the versions of the page's last key come with the next page: a key is judged as a whole
    held: list[Version] = []
    while True:
        page = await gateway.store.read(
            lambda c, key=key, behind=behind: list_versions(  # type: ignore[misc]
                c, bucket.id, after=key, after_version=behind, limit=_PAGE
            )
        )
        rows: list[Version] = [*held, *page.entries]
        if page.truncated and rows:
            last = rows[-1].key
            held = [row for row in rows if row.key == last]
            rows = rows[: len(rows) - len(held)]
            key, behind = page.next_key, page.next_entry.version_id
        for group in _by_key(rows):
            ended += await _sweep_key(gateway, bucket, group, rules, now_ms, day_ms)
        if not page.truncated:
            return ended


def _by_key(rows: list[Version]) -> list[list[Version]]:
    groups: list[list[Version]] = []
    for row in rows:
        if groups and groups[-1][0].key == row.key:
            groups[-1].append(row)
        else:
            groups.append([row])
    return groups


def facts_of(group: Sequence[Version], index: int) -> Facts:
    """Return what the rules ask about a version of a key; `group` holds all of its versions, newest first."""
    version = group[index]
    return Facts(
        version.key.decode(),
        version.modified_ms,
        version.size_bytes,
        version.tag_map() if version.tags else {},
        version.marker,
        group[index - 1].modified_ms if index else None,
        max(index - 1, 0),
        len(group) == 1,
    )


async def _sweep_key(
    gateway: Gateway, bucket: Bucket, group: Sequence[Version], rules: Sequence[Rule], now_ms: int, day_ms: int
) -> int:
    ended = 0
    for index, version in enumerate(group):
        facts = facts_of(group, index)
        if any(lifecycle.expired(rule, facts, now_ms, day_ms=day_ms) for rule in rules):
            ended += await _end(gateway, bucket, version, now_ms)
    return ended


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
