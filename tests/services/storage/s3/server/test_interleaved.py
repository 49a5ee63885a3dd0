"""Two requests at once, step by step: one stops between two of its transactions, the other runs whole, through a second
gateway on the same database. Whoever loses gets the code that S3 gives; nothing acknowledged is lost or mixed up, and
every segment is used as often as rows name it.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.services.storage.s3.server.interleaving import A, B, Doors, Other, begun, read, said, versioned
from tests.services.storage.s3.server.near import account_id

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
