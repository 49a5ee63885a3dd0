"""Lifecycle rules: which documents are taken, what answers tell of an end to come, and what ends when.

What takes days is tried on a gateway without a socket, whose clock we set.
"""

from __future__ import annotations

import asyncio
import datetime
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

from fieldstone.services.storage.catalog.buckets import set_versioning
from fieldstone.services.storage.catalog.listing import list_uploads
from fieldstone.services.storage.catalog.rows import Attributes
from fieldstone.services.storage.catalog.schema import create_tables
from fieldstone.services.storage.catalog.uploads import create_upload
from fieldstone.services.storage.catalog.versions import delete_current
from fieldstone.state.engine import connect_state
from tests.services.storage.s3.conformance.table import case, enter, fill, refused
from tests.services.storage.s3.conftest import Door
from tests.services.storage.s3.server.test_worker import OWNER, START_MS, World

Rule = dict[str, Any]


def rule(name: str = "one", status: str = "Enabled", **parts: Any) -> Rule:
    """Return a rule for everything, unless `parts` say for what."""
    where = {} if "Prefix" in parts or "Filter" in parts else {"Filter": {"Prefix": ""}}
    return {"ID": name, "Status": status, **where, **parts}


def _set(door: Door, bucket: str, *rules: Rule) -> None:
    words = {"Bucket": bucket, "LifecycleConfiguration": {"Rules": list(rules)}}
    done = door.client().put_bucket_lifecycle_configuration(**words)
    assert done["ResponseMetadata"]["HTTPStatusCode"] == 200


# ---- documents -------------------------------------------------------------------------------------------------------


def _taken(*rules: Rule) -> Any:
    def run(door: Door, bucket: str) -> None:
        _set(door, bucket, *rules)
        assert door.client().get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"] == list(rules)

    return run


def _noncurrent(days: int) -> dict[str, Any]:
    return {"NoncurrentVersionExpiration": {"NoncurrentDays": days}}


def _abort(days: int) -> dict[str, Any]:
    return {"AbortIncompleteMultipartUpload": {"DaysAfterInitiation": days}}


_MARKER = {"Expiration": {"ExpiredObjectDeleteMarker": True}}
_PAST = datetime.datetime(2019, 3, 4, tzinfo=datetime.UTC)
for _name, _rules in (
    ("set", [rule(Prefix="a/", Expiration={"Days": 1}), rule("two", "Disabled", Prefix="b/", Expiration={"Days": 2})]),
    ("get", [rule("a/", Prefix="a/", Expiration={"Days": 40}), rule("b/", Prefix="b/", Expiration={"Days": 99})]),
    ("set_date", [rule(Prefix="a/", Expiration={"Date": _PAST})]),
    ("set_noncurrent", [rule(Prefix="a/", **_noncurrent(2)), rule("two", Prefix="b/", **_noncurrent(3))]),
    ("set_deletemarker", [rule(Prefix="a/", **_MARKER)]),
    ("set_filter", [rule(Filter={"Prefix": "a"}, **_MARKER)]),
    ("set_multipart", [rule(Prefix="a/", **_abort(2)), rule("two", "Disabled", Prefix="b/", **_abort(3))]),
):
    enter("lifecycle", f"test_lifecycle_{_name}", _taken(*_rules))


@case("lifecycle", "test_lifecycle_set_empty_filter")
def an_empty_filter_means_everything(door: Door, bucket: str) -> None:
    _set(door, bucket, rule(Filter={}, **_MARKER))
    (found,) = door.client().get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    assert found["Filter"] in ({}, {"Prefix": ""})


@case("lifecycle", "test_lifecycle_get_no_id")
def rules_without_a_name_get_one(door: Door, bucket: str) -> None:
    wanted = [{"Status": "Enabled", "Prefix": p, "Expiration": {"Days": d}} for p, d in (("a/", 40), ("b/", 99))]
    _set(door, bucket, *wanted)
    found = door.client().get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    assert len({r.pop("ID") for r in found}) == 2
    assert found == wanted


def _refused_rules(code: str, *documents: list[Rule]) -> Any:
    def run(door: Door, bucket: str) -> None:
        call = door.client().put_bucket_lifecycle_configuration
        for rules in documents:
            refused(code, call, Bucket=bucket, LifecycleConfiguration={"Rules": rules}, status=400)
        refused("NoSuchLifecycleConfiguration", door.client().get_bucket_lifecycle_configuration, Bucket=bucket)

    return run


_ONE_DAY = {"Expiration": {"Days": 1}}
_NOON = datetime.datetime(2035, 3, 4, 12, tzinfo=datetime.UTC)
_TAG = {"Key": "t", "Value": "1"}
for _name, _code, _documents in (
    ("test_lifecycle_id_too_long", "InvalidArgument", [[rule("n" * 256, **_ONE_DAY)]]),
    ("test_lifecycle_same_id", "InvalidArgument", [[rule(Prefix="a/", **_ONE_DAY), rule(Prefix="b/", **_ONE_DAY)]]),
    ("test_lifecycle_invalid_status", "MalformedXML", [[rule("one", s, **_ONE_DAY)] for s in ("enabled", "disabled", "On")]),
    ("test_lifecycle_set_invalid_date", "InvalidArgument", [[rule(Expiration={"Date": _NOON})]]),
    ("test_lifecycle_expiration_days0", "InvalidArgument", [[rule(Expiration={"Days": d})] for d in (0, -1)]),
    ("test_lifecycle_transition_set_invalid_date", "InvalidArgument", [[rule(Transitions=[{"Date": _NOON, "StorageClass": "GLACIER"}])]]),
    # a filter has one element; several stand in And
    ("test_lifecycle_expiration_tags1", "MalformedXML", [[rule(Filter={"Prefix": "a/", "Tag": _TAG}, **_ONE_DAY)]]),
):  # fmt: skip
    enter("lifecycle", _name, _refused_rules(_code, *_documents))


