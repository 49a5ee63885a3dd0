"""The gateway's data plane: encrypt, code, place, upload and download shares, keep them whole.

    Pool.write ─ cipher ─ stripes ─ placement ─ upload ──HTTP──▶ providers ─▶ signed receipts ─▶ segments (SQL)
    Pool.read  ◀─ cipher ◀─ decode ◀─ download ◀─HTTP── providers
    Repair, Sweeper, LeaseReporter: what keeps shares whole, clean and paid

`tables` are the gateway's own, in one database with the catalogue. Names are imported when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fieldstone.services.storage.pool.profile import (
    INLINE_BYTES,
    PROFILES,
    Profile,
    SegmentRef,
    Stored,
    automatic,
    profile_named,
)

if TYPE_CHECKING:
    from fieldstone.services.storage.pool.directory import Directory, Node
    from fieldstone.services.storage.pool.lease import LeaseReporter
    from fieldstone.services.storage.pool.pool import Pool
    from fieldstone.services.storage.pool.repair import Repair
    from fieldstone.services.storage.pool.sweep import Sweeper
    from fieldstone.services.storage.pool.tables import create_tables
    from fieldstone.services.storage.pool.triage import RepairRules
    from fieldstone.services.storage.pool.watch import Watch

_HOME = {
    "Directory": "directory",
    "LeaseReporter": "lease",
    "Node": "directory",
    "Pool": "pool",
    "Repair": "repair",
    "RepairRules": "triage",
    "Sweeper": "sweep",
    "Watch": "watch",
    "create_tables": "tables",
}

__all__ = [
    "INLINE_BYTES",
    "PROFILES",
    "Directory",
    "LeaseReporter",
    "Node",
    "Pool",
    "Profile",
    "Repair",
    "RepairRules",
    "SegmentRef",
    "Stored",
    "Sweeper",
    "Watch",
    "automatic",
    "create_tables",
    "profile_named",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
