"""Requests without a signature, and with one in the URL: what canned lists open, and for how long a URL is good."""

from __future__ import annotations

import socket
from typing import Any

from tests.services.storage.s3.conformance.raw import Reply, send
from tests.services.storage.s3.conformance.table import case, enter, refused
from tests.services.storage.s3.conftest import Door


def prepare(door: Door, bucket: str, bucket_acl: str, object_acl: str) -> None:
    door.client().put_bucket_acl(Bucket=bucket, ACL=bucket_acl)
    door.client().put_object(Bucket=bucket, Key="k", Body=b"leaf", ACL=object_acl)


def _reads(name: str, bucket_acl: str, object_acl: str, *, member: bool, code: str = "") -> None:
    def try_read(door: Door, bucket: str) -> None:
        prepare(door, bucket, bucket_acl, object_acl)
        client = door.client("main" if member else None)
        if code:
            refused(code, client.get_object, Bucket=bucket, Key="k", status=403)
        else:
            assert client.get_object(Bucket=bucket, Key="k")["Body"].read() == b"leaf"

    enter("access", f"test_object_raw_{name}", try_read)


_reads("get", "public-read", "public-read", member=False)
_reads("get_bucket_acl", "private", "public-read", member=False)
_reads("get_object_acl", "public-read", "private", member=False, code="AccessDenied")
_reads("authenticated", "public-read", "public-read", member=True)
_reads("authenticated_bucket_acl", "private", "public-read", member=True)
_reads("authenticated_object_acl", "public-read", "private", member=True)


def _gone(name: str, *, member: bool, bucket_too: bool = True, method: str = "get_object") -> None:
    def try_gone(door: Door, bucket: str) -> None:
        prepare(door, bucket, "public-read", "public-read")
        door.client().delete_object(Bucket=bucket, Key="k")
        if bucket_too:
            door.client().delete_bucket(Bucket=bucket)
        call = getattr(door.client("main" if member else None), method)
        refused("NoSuchBucket" if bucket_too else "NoSuchKey", call, Bucket=bucket, Key="k", status=404)

    enter("access", f"test_object_{name}", try_gone)


_gone("raw_get_bucket_gone", member=False)
_gone("raw_get_object_gone", member=False, bucket_too=False)
_gone("raw_authenticated_bucket_gone", member=True)
_gone("raw_authenticated_object_gone", member=True, bucket_too=False)
_gone("delete_key_bucket_gone", member=False, method="delete_object")


@case("access", "test_object_anon_put")
def strangers_do_not_write(door: Door, bucket: str) -> None:
    prepare(door, bucket, "private", "private")
    refused("AccessDenied", door.client(None).put_object, Bucket=bucket, Key="k", Body=b"moss", status=403)
    assert door.client().get_object(Bucket=bucket, Key="k")["Body"].read() == b"leaf"


@case("access", "test_object_anon_put_write_access")
def unless_the_bucket_is_open(door: Door, bucket: str) -> None:
    prepare(door, bucket, "public-read-write", "private")
    door.client(None).put_object(Bucket=bucket, Key="k", Body=b"moss")
    assert door.client().get_object(Bucket=bucket, Key="k")["Body"].read() == b"moss"


@case("access", "test_object_put_authenticated")
def the_owner_writes(door: Door, bucket: str) -> None:
    assert send(door, "PUT", f"/{bucket}/k", body=b"leaf").status == 200


@case("objects", "test_object_raw_response_headers")
def a_url_may_set_the_headers_of_its_answer(door: Door, bucket: str) -> None:
    prepare(door, bucket, "private", "private")
    wanted = {
        "cache-control": "no-store",
        "content-disposition": "inline",
        "content-encoding": "zz",
        "content-language": "eo",
        "content-type": "text/leaf",
        "expires": "soon",
    }
    query = "&".join(f"response-{name}={value.replace('/', '%2F')}" for name, value in wanted.items())
    reply = send(door, "GET", f"/{bucket}/k?{query}")
    assert (reply.status, reply.body) == (200, b"leaf")
    assert {name: reply.headers[name] for name in wanted} == wanted


# ---- signed URLs -----------------------------------------------------------------------------------------------------


