"""Requests made to harm: what they state comes back as data or as a named refusal, never as a header of its own or a 500."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from fieldstone.services.storage.s3 import sigv4
from fieldstone.services.storage.s3.dates import _parse_basic_date
from fieldstone.services.storage.s3.server import removals
from fieldstone.services.storage.s3.server.worker import sweep
from tests.services.storage.s3.server.near import Near, opened, presigned

HOST = (b"host", b"near.example")
PUBLIC = {"x_amz_acl": "public-read-write"}


def form(*fields: tuple[bytes, bytes], file_name: bytes = b'filename="f"') -> tuple[list[Any], bytes]:
    """Return headers and body of an anonymous form."""
    parts = [b'name="' + name + b'"\r\n\r\n' + value for name, value in fields]
    parts.append(b'name="file"; ' + file_name + b"\r\n\r\ndata")
    body = b"".join(b"--X\r\nContent-Disposition: form-data; " + part + b"\r\n" for part in parts) + b"--X--\r\n"
    kind = (b"content-type", b"multipart/form-data; boundary=X")
    return [HOST, kind, (b"content-length", b"%d" % len(body))], body


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x-amz-meta-a\r\nset-cookie: x", "1"),
        ("x-amz-meta-a: b", "1"),
        ("x-amz-meta-\u00e9", "1"),
        ("x-amz-meta-a", "1\r\nset-cookie: x"),
        ("content-type", "text/html\r\nset-cookie: x=1"),
        ("x-amz-website-redirect-location", "/\r\nset-cookie: x=1"),
        ("x-amz-website-redirect-location", "/\nset-cookie: x=1"),
    ],
)
async def test_escaped_line_ends_in_a_presigned_url_make_no_headers(near: Near, name: str, value: str) -> None:
    query = presigned("PUT", "/bkt/k", {name: value})
    reply = await near.raw("PUT", "/bkt/k", query, [HOST, (b"content-length", b"0")])
    assert reply.code == "InvalidRequest"
    assert (await near.ask("HEAD", "/bkt/k")).status == 404


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"x-amz-meta-a\nset-cookie: y", b"v"),
        (b"x-amz-meta-a b", b"v"),
        (b"x-amz-meta-\xc3\xa9", b"v"),
        (b"content-type", b"text/html\r\nset-cookie: y"),
        (b"x-amz-website-redirect-location", b"/\nset-cookie: y"),
        (b"Cache-Control", b"x\x0bset-cookie: y"),
    ],
)
async def test_fields_of_a_form_make_no_headers(near: Near, name: bytes, value: bytes) -> None:
    await near.ask("PUT", "/bkt", query="acl=", **PUBLIC)
    reply = await near.raw("POST", "/bkt", "", *form((b"key", b"k"), (name, value)))
    assert reply.code in ("InvalidRequest", "InvalidArgument")
    assert (await near.ask("HEAD", "/bkt/k")).status == 404


async def test_a_control_character_in_a_content_header_is_refused(near: Near) -> None:
    assert (await near.ask("PUT", "/bkt/k", cache_control="a\x0bb")).code == "InvalidArgument"


async def test_a_file_name_in_any_character_set_makes_a_key_or_a_refusal(near: Near) -> None:
    await near.ask("PUT", "/bkt", query="acl=", **PUBLIC)
    asked = form((b"key", b"${filename}"), file_name=b"filename*=unicode_escape''a%5Cud800b")
    assert (await near.raw("POST", "/bkt", "", *asked)).status == 204
    assert (await near.ask("HEAD", "/bkt/a%3Fb")).status == 200


LONG = "9" * 5_000


@pytest.mark.parametrize(
    ("method", "path", "query", "headers"),
    [
        ("GET", "/bkt/k", f"partNumber={LONG}", {}),
        ("PUT", "/bkt/k", f"partNumber={LONG}&uploadId=u", {}),
        ("DELETE", "/bkt/k", "", {"x_amz_if_match_size": LONG}),
        ("GET", "/bkt", f"max-keys={LONG}", {}),
        ("GET", "/bkt", f"uploads=&max-uploads={LONG}", {}),
        ("GET", "/bkt/k", f"uploadId=u&max-parts={LONG}", {}),
        ("GET", "/", f"max-buckets={LONG}", {}),
        ("GET", "/bkt/k", "attributes=", {"x_amz_object_attributes": "ObjectParts", "x_amz_max_parts": LONG}),
        ("PUT", "/bkt/k", "", {"x_amz_decoded_content_length": LONG}),
        ("GET", "/bkt/k", "", {"range": f"bytes=0-{LONG}"}),
        ("GET", "/bkt/k", "", {"if_modified_since": f"Sun, 06 Nov {LONG} 08:49:37 GMT"}),
        ("PUT", "/bkt/c", "", {"x_amz_copy_source": "/bkt/k", "x_amz_copy_source_if_modified_since": LONG}),
    ],
)
async def test_numbers_of_thousands_of_digits_are_refused_by_name(
    near: Near, method: str, path: str, query: str, headers: dict[str, str]
) -> None:
    await near.put("/bkt/k")
    reply = await near.ask(method, path, query=query, **headers)
    assert reply.status < 500, reply.body


def rules(days: str = "1", more: str = "") -> bytes:
    rule = f"<Status>Enabled</Status><Filter/><Expiration><Days>{days}</Days></Expiration>{more}"
    return f"<LifecycleConfiguration><Rule>{rule}</Rule></LifecycleConfiguration>".encode()


LOCK = b"<ObjectLockConfiguration><Rule><DefaultRetention><Mode>GOVERNANCE</Mode><Days>%b</Days></DefaultRetention></Rule></ObjectLockConfiguration>"  # fmt: skip


@pytest.mark.parametrize(
    ("setting", "body"),
    [
        ("lifecycle", rules(LONG)),
        ("lifecycle", rules(more=f"<NoncurrentVersionExpiration><NoncurrentDays>1</NoncurrentDays><NewerNoncurrentVersions>{LONG}</NewerNoncurrentVersions></NoncurrentVersionExpiration>")),
        ("lifecycle", rules().replace(b"<Days>1</Days>", b"<Date>9999-12-31T01:00:00-23:00</Date>")),
        ("lifecycle", rules().replace(b"<Filter/>", b"<Filter><Prefix><![CDATA[" + b"&" * 1_000_000 + b"]]></Prefix></Filter>")),
        ("cors", b"<CORSConfiguration><CORSRule><AllowedOrigin><![CDATA[" + b"&" * 30_000 + b"]]></AllowedOrigin><AllowedMethod>GET</AllowedMethod></CORSRule></CORSConfiguration>"),
        ("object-lock", LOCK % b"1_0"),
        ("object-lock", LOCK % LONG.encode()),
    ],
)  # fmt: skip
async def test_settings_that_could_not_be_read_again_are_not_stored(near: Near, setting: str, body: bytes) -> None:
    await near.put("/locked", b"", x_amz_bucket_object_lock_enabled="true")
    reply = await near.ask("PUT", "/locked", query=f"{setting}=", body=body, content_md5=_md5(body))
    assert reply.status == 400, reply.body
    assert (await near.ask("GET", "/locked", query=f"{setting}=")).status == (200 if setting == "object-lock" else 404)


def _md5(body: bytes) -> str:
    import base64
    import hashlib

    return base64.b64encode(hashlib.md5(body).digest()).decode()


async def test_the_farthest_expiry_that_s3_takes_breaks_no_answer(near: Near) -> None:
    assert (await near.ask("PUT", "/bkt", query="lifecycle=", body=rules("2147483647"))).status == 200
    assert "9999" in ((await near.put("/bkt/k")).header("x-amz-expiration") or "")
    assert (await near.ask("GET", "/bkt/k")).status == 200


async def test_a_bucket_whose_rules_cannot_be_read_does_not_keep_others_from_theirs(near: Near) -> None:
    from fieldstone.services.storage.catalog.buckets import put_setting

    await near.put("/zzz", b"")
    await near.put("/zzz/k")
    await near.ask("PUT", "/zzz", query="lifecycle=", body=rules())
    view = await near.gateway.bucket("bkt")
    await near.gateway.change(lambda c: put_setting(c, view.row.id, "lifecycle", b"<no"))
    assert await sweep(near.gateway, day_ms=0) == 1


async def test_blanks_belong_to_the_prefix_of_a_rule(near: Near) -> None:
    """Else it would end what it was not written for."""
    document = rules().replace(b"<Filter/>", b"<Filter><Prefix>log </Prefix></Filter>")
    assert (await near.ask("PUT", "/bkt", query="lifecycle=", body=document)).status == 200
    await near.put("/bkt/log-of-years")
    await near.put("/bkt/log%20of-a-day")
    assert await sweep(near.gateway, day_ms=0) == 1
    assert (await near.ask("HEAD", "/bkt/log-of-years")).status == 200


@pytest.mark.parametrize("value", ["NaN", "sNaN", "Infinity", LONG])
async def test_what_is_no_number_meets_no_condition(near: Near, value: str) -> None:
    statement = b'{"Effect":"Deny","Principal":"*","Action":"s3:ListBucket","Resource":"arn:aws:s3:::bkt","Condition":{"NumericLessThan":{"s3:max-keys":"10"},"DateLessThan":{"s3:prefix":"1"}}}'  # fmt: skip
    assert (await near.ask("PUT", "/bkt", query="policy=", body=b'{"Statement":' + statement + b"}")).status == 204
    reply = await near.ask("GET", "/bkt", query=f"max-keys={value}&prefix={value}")
    assert reply.status == 400
    denied = statement.replace(b'"10"', b'"' + value.encode() + b'"').replace(b'"1"', b'"' + LONG.encode() + b'"')
    assert (await near.ask("PUT", "/bkt", query="policy=", body=b'{"Statement":' + denied + b"}")).status == 400


def test_the_range_of_sizes_in_a_form_is_finite() -> None:
    import base64

    from fieldstone.services.storage.s3.errors import S3Error
    from fieldstone.services.storage.s3.post_form import check_policy

    policy = b'{"expiration":"2030-01-01T00:00:00Z","conditions":[["content-length-range",0,1e999]]}'
    with pytest.raises(S3Error, match="InvalidPolicyDocument"):
        check_policy(base64.b64encode(policy).decode(), {}, 0)


async def test_what_strangers_send_is_not_remembered(near: Near) -> None:
    """Who knows one key's id, which is no secret, could otherwise fill the memory with made-up regions and dates."""
    await near.put("/bkt/k")
    before = sigv4.signing_key.cache_info().currsize, _parse_basic_date.cache_info().currsize
    date = sigv4.time.strftime("%Y%m%dT%H%M%SZ", sigv4.time.gmtime())
    for number in range(3):
        region = f"r{number}" + "x" * 50_000
        signed = f"AWS4-HMAC-SHA256 Credential=MAINKEY/{date[:8]}/{region}/s3/aws4_request,SignedHeaders=host;x-amz-content-sha256;x-amz-date,Signature=00"  # fmt: skip
        headers = [HOST, (b"x-amz-content-sha256", b"UNSIGNED-PAYLOAD"), (b"authorization", signed.encode())]
        reply = await near.raw("GET", "/bkt/k", "", [*headers, (b"x-amz-date", date.encode())])
        assert reply.code == "AuthorizationHeaderMalformed"
        await near.raw("GET", "/bkt/k", "", [*headers, (b"x-amz-date", b"9" * 50_000 + b"%d" % number)])
    assert (sigv4.signing_key.cache_info().currsize, _parse_basic_date.cache_info().currsize) == before