@case("lifecycle")
def no_transitions(door: Door, bucket: str) -> None:
    call = door.client().put_bucket_lifecycle_configuration
    for parts in (
        {"Transitions": [{"Days": 1, "StorageClass": "GLACIER"}]},
        {"NoncurrentVersionTransitions": [{"NoncurrentDays": 1, "StorageClass": "GLACIER"}]},
    ):
        words = {"Bucket": bucket, "LifecycleConfiguration": {"Rules": [rule(**_ONE_DAY, **parts)]}}
        refused("NotImplemented", call, status=501, **words)


# ---- what answers tell -----------------------------------------------------------------------------------------------


def _ends(answer: dict[str, Any], name: str = "one") -> None:
    """An object written just now ends by a rule of one day: at the midnight after that day."""
    header = answer["ResponseMetadata"]["HTTPHeaders"]["x-amz-expiration"]
    when, _, by = header.partition('", ')
    assert by == f'rule-id="{name}"'
    left = parsedate_to_datetime(when.removeprefix('expiry-date="')) - datetime.datetime.now(datetime.UTC)
    assert datetime.timedelta(days=1) - datetime.timedelta(minutes=5) < left <= datetime.timedelta(days=2)


@case("lifecycle", "test_lifecycle_expiration_header_put")
def writes_tell_the_end(door: Door, bucket: str) -> None:
    client = door.client()
    _set(door, bucket, rule(Prefix="a/", **_ONE_DAY), rule("two", Filter={"Tag": _TAG}, **_ONE_DAY))
    _ends(client.put_object(Bucket=bucket, Key="a/k", Body=b"abc"))
    _ends(client.put_object(Bucket=bucket, Key="b", Body=b"abc", Tagging="t=1"), "two")
    _ends(client.copy_object(Bucket=bucket, Key="a/c", CopySource=f"{bucket}/a/k"))
    assert "Expiration" not in client.put_object(Bucket=bucket, Key="b", Body=b"abc")
    at = {"Bucket": bucket, "Key": "a/m"}
    at["UploadId"] = client.create_multipart_upload(**at)["UploadId"]
    part = client.upload_part(**at, PartNumber=1, Body=b"abc")["ETag"]
    _ends(client.complete_multipart_upload(**at, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part}]}))


@case("lifecycle", "test_lifecycle_expiration_header_head")
def heads_tell_the_end(door: Door, bucket: str) -> None:
    client = door.client()
    _set(door, bucket, rule(Prefix="a/", **_ONE_DAY))
    fill(client, bucket, "a/k", "b")
    _ends(client.head_object(Bucket=bucket, Key="a/k"))
    _ends(client.get_object(Bucket=bucket, Key="a/k"))
    assert "Expiration" not in client.head_object(Bucket=bucket, Key="b")


def _by_tags(where: dict[str, Any], fits: bool) -> Any:
    def run(door: Door, bucket: str) -> None:
        client = door.client()
        _set(door, bucket, rule(Filter=where, **_ONE_DAY))
        fill(client, bucket, "k")
        assert "Expiration" not in client.head_object(Bucket=bucket, Key="k")
        both = [_TAG, {"Key": "u", "Value": "2"}]
        client.put_object_tagging(Bucket=bucket, Key="k", Tagging={"TagSet": both})
        head = client.head_object(Bucket=bucket, Key="k")
        if fits:
            _ends(head)
        _set(door, bucket, rule(Filter={"Tag": {"Key": "v", "Value": "1"}}, **_ONE_DAY))
        assert "Expiration" not in client.head_object(Bucket=bucket, Key="k")
        assert ("Expiration" in head) == fits

    return run


_OTHER = {"Key": "u", "Value": "3"}
enter("lifecycle", "test_lifecycle_expiration_header_tags_head", _by_tags({"Tag": _TAG}, True))
enter("lifecycle", "test_lifecycle_expiration_header_and_tags_head", _by_tags({"And": {"Tags": [_TAG, _OTHER]}}, False))


# ---- what ends when --------------------------------------------------------------------------------------------------


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


@case("lifecycle", "test_lifecycle_delete")
def rules_are_taken_back(door: Door, bucket: str) -> None:
    client = door.client()
    _set(door, bucket, rule(**_ONE_DAY))
    for _ in range(2):
        assert client.delete_bucket_lifecycle(Bucket=bucket)["ResponseMetadata"]["HTTPStatusCode"] == 204
        call = client.get_bucket_lifecycle_configuration
        refused("NoSuchLifecycleConfiguration", call, Bucket=bucket, status=404)
