"""Object lock in the catalogue: what must not be deleted or shortened, whoever asks. The rules are `s3.object_lock`'s."""

from __future__ import annotations

from typing import cast

from sqlalchemy import Connection, update

from fieldstone.services.storage.catalog.faults import CatalogFault
from fieldstone.services.storage.catalog.rows import Version
from fieldstone.services.storage.catalog.schema import version as versions
from fieldstone.services.storage.s3.object_lock import Mode, Retention, may_change, may_remove


def retention_of(found: Version) -> Retention | None:
    """Return a version's retention, also one that has run out."""
    if found.retain_mode is None or found.retain_until_ms is None:
        return None
    return Retention(cast(Mode, found.retain_mode), found.retain_until_ms)


def check_deletable(found: Version, now_ms: int, *, bypass: bool) -> None:
    """Raises CatalogFault AccessDenied while a legal hold or a retention stands; only governance can be bypassed."""
    if not may_remove(retention_of(found), found.legal_hold, now_ms, bypass=bypass):
        raise CatalogFault("AccessDenied", "the version is protected by object lock; it cannot be deleted yet")


def set_retention(connection: Connection, found: Version, new: Retention | None, now_ms: int, *, bypass: bool) -> None:
    """Set or clear a version's retention. `found` must have been read in this transaction.

    Raises CatalogFault AccessDenied: compliance may only be lengthened, governance be weakened only with `bypass`.
    """
    if not may_change(retention_of(found), new, now_ms, bypass=bypass):
        raise CatalogFault("AccessDenied", "the version is retained longer, or in a stricter mode")
    values = {"retain_mode": new.mode if new else None, "retain_until_ms": new.until_ms if new else None}
    connection.execute(update(versions).where(versions.c.id == found.id).values(values))


def set_legal_hold(connection: Connection, found: Version, on: bool) -> None:
    """Set or lift a legal hold."""
    connection.execute(update(versions).where(versions.c.id == found.id).values(legal_hold=on))
