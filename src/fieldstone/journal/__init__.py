"""The append-only log, its signed receipts, and the sealed epochs that anyone can read.

Import what is heavier from its module: `journal.seal` (Polars), `journal.group_commit` (asyncio).
"""

from __future__ import annotations

from fieldstone.journal.entries import Commit, Entry, EntryKind, NewEntry
from fieldstone.journal.log import Journal
from fieldstone.journal.rejections import RejectionRow

__all__ = ["Commit", "Entry", "EntryKind", "Journal", "NewEntry", "RejectionRow"]
