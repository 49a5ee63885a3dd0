"""Two requests at once, step by step, as in `test_interleaved`: expiry, locks, what gateways remember, pages of listings."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from fieldstone.services.storage.catalog.accounts import create_account
from fieldstone.services.storage.s3.server.worker import sweep
from tests.services.storage.s3.server.interleaving import A, B, Doors, Other, begun, read, said, versioned
from tests.services.storage.s3.server.near import BOX, Near

HOLD = b"<LegalHold><Status>ON</Status></LegalHold>"


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
