"""A catalogue with one account and one bucket, on each database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest
from sqlalchemy import Engine

from fieldstone.services.storage.catalog.accounts import SecretBox, create_account
from fieldstone.services.storage.catalog.buckets import create_bucket, set_versioning
from fieldstone.services.storage.catalog.content import Content
from fieldstone.services.storage.catalog.rows import Attributes, NewVersion, Written
from fieldstone.services.storage.catalog.schema import create_tables
from fieldstone.services.storage.catalog.store import Store
from fieldstone.services.storage.catalog.versions import put_version
from fieldstone.services.storage.pool import SegmentRef, Stored
from fieldstone.state.engine import connect_state
from tests.services.storage.folder_pool import FolderPool, segment

T = TypeVar("T")
OWNER = "a" * 64


@dataclass
class Catalogue:
    """A store with shortcuts."""

    engine: Engine
    store: Store
    pool: FolderPool
    box: SecretBox
    bucket: int = 0
    clock: int = 1_000_000
    _next: int = field(default=0)

    def do(self, call: Callable[..., T], *arguments: Any, **named: Any) -> T:
        return self.store.write_now(lambda c: call(c, *arguments, **named))

    def stored(self, size: int = 10_000, segments: int = 1) -> Stored:
        """Return something the pool has written: pending segments."""
        refs = []
        for _ in range(segments):
            self._next += 1
            ref = SegmentRef(self._next.to_bytes(16, "big"), size)
            self.do(lambda c, ref=ref: c.execute(segment.insert().values(id=ref.id, state="pending", uses=0)))
            refs.append(ref)
        return Stored(size * segments, tuple(refs))

    def new(self, etag: str = "e", size: int = 10_000, content: Content | None = None, **attributes: Any) -> NewVersion:
        self.clock += 1000
        content = content or Content.of(self.stored(size))
        return NewVersion(Attributes(OWNER, **attributes), content, etag, self.clock)

    def put(self, key: str | bytes, etag: str = "e", size: int = 10, **attributes: Any) -> Written:
        """Put a small inline object."""
        key = key.encode() if isinstance(key, str) else key
        content = Content.of(Stored(size, (), b"x" * size))
        return self.do(put_version, self.pool, self.bucket, key, self.new(etag, content=content, **attributes))

    def versioned(self, status: Any = "Enabled") -> None:
        self.do(set_versioning, self.bucket, status)


@pytest.fixture
def catalogue(database_url: str, tmp_path: Path) -> Iterator[Catalogue]:
    engine = connect_state(database_url)
    create_tables(engine)
    store = Store(engine)
    made = Catalogue(engine, store, FolderPool(engine, tmp_path / "segments"), SecretBox(b"k" * 32))
    made.do(lambda c: create_account(c, made.box, "main", account_id=OWNER, access_key="KEY", secret="secret-secret"))
    made.bucket = made.do(lambda c: create_bucket(c, "bucket", OWNER, 1, object_lock=False, documents={}))
    yield made
    store.close()
    engine.dispose()
