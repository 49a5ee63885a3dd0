"""Lifecycle rules and two gateways on one database, without a socket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine

from fieldstone.clock import SetClock
from fieldstone.services.storage.catalog.accounts import SecretBox, create_account
from fieldstone.services.storage.catalog.buckets import create_bucket, put_setting, set_versioning
from fieldstone.services.storage.catalog.content import Content
from fieldstone.services.storage.catalog.listing import list_uploads, list_versions
from fieldstone.services.storage.catalog.rows import Attributes, NewVersion
from fieldstone.services.storage.catalog.schema import create_tables
from fieldstone.services.storage.catalog.store import Store
from fieldstone.services.storage.catalog.uploads import create_upload
from fieldstone.services.storage.catalog.versions import (
    delete_current,
    delete_version,
    find_version,
    put_version,
    set_tags,
)
from fieldstone.services.storage.pool import Profile, Stored
from fieldstone.services.storage.s3.errors import S3Error
from fieldstone.services.storage.s3.server.gateway import Gateway, GatewayOptions
from fieldstone.services.storage.s3.server.worker import sweep
from fieldstone.state.engine import connect_state
from tests.services.storage.folder_pool import FolderPool

DAY_MS = 86_400_000
START_MS = 20_000 * DAY_MS
OWNER = "a" * 64


class World:
    """A gateway with a clock of its own and one bucket."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        self.clock = SetClock(START_MS)
        self.store = Store(engine)
        box = SecretBox(b"k" * 32)
        self.pool = FolderPool(engine, folder)
        options = GatewayOptions(Profile("1/1", 1, 1))
        self.gateway = Gateway(self.store, self.pool, box, options, self.clock)
        self.box = box

    async def begin(self) -> None:
        await self.store.write(lambda c: create_account(c, self.box, "main", account_id=OWNER))
        self.bucket = await self.store.write(
            lambda c: create_bucket(c, "b", OWNER, START_MS, object_lock=False, documents={})
        )

    async def rules(self, *rules: str) -> None:
        document = f"<LifecycleConfiguration>{''.join(rules)}</LifecycleConfiguration>".encode()
        await self.store.write(lambda c: put_setting(c, self.bucket, "lifecycle", document))

    async def put(self, key: str, **attributes: Any) -> None:
        content = Content.of(Stored(3, (), b"abc"))
        new = NewVersion(Attributes(OWNER, **attributes), content, "e", self.clock.now_ms())
        await self.store.write(lambda c: put_version(c, self.pool, self.bucket, key.encode(), new))

    def left(self) -> list[tuple[str, bool]]:
        page = self.store.read_now(lambda c: list_versions(c, self.bucket, limit=1000))
        return [(v.key.decode(), v.marker) for v in page.entries]

    async def after(self, days: float) -> int:
        self.clock.set(START_MS + int(days * DAY_MS))
        return await sweep(self.gateway)


@pytest.fixture
async def world(database_url: str, tmp_path: Path) -> AsyncIterator[World]:
    engine = connect_state(database_url)
    create_tables(engine)
    made = World(engine, tmp_path / "segments")
    await made.begin()
    yield made
    made.store.close()
    engine.dispose()


def rule(body: str, where: str = "<Prefix/>", name: str = "r") -> str:
    return f"<Rule><ID>{name}</ID><Status>Enabled</Status><Filter>{where}</Filter>{body}</Rule>"


async def test_objects_expire_by_prefix_and_tag_and_locked_ones_stay(world: World) -> None:
    await world.rules(
        rule("<Expiration><Days>2</Days></Expiration>", "<Prefix>log/</Prefix>", "a"),
        rule("<Expiration><Days>1</Days></Expiration>", "<Tag><Key>t</Key><Value>1</Value></Tag>", "b"),
    )
    await world.put("log/1")
    await world.put("log/held", legal_hold=True)
    await world.put("keep")
    await world.put("tagged", tags={"t": "1"})
    assert await world.after(0.5) == 0
    assert await world.after(1.5) == 1
    assert [k for k, _ in world.left()] == ["keep", "log/1", "log/held"]
    assert await world.after(3) == 1
    assert [k for k, _ in world.left()] == ["keep", "log/held"]


