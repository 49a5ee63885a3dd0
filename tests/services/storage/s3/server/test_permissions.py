"""Who may do what, where a way around a rule was once open."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.services.storage.s3.server.near import Near, account_id, presigned

ALT = {"AWS": account_id("alt")}
VERSIONED = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
TAGS = b"<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>"


async def set_policy(near: Near, *statements: dict[str, Any]) -> Any:
    whole = [{"Principal": ALT, "Resource": "arn:aws:s3:::bkt/*", **statement} for statement in statements]
    document = json.dumps({"Version": "2012-10-17", "Statement": whole}).encode()
    return await near.ask("PUT", "/bkt", query="policy=", body=document)


def allow(*actions: str, **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": list(actions), **more}


def deny(*actions: str, **more: Any) -> dict[str, Any]:
    return {"Effect": "Deny", "Action": list(actions), **more}


async def versioned(near: Near) -> None:
    assert (await near.ask("PUT", "/bkt", query="versioning=", body=VERSIONED)).status == 200


async def test_who_may_delete_objects_may_not_delete_versions(near: Near) -> None:
    await versioned(near)
    version = (await near.put("/bkt/k")).header("x-amz-version-id")
    await set_policy(near, allow("s3:DeleteObject"))
    for query in (f"versionId={version}", f"version%49d={version}"):
        assert (await near.ask("DELETE", "/bkt/k", query=query, account="alt")).code == "AccessDenied"
    assert (await near.ask("DELETE", "/bkt/k", account="alt")).status == 204  # a delete marker
    assert (await near.ask("GET", "/bkt/k", query=f"versionId={version}")).status == 200
    await set_policy(near, allow("s3:DeleteObjectVersion"))
    assert (await near.ask("DELETE", "/bkt/k", query=f"versionId={version}", account="alt")).status == 204


async def test_a_denied_deletion_of_versions_binds_the_owner_too(near: Near) -> None:
    await versioned(near)
    version = (await near.put("/bkt/k")).header("x-amz-version-id")
    await set_policy(near, deny("s3:DeleteObjectVersion", Principal="*"))
    assert (await near.ask("DELETE", "/bkt/k", query=f"versionId={version}")).code == "AccessDenied"


@pytest.mark.parametrize("what", ["retention", "legal-hold"])
async def test_a_writer_cannot_lock_afterwards_what_it_could_not_lock_at_once(near: Near, what: str) -> None:
    """Else the bucket's owner would keep a stranger's bytes for ever."""
    await near.put("/locked", b"", x_amz_bucket_object_lock_enabled="true")
    await near.ask("PUT", "/locked", query="acl=", x_amz_grant_write=f"id={account_id('alt')}")
    assert (await near.ask("PUT", "/locked/k", body=b"x", account="alt")).status == 200
    body = {
        "retention": b"<Retention><Mode>COMPLIANCE</Mode>"
        b"<RetainUntilDate>2120-01-01T00:00:00Z</RetainUntilDate></Retention>",
        "legal-hold": b"<LegalHold><Status>ON</Status></LegalHold>",
    }[what]
    assert (await near.ask("PUT", "/locked/k", query=f"{what}=", body=body, account="alt")).code == "AccessDenied"
    assert (await near.ask("PUT", "/locked/k", query=f"{what}=", body=body)).status == 200


async def test_strangers_do_not_learn_of_delete_markers(near: Near) -> None:
    await versioned(near)
    await near.put("/bkt/k")
    marker = (await near.ask("DELETE", "/bkt/k")).header("x-amz-version-id")
    copied = f"/bkt/k?versionId={marker}"
    await near.put("/mine", b"", account="alt")
    for account in (None, "alt"):
        for query in ("", f"versionId={marker}"):
            reply = await near.ask("GET", "/bkt/k", query=query, account=account)
            assert (reply.status, reply.header("x-amz-delete-marker")) == (403, None)
    for source in ("/bkt/k", copied):
        reply = await near.ask("PUT", "/mine/k", account="alt", x_amz_copy_source=source)
        assert reply.code == "AccessDenied"
    assert (await near.ask("GET", "/bkt/k")).header("x-amz-delete-marker") == "true"
    await set_policy(near, allow("s3:GetObjectVersion"))
    assert (await near.ask("GET", "/bkt/k", query=f"versionId={marker}", account="alt")).code == "MethodNotAllowed"


async def test_a_copy_is_asked_for_the_version_that_it_reads(near: Near) -> None:
    await versioned(near)
    first = (await near.put("/bkt/k", b"1")).header("x-amz-version-id")
    second = (await near.put("/bkt/k", b"2")).header("x-amz-version-id")
    await near.put("/mine", b"", account="alt")
    only_first = {"StringEquals": {"s3:VersionId": first}}
    await set_policy(near, allow("s3:GetObjectVersion", Condition=only_first))

    async def copy(version: str | None, query: str = "") -> Any:
        source = f"/bkt/k?versionId={version}"
        return await near.ask("PUT", "/mine/k", query=query, account="alt", x_amz_copy_source=source)

    assert (await copy(first)).status == 200
    assert (await copy(second)).code == "AccessDenied"
    assert (await copy(second, f"versionId={first}")).code == "AccessDenied"
    await set_policy(near, allow("s3:GetObject"))
    assert (await copy(second)).code == "AccessDenied"  # the current one, yet by its version
    assert (await copy("no.such_version-!")).code == "InvalidArgument"


async def test_a_write_does_not_set_tags_or_lists_that_a_policy_forbids_to_set(near: Near) -> None:
    await set_policy(near, deny("s3:PutObjectTagging"), allow("s3:*"))
    stated = {"x_amz_tagging": "a=b"}
    assert (await near.ask("PUT", "/bkt/k", account="alt", **stated)).code == "AccessDenied"
    assert (await near.ask("POST", "/bkt/k", query="uploads=", account="alt", **stated)).code == "AccessDenied"
    await near.put("/bkt/k", account="alt")
    replacing = {**stated, "x_amz_tagging_directive": "REPLACE", "x_amz_metadata_directive": "REPLACE"}
    reply = await near.ask("PUT", "/bkt/k", account="alt", x_amz_copy_source="/bkt/k", **replacing)
    assert reply.code == "AccessDenied"
    await set_policy(near, deny("s3:PutObjectAcl"), allow("s3:*"))
    assert (await near.ask("PUT", "/bkt/k", account="alt", x_amz_acl="public-read")).code == "AccessDenied"
    assert (await near.ask("PUT", "/bkt/k", account="alt", **stated)).status == 200


async def test_a_copy_does_not_tell_tags_that_a_policy_hides(near: Near) -> None:
    await near.put("/bkt/k", x_amz_tagging="secret=yes")
    await near.put("/mine", b"", account="alt")
    await set_policy(near, deny("s3:GetObjectTagging"), allow("s3:GetObject"))
    copy = {"account": "alt", "x_amz_copy_source": "/bkt/k"}
    assert (await near.ask("PUT", "/mine/k", **copy)).code == "AccessDenied"
    reply = await near.ask("PUT", "/mine/k", **copy, x_amz_tagging_directive="REPLACE")
    assert reply.status == 200


async def test_tags_that_a_copy_does_not_take_meet_no_condition(near: Near) -> None:
    await near.put("/bkt/k", x_amz_tagging="class=secret")
    wanted = {"StringEquals": {"s3:RequestObjectTag/class": "public"}}
    await set_policy(near, allow("s3:GetObject"), allow("s3:PutObject", Condition=wanted))
    copy = {"account": "alt", "x_amz_copy_source": "/bkt/k", "x_amz_tagging": "class=public"}
    assert (await near.ask("PUT", "/bkt/c", **copy)).code == "AccessDenied"
    assert (await near.ask("PUT", "/bkt/c", **copy, x_amz_tagging_directive="REPLACE")).status == 200


async def test_who_began_an_upload_is_bound_by_a_denial(near: Near) -> None:
    await set_policy(near, allow("s3:PutObject"))
    upload = (await near.ask("POST", "/bkt/k", query="uploads=", account="alt")).value("UploadId")
    assert (await near.ask("GET", "/bkt/k", query=f"uploadId={upload}", account="alt")).status == 200
    await set_policy(near, deny("s3:*"))
    for method in ("GET", "DELETE"):
        assert (await near.ask(method, "/bkt/k", query=f"uploadId={upload}", account="alt")).code == "AccessDenied"


async def test_attributes_take_the_permission_to_read(near: Near) -> None:
    await near.put("/bkt/k")
    asked = {"query": "attributes=", "account": "alt", "x_amz_object_attributes": "ETag"}
    await set_policy(near, allow("s3:GetObjectAttributes"))
    assert (await near.ask("GET", "/bkt/k", **asked)).code == "AccessDenied"
    await set_policy(near, allow("s3:GetObjectAttributes", "s3:GetObject"))
    assert (await near.ask("GET", "/bkt/k", **asked)).status == 200


async def test_whom_a_denial_spares_by_its_arn_is_told_what_is_not_there(near: Near) -> None:
    spared = {"AWS": f"arn:aws:iam::{account_id('alt')}:user/alt"}
    document = {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Deny", "NotPrincipal": spared, "Action": "s3:GetObject", "Resource": "arn:aws:s3:::bkt/*"},
            {"Effect": "Allow", "Principal": ALT, "Action": "s3:ListBucket", "Resource": "arn:aws:s3:::bkt"},
        ],
    }
    assert (await near.ask("PUT", "/bkt", query="policy=", body=json.dumps(document).encode())).status == 204
    assert (await near.ask("GET", "/bkt/none", account="alt")).code == "NoSuchKey"
    assert (await near.ask("GET", "/bkt/none", account="third")).code == "AccessDenied"


@pytest.mark.parametrize("key", ["s3:TlsVersion", "s3:object-lock-remaining-retention-days", "aws:x", "s3:jobs"])
async def test_a_policy_that_asks_what_nobody_answers_is_not_stored(near: Near, key: str) -> None:
    """Its denial would never come."""
    reply = await set_policy(near, deny("s3:*", Condition={"NumericLessThan": {key: "1.2"}}))
    assert reply.code == "MalformedPolicy"


async def test_old_signatures_and_principals_can_be_denied(near: Near) -> None:
    await near.put("/bkt/k")
    arn = f"arn:aws:iam::{account_id('alt')}:user/alt"
    await set_policy(
        near,
        allow("s3:GetObject", Principal="*", Condition={"ArnEquals": {"aws:PrincipalArn": arn}}),
        deny("s3:GetObject", Principal="*", Condition={"NumericGreaterThan": {"s3:signatureAge": "60000"}}),
    )
    assert [(await near.ask("GET", "/bkt/k", account=who)).status for who in ("alt", "third", None)] == [200, 403, 403]
    host = [(b"host", b"near.example")]
    query = presigned("GET", "/bkt/k", {}, "alt", 600)
    assert (await near.raw("GET", "/bkt/k", query, host)).status == 200
    query = presigned("GET", "/bkt/k", {}, "alt", 600, age_s=90)
    assert (await near.raw("GET", "/bkt/k", query, host)).code == "AccessDenied"


async def test_a_policy_can_ask_for_conditional_writes(near: Near) -> None:
    """As S3's guide has it: makers of objects must state If-None-Match, senders of parts cannot."""
    await set_policy(
        near,
        allow("s3:PutObject"),
        deny("s3:PutObject", Condition={"Null": {"s3:if-none-match": "true"}, "Bool": {"s3:ObjectCreationOperation": "true"}}),
    )  # fmt: skip
    assert (await near.ask("PUT", "/bkt/k", account="alt")).code == "AccessDenied"
    assert (await near.ask("PUT", "/bkt/k", account="alt", if_none_match="*")).status == 200
    assert (await near.ask("POST", "/bkt/k", query="uploads=", account="alt")).status == 200
