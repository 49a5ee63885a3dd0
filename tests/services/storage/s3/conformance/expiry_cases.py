"""What lifecycle rules end, and when: tried on a gateway without a socket, whose clock is set."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fieldstone.services.storage.catalog.buckets import set_versioning
from fieldstone.services.storage.catalog.listing import list_uploads
from fieldstone.services.storage.catalog.rows import Attributes
from fieldstone.services.storage.catalog.schema import create_tables
from fieldstone.services.storage.catalog.uploads import create_upload
from fieldstone.services.storage.catalog.versions import delete_current
from fieldstone.state.engine import connect_state
from tests.services.storage.s3.conformance.table import case, enter
from tests.services.storage.s3.conftest import Door
from tests.services.storage.s3.server.test_worker import OWNER, START_MS, World


@contextmanager
def trial() -> Iterator[tuple[World, Callable[[Awaitable[Any]], Any]]]:
    """Lend a gateway with a clock, and what runs its coroutines."""
    with tempfile.TemporaryDirectory() as folder, asyncio.Runner() as runner:
        engine = connect_state(Path(folder) / "trial.db")
        create_tables(engine)
        world = World(engine, Path(folder))
        runner.run(world.begin())
        yield world, lambda work: runner.run(_wait(work))
        world.store.close()
        engine.dispose()


async def _wait(work: Awaitable[Any]) -> Any:
    return await work


def _xml(where: str, what: str, name: str = "r") -> str:
    return f"<Rule><ID>{name}</ID><Status>Enabled</Status>{where}{what}</Rule>"


def _prefix(value: str) -> str:
    return f"<Prefix>{value}</Prefix>"


def _days(count: int) -> str:
    return f"<Expiration><Days>{count}</Days></Expiration>"


def _versioned(world: World) -> Awaitable[None]:
    return world.store.write(lambda c: set_versioning(c, world.bucket, "Enabled"))


def _delete(world: World, key: bytes) -> Awaitable[Any]:
    return world.store.write(lambda c: delete_current(c, world.pool, world.bucket, key, OWNER, world.clock.now_ms()))


def _by_days(door: Door) -> None:
    with trial() as (world, run):
        run(world.rules(_xml(_prefix("a/"), _days(1), "a"), _xml(_prefix("c/"), _days(5), "c")))
        for key in ("a/1", "a/2", "b/1", "b/2", "c/1", "c/2"):
            run(world.put(key))
        for days, left in ((0.5, 6), (2.5, 4), (4, 4), (6.5, 2)):
            run(world.after(days))
            assert len(world.left()) == left


enter("lifecycle", "test_lifecycle_expiration", _by_days)
enter("lifecycle", "test_lifecyclev2_expiration", _by_days)


@case("lifecycle", "test_lifecycle_expiration_date")
def a_date_that_is_past_ends_at_once(door: Door) -> None:
    def date(text: str) -> str:
        return f"<Expiration><Date>{text}T00:00:00Z</Date></Expiration>"

    with trial() as (world, run):
        run(world.rules(_xml(_prefix("a/"), date("2001-01-01"), "a"), _xml(_prefix("b/"), date("2090-01-01"), "b")))
        for key in ("a/1", "b/1"):
            run(world.put(key))
        run(world.after(0.1))
        assert world.left() == [("b/1", False)]


@case("lifecycle", "test_lifecycle_expiration_versioning_enabled")
def a_deleted_object_does_not_end_again(door: Door) -> None:
    with trial() as (world, run):
        run(_versioned(world))
        run(world.put("a/1"))
        run(_delete(world, b"a/1"))
        run(world.rules(_xml(_prefix("a/"), _days(1))))
        run(world.after(4))
        assert world.left() == [("a/1", True), ("a/1", False)]


def _two_tags(versioned: bool) -> Any:
    where = "<Filter><And><Prefix>a/</Prefix>%s</And></Filter>"
    tags = "".join(f"<Tag><Key>{name}</Key><Value>1</Value></Tag>" for name in ("t", "u"))

    def run_(door: Door) -> None:
        with trial() as (world, run):
            if versioned:
                run(_versioned(world))
            run(world.put("a/one", tags={"t": "1"}))
            run(world.put("a/two", tags={"t": "1", "u": "1"}))
            run(world.rules(_xml(where % tags, _days(1))))
            run(world.after(3))
            gone = [("a/two", True), ("a/two", False)] if versioned else []
            assert world.left() == [("a/one", False), *gone]

    return run_


enter("lifecycle", "test_lifecycle_expiration_tags2", _two_tags(False))
enter("lifecycle", "test_lifecycle_expiration_versioned_tags2", _two_tags(True))

_NONCURRENT = "<NoncurrentVersionExpiration><NoncurrentDays>%d</NoncurrentDays>%s</NoncurrentVersionExpiration>"


@case("lifecycle", "test_lifecycle_expiration_noncur_tags1")
def old_versions_with_a_tag_end(door: Door) -> None:
    where = "<Filter><Tag><Key>t</Key><Value>1</Value></Tag></Filter>"
    with trial() as (world, run):
        run(_versioned(world))
        for _ in range(5):
            run(world.put("k", tags={"t": "1"}))
        run(world.put("free"))
        run(world.put("free"))
        run(world.rules(_xml(where, _NONCURRENT % (4, ""))))
        for days, left in ((2, 7), (6, 3)):
            run(world.after(days))
            assert len(world.left()) == left


@case("lifecycle", "test_lifecycle_noncur_expiration")
def old_versions_end(door: Door) -> None:
    with trial() as (world, run):
        run(_versioned(world))
        for key in ("a/1", "b/1"):
            for _ in range(3):
                run(world.put(key))
        run(world.rules(_xml(_prefix("a/"), _NONCURRENT % (2, ""))))
        run(world.after(4))
        assert len(world.left()) == 4


@case("lifecycle", "test_lifecycle_deletemarker_expiration")
def a_marker_goes_when_it_stands_alone(door: Door) -> None:
    marker = "<Expiration><ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker></Expiration>"
    with trial() as (world, run):
        run(_versioned(world))
        for key in ("a/1", "b/1"):
            run(world.put(key))
            run(_delete(world, key.encode()))
        assert len(world.left()) == 4
        run(world.rules(_xml(_prefix("a/"), marker + _NONCURRENT % (1, ""))))
        for days in (3, 3.1):  # first the version, at the next look the marker that it leaves alone
            run(world.after(days))
        assert world.left() == [("b/1", True), ("b/1", False)]


@case("lifecycle", "test_lifecycle_multipart_expiration")
def uploads_nobody_completes_end(door: Door) -> None:
    aborted = (
        "<AbortIncompleteMultipartUpload><DaysAfterInitiation>2</DaysAfterInitiation></AbortIncompleteMultipartUpload>"
    )
    with trial() as (world, run):
        for key in (b"a/1", b"b/1"):
            made = world.store.write(
                lambda c, k=key: create_upload(c, world.bucket, k, OWNER, Attributes(OWNER), START_MS)
            )
            run(made)
        run(world.rules(_xml(_prefix("a/"), aborted)))
        run(world.after(4))
        page = world.store.read_now(lambda c: list_uploads(c, world.bucket, limit=10))
        assert [row.key for row in page.entries] == [b"b/1"]


@case("lifecycle", "test_lifecycle_expiration_newer_noncurrent")
def the_newest_old_versions_stay(door: Door) -> None:
    newer = "<NewerNoncurrentVersions>3</NewerNoncurrentVersions>"
    with trial() as (world, run):
        run(_versioned(world))
        for _ in range(8):
            run(world.put("k"))
        run(world.rules(_xml(_prefix(""), _NONCURRENT % (1, newer))))
        run(world.after(3))
        assert len(world.left()) == 4


def _by_size(element: str, left: str) -> Any:
    def run_(door: Door) -> None:
        with trial() as (world, run):
            run(world.put("three"))  # every object of this world has three bytes
            where = f"<Filter><{element}>%d</{element}></Filter>"
            for bound, stays in ((3, True), (2 if left == "greater" else 4, False)):
                run(world.rules(_xml(where % bound, _days(1))))
                run(world.after(3))
                assert (world.left() != []) == stays

    return run_


enter("lifecycle", "test_lifecycle_expiration_size_gt", _by_size("ObjectSizeGreaterThan", "greater"))
enter("lifecycle", "test_lifecycle_expiration_size_lt", _by_size("ObjectSizeLessThan", "less"))


@case("lifecycle", "test_delete_marker_expiration")
def what_ended_lies_under_a_marker(door: Door) -> None:
    with trial() as (world, run):
        run(_versioned(world))
        run(world.put("k"))
        run(world.rules(_xml(_prefix(""), _days(1))))
        run(world.after(3))
        assert world.left() == [("k", True), ("k", False)]


@case("lifecycle", "test_lifecycle_deletemarker_expiration_with_days_tag")
def a_lone_marker_ends_by_days_too(door: Door) -> None:
    with trial() as (world, run):
        run(_versioned(world))
        run(world.put("k"))
        run(_delete(world, b"k"))
        run(world.rules(_xml(_prefix(""), _days(5) + _NONCURRENT % (1, ""))))
        for days, left in ((3, [("k", True)]), (4, [("k", True)]), (7, [])):
            run(world.after(days))
            assert world.left() == left
