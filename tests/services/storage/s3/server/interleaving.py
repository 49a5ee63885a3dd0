"""Two gateways on one database, and a request that runs whole while another one stops between two transactions."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, delete, select, text

from fieldstone.services.storage.catalog.content import Content
from fieldstone.services.storage.catalog.schema import content as contents
from fieldstone.services.storage.catalog.schema import metadata
from fieldstone.services.storage.catalog.schema import part as parts
from fieldstone.state.engine import connect_state
from tests.services.storage.folder_pool import segment
from tests.services.storage.s3.server.near import Near, Reply, near_of, prepared

A, B = bytes([65]) * 9_000, bytes([66]) * 8_000  # too large to lie in a row
VERSIONED = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
Doors = tuple[Near, Near]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def engines(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Engine]]:
    """Return connections of two gateways to a database of all tests of a file: to make one takes longer than a test."""
    url = str(tmp_path_factory.mktemp("interleaved") / "gateway.db")
    if request.param == "postgresql":
        name = f"interleaved_{secrets.token_hex(4)}"
        server = f"{request.getfixturevalue('postgres_server')}/postgres"
        with connect_state(server).begin() as connection:
            connection.execute(text(f"CREATE SCHEMA {name}"))
        url = f"{server}?options=-csearch_path%3D{name}"
    both = [prepared(url) for _ in range(2)]
    yield both
    for engine in both:
        engine.dispose()


@pytest.fixture
async def doors(engines: list[Engine], tmp_path: Path) -> AsyncIterator[Doors]:
    """Two gateways with an empty bucket; after the test a look at the use counts."""
    one, two = (near_of(engine, tmp_path) for engine in engines)
    wipe(engines[0])
    try:
        await one.put("/bkt", b"")
        await two.ask("HEAD", "/bkt")
        yield one, two
        held: Counter[bytes] = Counter()
        with engines[0].connect() as connection:
            for table in (contents, parts):
                for packed in connection.execute(select(table.c.extents)).scalars():
                    held.update(segment for segment, _ in Content.decode(packed).holdings())
        assert held == Counter({segment: uses for segment, uses in one.pool.uses().items() if uses})
    finally:
        one.gateway.store.close()
        two.gateway.store.close()


def wipe(engine: Engine) -> None:
    """Take everything out of a database but accounts and keys."""
    with engine.begin() as connection:
        for table in [segment, *reversed(metadata.sorted_tables)]:
            if table.name not in ("s3_state", "s3_account", "s3_access_key"):
                connection.execute(delete(table))


class Other:
    """The request that runs meanwhile, and what it was answered."""

    def __init__(self, near: Near, method: str, path: str, **named: Any) -> None:
        self._asked = near, method, path, named
        self.reply: Reply | None = None

    async def __call__(self) -> None:
        near, method, path, named = self._asked
        self.reply = await near.ask(method, path, **named)

    @property
    def said(self) -> str | int:
        """Its error code, or its status."""
        assert self.reply is not None, "it never ran"
        return self.reply.code or self.reply.status


def said(reply: Reply) -> str | int:
    return reply.code or reply.status


async def read(near: Near, path: str = "/bkt/k") -> bytes | None:
    reply = await near.ask("GET", path)
    return reply.body if reply.status == 200 else None


async def versioned(near: Near, bucket: str = "/bkt") -> None:
    assert (await near.ask("PUT", bucket, query="versioning=", body=VERSIONED)).status == 200


async def begun(near: Near, key: str = "/bkt/k", body: bytes = A) -> tuple[str, bytes]:
    """Begin an upload of one part; return its query and what completes it."""
    upload = (await near.ask("POST", key, query="uploads=")).value("UploadId")
    sent = await near.ask("PUT", key, query=f"partNumber=1&uploadId={upload}", body=body)
    part = f"<Part><PartNumber>1</PartNumber><ETag>{sent.header('etag')}</ETag></Part>"
    whole = f"<CompleteMultipartUpload>{part}</CompleteMultipartUpload>"
    return f"uploadId={upload}", whole.encode()