def _visit(door: Door, method: str, bucket: str, seconds: int, body: bytes = b"") -> Reply:
    client: Any = door.client(signature_version="s3v4")
    call = {"GET": "get_object", "PUT": "put_object"}[method]
    url = client.generate_presigned_url(call, Params={"Bucket": bucket, "Key": "k"}, ExpiresIn=4711)
    if seconds <= 0:  # some signers would not sign it; the life is looked at before the signature
        url = url.replace("X-Amz-Expires=4711", f"X-Amz-Expires={seconds}")
    else:
        url = client.generate_presigned_url(call, Params={"Bucket": bucket, "Key": "k"}, ExpiresIn=seconds)
    return send(door, method, url.removeprefix(door.endpoint), body=body, account=None)


def _expires(name: str, seconds: int, status: int, code: str = "", method: str = "GET") -> None:
    def try_url(door: Door, bucket: str) -> None:
        prepare(door, bucket, "public-read", "public-read")
        reply = _visit(door, method, bucket, seconds, b"moss" if method == "PUT" else b"")
        assert (reply.status, reply.code) == (status, code)
        assert door.client().get_object(Bucket=bucket, Key="k")["Body"].read() == b"leaf"

    enter("access", f"test_object_raw_{name}", try_url)


MALFORMED = "AuthorizationQueryParametersError"
_expires("get_x_amz_expires_not_expired", 100_000, 200)
_expires("get_x_amz_expires_out_range_zero", 0, 403, "AccessDenied")
_expires("get_x_amz_expires_out_max_range", 7 * 24 * 3600 + 1, 400, MALFORMED)
_expires("get_x_amz_expires_out_positive_range", -60, 400, MALFORMED)
_expires("put_authenticated_expired", -60, 400, MALFORMED, method="PUT")


@case("access", "test_object_presigned_put_object_with_acl")
def what_a_url_has_signed_must_be_sent(door: Door, bucket: str) -> None:
    client: Any = door.client(signature_version="s3v4")
    url = client.generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": "k", "ACL": "private"})
    path = url.removeprefix(door.endpoint)
    assert send(door, "PUT", path, body=b"leaf", account=None).status == 403
    assert send(door, "PUT", path, {"x-amz-acl": "public-read"}, b"leaf", account=None).status == 403
    assert send(door, "PUT", path, {"x-amz-acl": "private"}, b"leaf", account=None).status == 200
    url = client.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "k"})
    reply = send(door, "GET", url.removeprefix(door.endpoint), account=None)
    assert (reply.status, reply.body) == (200, b"leaf")
    assert send(door, "OPTIONS", url.removeprefix(door.endpoint), account=None).status == 400  # no Origin


@case("access", "test_expected_bucket_owner")
def a_bucket_of_somebody_else_is_refused(door: Door, bucket: str) -> None:
    prepare(door, bucket, "public-read-write", "public-read")
    stranger, owner = door.client(None), door.accounts["main"].id
    refused("AccessDenied", stranger.list_objects, Bucket=bucket, ExpectedBucketOwner=owner + "x", status=403)
    words = {"Bucket": bucket, "Key": "n", "Body": b""}
    refused("AccessDenied", stranger.put_object, **words, ExpectedBucketOwner=door.accounts["alt"].id, status=403)
    stranger.put_object(**words, ExpectedBucketOwner=owner)


# ---- a body that is asked for ----------------------------------------------------------------------------------------


@case("access", "test_100_continue")
def the_body_is_asked_for_only_where_it_is_welcome(door: Door, bucket: str) -> None:
    def first_line() -> bytes:
        head = f"PUT /{bucket}/k HTTP/1.1\r\nhost: here\r\ncontent-length: 9\r\nexpect: 100-continue\r\n\r\n"
        with socket.create_connection(("127.0.0.1", door.port), timeout=20) as connection:
            connection.sendall(head.encode())
            return connection.recv(100).split(b"\r\n")[0]

    assert first_line().startswith(b"HTTP/1.1 403")
    door.client().put_bucket_acl(Bucket=bucket, ACL="public-read-write")
    assert first_line() == b"HTTP/1.1 100 Continue"
