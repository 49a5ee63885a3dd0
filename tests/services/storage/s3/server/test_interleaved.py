"""Two requests at once, step by step: one stops between two of its transactions, the other runs whole, through a second
gateway on the same database. Whoever loses gets the code that S3 gives; nothing acknowledged is lost or mixed up, and
every segment is used as often as rows name it.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, delete, select, text

from fieldstone.services.storage.catalog.accounts import create_account
from fieldstone.services.storage.catalog.content import Content
from fieldstone.services.storage.catalog.schema import content as contents
from fieldstone.services.storage.catalog.schema import metadata
from fieldstone.services.storage.catalog.schema import part as parts
from fieldstone.services.storage.s3.server.worker import sweep
from fieldstone.state.engine import connect_state
from tests.services.storage.folder_pool import segment
from tests.services.storage.s3.server.near import BOX, Near, Reply, account_id, near_of, prepared

A, B = bytes([65]) * 9_000, bytes([66]) * 8_000  # too large to lie in a row
VERSIONED = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
HOLD = b"<LegalHold><Status>ON</Status></LegalHold>"
Doors = tuple[Near, Near]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def engines(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Engine]]:
    """Return connections of two gateways to a database of all tests of this file: to make one takes longer than a test."""
    url = str(tmp_path_factory.mktemp("interleaved") / "gateway.db")
    if request.param == "postgresql":
        server = f"{request.getfixturevalue('postgres_server')}/postgres"
        with connect_state(server).begin() as connection:
            connection.execute(text("CREATE SCHEMA interleaved"))
        url = f"{server}?options=-csearch_path%3Dinterleaved"
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


# reads of a completion: the upload, its parts; then one write
STEPS = [("read", 1), ("read", 2), ("write", 1)]


@pytest.mark.parametrize(("what", "number"), STEPS)
async def test_who_complete_one_upload_are_both_told_of_the_one_object(doors: Doors, what: Any, number: int) -> None:
    one, two = doors
    await versioned(one)
    query, whole = await begun(one)
    other = Other(two, "POST", "/bkt/k", query=query, body=whole)
    one.before(what, number, other)
    mine = await one.ask("POST", "/bkt/k", query=query, body=whole)
    assert (said(mine), other.said) == (200, 200) and other.reply is not None
    assert mine.header("x-amz-version-id") == other.reply.header("x-amz-version-id")
    assert (await one.ask("GET", "/bkt", query="versions=")).body.count(b"<Version>") == 1
    assert await read(two) == A


@pytest.mark.parametrize(("what", "number"), STEPS)
async def test_a_completion_after_an_abort_made_nothing(doors: Doors, what: Any, number: int) -> None:
    one, two = doors
    query, whole = await begun(one)
    abort = Other(two, "DELETE", "/bkt/k", query=query)
    one.before(what, number, abort)
    mine = await one.ask("POST", "/bkt/k", query=query, body=whole)
    assert (said(mine), abort.said) == ("NoSuchUpload", 204)
    assert await read(two) is None


@pytest.mark.parametrize(("what", "number"), [("read", 1), ("write", 1)])
async def test_an_abort_after_a_completion_takes_nothing_away(doors: Doors, what: Any, number: int) -> None:
    one, two = doors
    query, whole = await begun(one)
    complete = Other(two, "POST", "/bkt/k", query=query, body=whole)
    one.before(what, number, complete)
    assert said(await one.ask("DELETE", "/bkt/k", query=query)) == "NoSuchUpload"
    assert (complete.said, await read(two)) == (200, A)


@pytest.mark.parametrize("of", ["abort", "complete"])
async def test_a_part_that_comes_too_late_is_refused(doors: Doors, of: str) -> None:
    one, two = doors
    query, whole = await begun(one)
    end = Other(two, "DELETE" if of == "abort" else "POST", "/bkt/k", query=query, body=whole)
    one.before("write", 1, end)
    late = await one.ask("PUT", "/bkt/k", query=f"partNumber=1&{query}", body=B)
    assert said(late) == "NoSuchUpload"
    assert await read(two) == (A if of == "complete" else None)


async def test_a_completion_of_a_part_that_was_replaced_meanwhile_is_refused(doors: Doors) -> None:
    one, two = doors
    query, whole = await begun(one)
    other = Other(two, "PUT", "/bkt/k", query=f"partNumber=1&{query}", body=B)
    one.before("write", 1, other)
    assert said(await one.ask("POST", "/bkt/k", query=query, body=whole)) == "InvalidPart"
    assert (other.said, await read(two)) == (200, None)


@pytest.mark.parametrize("status", ["", "Enabled"])
async def test_of_two_puts_the_last_one_stands_whole(doors: Doors, status: str) -> None:
    one, two = doors
    if status:
        await versioned(one)
    other = Other(two, "PUT", "/bkt/k", body=B, x_amz_meta_by="two")
    one.before("write", 1, other)
    mine = await one.ask("PUT", "/bkt/k", body=A, x_amz_meta_by="one")
    assert (said(mine), other.said) == (200, 200) and other.reply is not None
    found = await two.ask("GET", "/bkt/k")
    assert (found.body, found.header("x-amz-meta-by"), found.header("etag")) == (A, "one", mine.header("etag"))
    if status:
        older = await one.ask("GET", "/bkt/k", query=f"versionId={other.reply.header('x-amz-version-id')}")
        assert (older.body, older.header("x-amz-meta-by")) == (B, "two")


async def test_of_two_who_create_an_object_one_does(doors: Doors) -> None:
    one, two = doors
    other = Other(two, "PUT", "/bkt/k", body=B, if_none_match="*")
    one.before("write", 1, other)
    assert said(await one.ask("PUT", "/bkt/k", body=A, if_none_match="*")) == "PreconditionFailed"
    assert (other.said, await read(one)) == (200, B)


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
async def test_of_two_who_change_what_they_know_one_does(doors: Doors, method: str) -> None:
    one, two = doors
    etag = (await one.put("/bkt/k", A)).header("etag")
    other = Other(two, "PUT", "/bkt/k", body=B, if_match=etag)
    one.before("write", 1, other)
    assert said(await one.ask(method, "/bkt/k", body=b"mine", if_match=etag)) == "PreconditionFailed"
    assert (other.said, await read(one)) == (200, B)


WRITES: dict[str, dict[str, Any]] = {
    "put": {"method": "PUT", "body": A},
    "begin": {"method": "POST", "query": "uploads="},
    "copy": {"method": "PUT", "x_amz_copy_source": "/src/k"},
}


@pytest.mark.parametrize("how", sorted(WRITES))
@pytest.mark.parametrize("again", [False, True])
async def test_who_writes_to_a_bucket_that_is_deleted_writes_nowhere(doors: Doors, how: str, again: bool) -> None:
    """Also not into one of that name that somebody else has made since."""
    one, two = doors
    await one.put("/src", b"")
    await one.put("/src/k", A)
    ends = []

    async def gone() -> None:
        ends.append(said(await two.ask("DELETE", "/bkt")))
        if again:
            ends.append(said(await two.ask("PUT", "/bkt", account="third")))

    one.before("write", 1, gone)
    mine = await one.ask(path="/bkt/k", **WRITES[how])
    assert (said(mine), ends) == ("NoSuchBucket", [204, 200] if again else [204])
    if again:
        for query in ("", "uploads=", "versions="):
            listed = (await two.ask("GET", "/bkt", query=query, account="third")).body
            assert b"<Key>" not in listed


async def test_a_bucket_that_was_written_to_is_not_deleted(doors: Doors) -> None:
    one, two = doors
    other = Other(two, "PUT", "/bkt/k", body=A)
    one.before("write", 1, other)
    assert said(await one.ask("DELETE", "/bkt")) == "BucketNotEmpty"
    assert (other.said, await read(one)) == (200, A)


async def test_a_completion_in_a_bucket_that_is_deleted_makes_nothing(doors: Doors) -> None:
    one, two = doors
    query, whole = await begun(one)
    other = Other(two, "DELETE", "/bkt")
    one.before("write", 1, other)
    assert said(await one.ask("POST", "/bkt/k", query=query, body=whole)) == "NoSuchBucket"
    assert other.said == 204


@pytest.mark.parametrize("kind", ["object", "part"])
async def test_a_copy_of_what_is_deleted_meanwhile_copies_nothing(doors: Doors, kind: str) -> None:
    one, two = doors
    await one.put("/bkt/s", A)
    query = "" if kind == "object" else f"partNumber=1&{(await begun(one))[0]}"
    other = Other(two, "DELETE", "/bkt/s")
    one.before("write", 1, other)
    mine = await one.ask("PUT", "/bkt/k", query=query, x_amz_copy_source="/bkt/s")
    assert (said(mine), other.said, await read(two)) == ("NoSuchKey", 204, None)


@pytest.mark.parametrize("kind", ["object", "part"])
@pytest.mark.parametrize("status", ["", "Enabled"])
async def test_a_copy_of_what_is_overwritten_meanwhile_is_of_the_old_or_the_new(
    doors: Doors, kind: str, status: str
) -> None:
    one, two = doors
    if status:
        await versioned(one)
    await one.put("/bkt/s", A)
    query, whole = ("", b"") if kind == "object" else await begun(one)
    other = Other(two, "PUT", "/bkt/s", body=B)
    one.before("write", 1, other)
    query_ = f"partNumber=1&{query}" if query else ""
    mine = await one.ask("PUT", "/bkt/k", query=query_, x_amz_copy_source="/bkt/s")
    assert (said(mine), other.said) == (200, 200)
    if query:
        part = f"<Part><PartNumber>1</PartNumber><ETag>{mine.value('ETag')}</ETag></Part>"
        whole = f"<CompleteMultipartUpload>{part}</CompleteMultipartUpload>".encode()
        assert said(await two.ask("POST", "/bkt/k", query=query, body=whole)) == 200
    assert await read(two) == (A if status else B)


async def test_two_who_change_an_object_s_metadata_by_copying_it_onto_itself_both_do(doors: Doors) -> None:
    one, two = doors
    await one.put("/bkt/k", A)
    onto = {"x_amz_copy_source": "/bkt/k", "x_amz_metadata_directive": "REPLACE"}
    other = Other(two, "PUT", "/bkt/k", x_amz_meta_by="two", **onto)
    one.before("write", 1, other)
    assert (said(await one.ask("PUT", "/bkt/k", x_amz_meta_by="one", **onto)), other.said) == (200, 200)
    found = await two.ask("GET", "/bkt/k")
    assert (found.body, found.header("x-amz-meta-by")) == (A, "one")


async def test_a_copy_whose_source_is_never_still_says_so(doors: Doors) -> None:
    one, two = doors
    await one.put("/bkt/s", A)

    async def again() -> None:
        await two.put("/bkt/s", A)
        one.before("write", 1, again)

    one.before("write", 1, again)
    assert said(await one.ask("PUT", "/bkt/k", x_amz_copy_source="/bkt/s")) == "OperationAborted"


@pytest.mark.parametrize("what", ["tagging", "acl"])
async def test_marks_on_what_is_overwritten_meanwhile_come_on_what_is_there(doors: Doors, what: str) -> None:
    one, two = doors
    await one.put("/bkt/k", A)
    other = Other(two, "PUT", "/bkt/k", body=B)
    one.before("write", 1, other)
    body = b"<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>"
    stated = {"body": body} if what == "tagging" else {"x_amz_grant_read": f"id={account_id('alt')}"}
    assert (said(await one.ask("PUT", "/bkt/k", query=f"{what}=", **stated)), other.said) == (200, 200)
    assert await read(one) == B
    found = (await two.ask("GET", "/bkt/k", query=f"{what}=")).body
    assert (b"<Key>a</Key>" if what == "tagging" else account_id("alt").encode()) in found


@pytest.mark.parametrize("status", ["", "Enabled"])
@pytest.mark.parametrize("change", ["overwrite", "tag"])
async def test_an_expiry_does_not_end_what_was_changed_meanwhile(doors: Doors, status: str, change: str) -> None:
    one, two = doors
    if status:
        await versioned(one)
    rule = (
        b"<Filter><Tag><Key>a</Key><Value>go</Value></Tag></Filter><Status>Enabled</Status>"
        b"<Expiration><Days>1</Days></Expiration>"
    )
    document = b"<LifecycleConfiguration><Rule>" + rule + b"</Rule></LifecycleConfiguration>"
    assert (await one.ask("PUT", "/bkt", query="lifecycle=", body=document)).status == 200
    await one.put("/bkt/k", A, x_amz_tagging="a=go")
    if change == "overwrite":
        other = Other(two, "PUT", "/bkt/k", body=B)
    else:
        tags = b"<Tagging><TagSet><Tag><Key>a</Key><Value>stay</Value></Tag></TagSet></Tagging>"
        other = Other(two, "PUT", "/bkt/k", query="tagging=", body=tags)
    one.before("write", 2, other)  # the first forgets old completions
    assert await sweep(one.gateway, day_ms=0) == 0
    assert (other.said, await read(two)) == (200, B if change == "overwrite" else A)


async def locked(near: Near) -> str:
    """Write into a bucket with object lock and return the version."""
    await near.put("/locked", b"", x_amz_bucket_object_lock_enabled="true")
    return (await near.put("/locked/k", A)).header("x-amz-version-id") or ""


async def test_a_version_that_was_locked_meanwhile_is_not_deleted(doors: Doors) -> None:
    one, two = doors
    version = await locked(one)
    other = Other(two, "PUT", "/locked/k", query=f"legal-hold=&versionId={version}", body=HOLD)
    one.before("write", 1, other)
    assert said(await one.ask("DELETE", "/locked/k", query=f"versionId={version}")) == "AccessDenied"
    assert (other.said, await read(two, "/locked/k")) == (200, A)


@pytest.mark.parametrize(("named", "code"), [(True, "NoSuchVersion"), (False, "NoSuchKey")])
async def test_a_lock_on_what_was_deleted_meanwhile_is_not_acknowledged(doors: Doors, named: bool, code: str) -> None:
    one, two = doors
    version = await locked(one)
    other = Other(two, "DELETE", "/locked/k", query=f"versionId={version}")
    one.before("write", 1, other)
    query = f"legal-hold=&versionId={version}" if named else "legal-hold="
    assert (said(await one.ask("PUT", "/locked/k", query=query, body=HOLD)), other.said) == (code, 204)


async def test_a_governance_that_became_compliance_meanwhile_is_not_bypassed(doors: Doors) -> None:
    one, two = doors
    version = await locked(one)

    def retention(mode: str) -> dict[str, Any]:
        body = f"<Retention><Mode>{mode}</Mode><RetainUntilDate>2090-01-01T00:00:00Z</RetainUntilDate></Retention>"
        return {"query": f"retention=&versionId={version}", "body": body.encode()}

    bypass = {"x_amz_bypass_governance_retention": "true"}
    assert (await one.ask("PUT", "/locked/k", **retention("GOVERNANCE"))).status == 200
    other = Other(two, "PUT", "/locked/k", **retention("COMPLIANCE"), **bypass)
    one.before("write", 1, other)
    assert said(await one.ask("DELETE", "/locked/k", query=f"versionId={version}", **bypass)) == "AccessDenied"
    assert (other.said, await read(two, "/locked/k")) == (200, A)


async def test_what_was_read_of_a_bucket_before_a_change_is_not_remembered_after_it(doors: Doors) -> None:
    """A denial that was acknowledged would else not hold until the next change of any bucket."""
    one, _ = doors
    await one.put("/bkt/k", A)
    await one.ask("PUT", "/bkt", query="acl=", x_amz_acl="private")  # every bucket is read anew
    deny = {"Effect": "Deny", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::bkt/*"}
    policy = json.dumps({"Statement": [deny]}).encode()

    async def denied() -> None:
        assert (await one.ask("PUT", "/bkt", query="policy=", body=policy)).status == 204

    one.after("read", 1, denied)
    await one.ask("GET", "/bkt/k")  # began before the denial
    assert said(await one.ask("GET", "/bkt/k")) == "AccessDenied"


async def test_accounts_that_were_read_before_one_was_made_are_not_remembered_after_it(doors: Doors) -> None:
    one, _ = doors

    async def made() -> None:
        await one.gateway.change(lambda c: create_account(c, BOX, "new", account_id="n" * 64, access_key="NEWKEY"))

    one.after("read", 1, made)
    await one.gateway.account_names()
    assert "n" * 64 in (await one.gateway.account_names())[0]


async def test_at_the_start_everybody_waits_until_the_keys_are_there(doors: Doors) -> None:
    """Of many first requests one asks the database; the others must not be refused as unknown meanwhile."""
    one, _ = doors
    gateway = one.gateway
    gateway._generations, gateway._keys, gateway._signing = (-1, -1), {}, {}
    replies = await asyncio.gather(*(one.ask("HEAD", "/bkt") for _ in range(4)))
    assert [reply.status for reply in replies] == [200] * 4


async def test_a_key_that_another_gateway_made_is_known_to_all_who_ask_at_once(doors: Doors) -> None:
    one, two = doors
    await one.gateway.refresh(at_once=True)
    await two.gateway.change(
        lambda c: create_account(c, BOX, "late", account_id="l" * 64, access_key="LATEKEY", secret="late-secret")
    )
    replies = await asyncio.gather(*(one.ask("GET", "/", account="late") for _ in range(4)))
    assert [reply.status for reply in replies] == [200] * 4


@pytest.mark.parametrize("which", ["versions", "uploads"])
async def test_who_deletes_page_by_page_deletes_all(doors: Doors, which: str) -> None:
    """The next page is asked for behind what the client has just deleted."""
    one, two = doors
    await versioned(one)
    for number in range(5):
        if which == "versions":
            await one.put("/bkt/k", b"%d" % number)
        else:
            await begun(one)
    marker, name, limit = {
        "versions": ("version-id-marker", "VersionId", "max-keys"),
        "uploads": ("upload-id-marker", "UploadId", "max-uploads"),
    }[which]
    query, pages = "", 0
    while True:
        page = await two.ask("GET", "/bkt", query=f"{which}=&{limit}=2{query}")
        found = [part.split(b"<")[0].decode() for part in page.body.split(f"<{name}>".encode())[1:]]
        for one_id in found:
            parameter = "versionId" if which == "versions" else "uploadId"
            assert (await one.ask("DELETE", "/bkt/k", query=f"{parameter}={one_id}")).status == 204
        if page.value("IsTruncated") == "false":
            break
        query, pages = f"&key-marker=k&{marker}={page.value(f'Next{name}Marker')}", pages + 1
        assert pages < 9
    assert (await one.ask("DELETE", "/bkt")).status == 204
    assert pages >= 2