@pytest.fixture
async def either(database_url: str, tmp_path: Path) -> AsyncIterator[Near]:
    async with opened(database_url, tmp_path) as made:
        yield made


async def test_a_nul_where_no_name_can_have_one_is_no_failure(either: Near) -> None:
    """PostgreSQL's texts cannot hold it, SQLite's can."""
    await either.put("/bkt/k")
    for method, path, query, headers in (
        ("GET", "/a%00b", "", {}),
        ("GET", "/bkt/k", "uploadId=a%00b", {}),
        ("PUT", "/bkt/k", "partNumber=1&uploadId=a%00b", {}),
        ("GET", "/bkt", "versions=&key-marker=k&version-id-marker=a%00b", {}),
        ("GET", "/bkt", "uploads=&key-marker=k&upload-id-marker=a%00b", {}),
        ("GET", "/", "prefix=a%00b", {}),
        ("GET", "/", "continuation-token=a%00b", {}),
        ("PUT", "/bkt/c", "", {"x_amz_copy_source": "/a%00b/k"}),
        ("PUT", "/bkt/c", "", {"x_amz_copy_source": "/bkt/k?versionId=a%00b"}),
        ("GET", "/bkt/a%00b", "", {}),
        ("GET", "/bkt", "prefix=%00", {}),
    ):
        reply = await either.ask(method, path, query=query, **headers)
        assert reply.status < 500, (method, path, query, reply.body)


