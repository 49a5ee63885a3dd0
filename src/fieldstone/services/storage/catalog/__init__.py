"""The gateway's catalogue: accounts, buckets, versions of keys, uploads; SQLite or PostgreSQL, one database with the pool.

    store     enter the database: group commit, readers         schema   the tables
    accounts  keys and secrets     buckets, removal  settings    locks    retention and legal hold
    versions  write, find, delete  listing  skip-scan            uploads  multipart
    content   extents: copies and parts share segments           faults   S3's names for what cannot be

Functions take a connection and run in the caller's transaction; `Store.write` runs them and returns when they are
durable. The segments a row stands for are adopted and dropped in the same transaction.
"""

from __future__ import annotations

from fieldstone.services.storage.catalog.faults import CatalogFault

__all__ = ["CatalogFault"]