async def test_versions_end_in_two_steps_and_lone_markers_go(world: World) -> None:
    await world.store.write(lambda c: set_versioning(c, world.bucket, "Enabled"))
    await world.rules(
        rule("<Expiration><Days>1</Days></Expiration>", name="a"),
        rule("<NoncurrentVersionExpiration><NoncurrentDays>2</NoncurrentDays></NoncurrentVersionExpiration>", name="b"),
        rule("<Expiration><ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker></Expiration>", name="c"),
    )
    await world.put("k")
    await world.after(1.5)
    assert world.left() == [("k", True), ("k", False)]
    await world.after(3.2)
    assert world.left() == [("k", True), ("k", False)]
    await world.after(5)
    assert world.left() == [("k", True)]
    await world.after(5.1)
    assert world.left() == []


async def test_what_changes_while_the_rules_are_applied_stays(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page is read, then its versions are ended one by one: long enough to undelete an object, or to tag it `keep`."""
    await world.store.write(lambda c: set_versioning(c, world.bucket, "Enabled"))
    await world.rules(
        "<Rule><Filter><Tag><Key>t</Key><Value>1</Value></Tag></Filter><Status>Enabled</Status>"
        "<Expiration><Days>1</Days></Expiration></Rule>",
        "<Rule><Filter><Prefix></Prefix></Filter><Status>Enabled</Status>"
        "<NoncurrentVersionExpiration><NoncurrentDays>1</NoncurrentDays></NoncurrentVersionExpiration></Rule>",
    )
    await world.put("tagged", tags={"t": "1"})
    await world.put("undeleted")
    gone = await world.store.write(lambda c: delete_current(c, world.pool, world.bucket, b"undeleted", OWNER, START_MS))

    def meanwhile(connection: Connection, *arguments: Any, **named: Any) -> Any:
        page = list_versions(connection, *arguments, **named)
        tagged = find_version(connection, world.bucket, b"tagged")
        assert tagged is not None and gone.version_id is not None
        marker = gone.version_id
        world.store.write_now(lambda c: set_tags(c, tagged.id, {"t": "2"}))
        world.store.write_now(lambda c: delete_version(c, world.pool, world.bucket, b"undeleted", marker, START_MS))
        return page

    monkeypatch.setattr("fieldstone.services.storage.s3.server.worker.list_versions", meanwhile)
    assert await world.after(30) == 0
    assert world.left() == [("tagged", False), ("undeleted", False)]


async def test_uploads_nobody_finishes_are_aborted(world: World) -> None:
    abort = (
        "<AbortIncompleteMultipartUpload><DaysAfterInitiation>1</DaysAfterInitiation></AbortIncompleteMultipartUpload>"
    )
    await world.rules(rule(abort, "<Prefix>a</Prefix>"))
    for key in (b"a", b"b"):
        await world.store.write(lambda c, k=key: create_upload(c, world.bucket, k, OWNER, Attributes(OWNER), START_MS))
    assert await world.after(2) == 1
    page = world.store.read_now(lambda c: list_uploads(c, world.bucket, limit=10))
    assert [row.key for row in page.entries] == [b"b"]


async def test_a_second_gateway_sees_what_the_first_changed(world: World) -> None:
    """Two processes on one database: settings within a second, objects at once."""
    other = Gateway(Store(world.store.engine), world.pool, world.box, world.gateway.options, world.clock)
    await other.refresh(at_once=True)
    assert (await other.bucket("b")).row.settings == {}
    await world.rules(rule("<Expiration><Days>1</Days></Expiration>"))
    await other.refresh(at_once=True)
    assert "lifecycle" in (await other.bucket("b")).row.settings
    from fieldstone.services.storage.catalog.removal import delete_bucket

    await world.store.write(lambda c: delete_bucket(c, world.pool, world.bucket))
    await other.refresh(at_once=True)
    with pytest.raises(S3Error, match="NoSuchBucket"):
        await other.bucket("b")
    other.store.close()