async def test_buckets_are_listed_alike_on_both_databases(either: Near) -> None:
    names = ("a-c", "a.b", "abc", "b-1")
    for name in reversed(names):
        await either.put(f"/{name}", b"")
    listed = (await either.ask("GET", "/")).body
    places = [listed.index(f"<Name>{name}</Name>".encode()) for name in names]
    assert places == sorted(places)
    counts = [(await either.ask("GET", "/", query=f"prefix={p}")).body.count(b"<Name>") for p in ("A", "a", "a.", "a_")]
    assert counts == [0, 3, 1, 0]
    assert (await either.ask("GET", "/", query="continuation-token=a.b")).body.count(b"<Name>") == 3  # abc, b-1, bkt


async def test_what_takes_long_is_weighed_beside_the_loop(near: Near, monkeypatch: pytest.MonkeyPatch) -> None:
    """A policy of 20 KB takes 8 ms a key, a document of 4 MiB a second: nobody else would be answered meanwhile."""
    threads: set[bool] = set()

    def noted(plain: Any) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            threads.add(threading.current_thread() is threading.main_thread())
            return plain(*arguments, **named)

        return call

    await near.put("/bkt/k")
    statement = b'{"Effect":"Allow","Principal":"*","Action":"s3:DeleteObject","Resource":"arn:aws:s3:::bkt/*"}'
    assert (await near.ask("PUT", "/bkt", query="policy=", body=b'{"Statement":' + statement + b"}")).status == 204
    others = b"".join(b"<Object><Key>%050d</Key></Object>" % number for number in range(999))
    body = b"<Delete><Object><Key>k</Key></Object>" + others + b"</Delete>"
    monkeypatch.setattr(removals, "parse_delete", noted(removals.parse_delete))
    monkeypatch.setattr(removals, "_refusal", noted(removals._refusal))
    reply = await near.ask("POST", "/bkt", query="delete=", body=body, account=None, content_md5=_md5(body))
    assert (reply.body.count(b"<Deleted>"), threads) == (1_000, {False})


@pytest.mark.parametrize("setting", ["tagging", "acl", "versioning", "publicAccessBlock", "encryption"])
async def test_settings_that_are_small_take_no_large_documents(near: Near, setting: str) -> None:
    reply = await near.ask("PUT", "/bkt", query=f"{setting}=", body=b"<a>" + b"&amp;" * 100_000 + b"</a>")
    assert reply.code == "MaxMessageLengthExceeded"
