"""Headers that are missing, empty or false, on the two requests that create something: an object and a bucket."""

from __future__ import annotations

import base64
import hashlib
import itertools
from dataclasses import dataclass, field
from email.utils import formatdate

from tests.services.storage.s3.conformance.raw import Reply, basic_now, send
from tests.services.storage.s3.conformance.table import case, enter, refused
from tests.services.storage.s3.conftest import Door

BODY = b"seven bytes more or less"
MD5 = base64.b64encode(hashlib.md5(BODY).digest()).decode()
OTHER_MD5 = base64.b64encode(hashlib.md5(b"something else").digest()).decode()
NUMBERS = itertools.count(1)


@dataclass(frozen=True)
class Row:
    """One request: what is changed in its headers, and what comes of it (`code` "": it succeeds)."""

    name: str
    changes: dict[str, str | None] = field(default_factory=dict)
    status: int = 200
    code: str = ""
    version: int = 4


def _date(year: int) -> str:
    """An HTTP date whose weekday is not looked at: it is wrong for most years."""
    return f"Mon, 22 Nov {year} 10:20:30 GMT"


OBJECTS = (
    Row("md5_invalid_short", {"content-md5": MD5[:12]}, 400, "InvalidDigest"),
    Row("md5_bad", {"content-md5": OTHER_MD5}, 400, "BadDigest"),
    Row("md5_empty", {"content-md5": ""}, 400, "InvalidDigest"),
    Row("md5_none", {"content-md5": None}),
    Row("md5_invalid_garbage_aws2", {"content-md5": "no digest at all"}, 400, "InvalidDigest", 2),
    Row("expect_mismatch", {"expect": "200"}),
    Row("expect_empty", {"expect": ""}),
    Row("expect_none", {"expect": None}),
    Row("contentlength_empty", {"content-length": ""}, 400),
    Row("contentlength_negative", {"content-length": "-1"}, 400),
    Row("contentlength_none", {"content-length": None}, 411, "MissingContentLength"),
    Row(
        "contentlength_mismatch_below_aws2",
        {"content-md5": MD5, "content-length": str(len(BODY) - 1)},
        400,
        "BadDigest",
        2,
    ),
    Row("authorization_empty", {"authorization": ""}, 403, "AccessDenied"),
    Row("authorization_none", {"authorization": None}, 403, "AccessDenied"),
    Row("authorization_incorrect_aws2", {"authorization": "AWS NOBODY:c2lnbmF0dXJl"}, 403, "InvalidAccessKeyId", 2),
    Row("authorization_invalid_aws2", {"authorization": "AWS whatever"}, 400, "InvalidArgument", 2),
    Row("ua_empty_aws2", {"user-agent": ""}, version=2),
    Row("ua_none_aws2", {"user-agent": None}, version=2),
    Row("date_invalid_aws2", {"x-amz-date": "yesterday", "date": formatdate(usegmt=True)}, 403, "AccessDenied", 2),
    Row("date_empty_aws2", {"x-amz-date": "", "date": formatdate(usegmt=True)}, 403, "AccessDenied", 2),
    Row("date_none_aws2", {"x-amz-date": None}, 403, "AccessDenied", 2),
    Row("date_before_today_aws2", {"x-amz-date": _date(2011)}, 403, "RequestTimeTooSkewed", 2),
    Row("date_before_epoch_aws2", {"x-amz-date": _date(1951)}, 403, "AccessDenied", 2),
    Row("date_after_end_aws2", {"x-amz-date": _date(9998)}, 403, "RequestTimeTooSkewed", 2),
)
BUCKETS = (
    Row("expect_mismatch", {"expect": "200"}),
    Row("expect_empty", {"expect": ""}),
    Row("contentlength_empty", {"content-length": ""}, 400),
    Row("contentlength_negative", {"content-length": "-1"}, 400),
    Row("contentlength_none", {"content-length": None}),
    Row("authorization_empty", {"authorization": ""}, 403, "AccessDenied"),
    Row("authorization_none", {"authorization": None}, 403, "AccessDenied"),
    Row("authorization_invalid_aws2", {"authorization": "AWS whatever"}, 400, "InvalidArgument", 2),
    Row("ua_empty_aws2", {"user-agent": ""}, version=2),
    Row("ua_none_aws2", {"user-agent": None}, version=2),
    Row("date_invalid_aws2", {"x-amz-date": "yesterday", "date": formatdate(usegmt=True)}, 403, "AccessDenied", 2),
    Row("date_empty_aws2", {"x-amz-date": "", "date": formatdate(usegmt=True)}, 403, "AccessDenied", 2),
    Row("date_none_aws2", {"x-amz-date": None}, 403, "AccessDenied", 2),
    Row("date_before_today_aws2", {"x-amz-date": _date(2011)}, 403, "RequestTimeTooSkewed", 2),
    Row("date_after_today_aws2", {"x-amz-date": _date(2041)}, 403, "RequestTimeTooSkewed", 2),
    Row("date_before_epoch_aws2", {"x-amz-date": _date(1951)}, 403, "AccessDenied", 2),
)


def _expect(row: Row, reply: Reply) -> None:
    assert reply.status == row.status, (reply.status, reply.body)
    if row.code:
        assert reply.code == row.code, reply.body


def _object(row: Row) -> None:
    def try_object(door: Door, bucket: str) -> None:
        # without a length, bytes behind the head would be the next request's
        body = b"" if row.changes.get("content-length", "") is None else BODY
        _expect(row, send(door, "PUT", f"/{bucket}/k", row.changes, body, version=row.version))
        if row.status == 200:
            assert door.client().get_object(Bucket=bucket, Key="k")["Body"].read() == BODY
        else:
            refused("404", door.client().head_object, Bucket=bucket, Key="k")

    enter("headers", f"test_object_create_bad_{row.name}", try_object)


def _bucket(row: Row) -> None:
    def try_bucket(door: Door) -> None:
        name = f"by-header-{next(NUMBERS)}"
        _expect(row, send(door, "PUT", f"/{name}", row.changes, version=row.version))
        if row.status == 200:
            door.client().delete_bucket(Bucket=name)
        else:
            refused("404", door.client().head_bucket, Bucket=name)

    enter("headers", f"test_bucket_create_bad_{row.name}", try_bucket)


for _row in OBJECTS:
    _object(_row)
for _row in BUCKETS:
    _bucket(_row)


@case("headers", "test_bucket_create_contentlength_none")
def an_empty_body_needs_no_length(door: Door) -> None:
    name = f"by-header-{next(NUMBERS)}"
    assert send(door, "PUT", f"/{name}", {"content-length": None}).status == 200
    assert send(door, "DELETE", f"/{name}", {"content-length": None}).status == 204


@case("headers", "test_object_acl_create_contentlength_none")
def nor_does_an_acl_in_headers(door: Door, bucket: str) -> None:
    door.client().put_object(Bucket=bucket, Key="k", Body=b"")
    reply = send(door, "PUT", f"/{bucket}/k?acl=", {"content-length": None, "x-amz-acl": "public-read"})
    assert reply.status == 200, reply.body
    assert door.client(None).get_object(Bucket=bucket, Key="k")["ContentLength"] == 0


@case("headers", "test_bucket_put_bad_canned_acl")
def acls_have_names_of_their_own(door: Door, bucket: str) -> None:
    reply = send(door, "PUT", f"/{bucket}?acl=", {"x-amz-acl": "public-rea"})
    assert (reply.status, reply.code) == (400, "InvalidArgument")
    refused("AccessDenied", door.client(None).list_objects, Bucket=bucket)


@case("headers", "test_object_create_date_and_amz_date")
def the_amz_date_outranks_the_date(door: Door, bucket: str) -> None:
    for date in (formatdate(usegmt=True), formatdate(0, usegmt=True)):
        assert send(door, "PUT", f"/{bucket}/k", {"date": date, "x-amz-date": basic_now()}).status == 200


@case("headers", "test_object_create_amz_date_and_no_date")
def an_empty_date_beside_it_is_none(door: Door, bucket: str) -> None:
    assert send(door, "PUT", f"/{bucket}/k", {"date": "", "x-amz-date": basic_now()}).status == 200


@case("headers")
def an_answer_is_not_lost_to_what_stands_behind_its_request(door: Door, bucket: str) -> None:
    reply = send(door, "PUT", f"/{bucket}/k", {"content-length": "3"}, b"all\0 the rest is no request")
    assert reply.status == 200
    assert reply.headers.get("connection") == "close"
    assert door.client().get_object(Bucket=bucket, Key="k")["Body"].read() == b"all"


@case("headers")
def what_is_no_http_is_told_so_in_xml(door: Door) -> None:
    reply = send(door, "PUT", "/b/k", {"content-length": "many"}, account=None)
    assert (reply.status, reply.code) == (400, "BadRequest")


@case("headers")
def boto3_signs_by_version_2_when_told_to(door: Door, bucket: str) -> None:
    client = door.client(signature_version="s3")
    client.put_object(Bucket=bucket, Key="a key?&+", Body=BODY, Metadata={"leaf": "lobed"})
    assert client.get_object(Bucket=bucket, Key="a key?&+")["Body"].read() == BODY


def _typed(name: str, sent: str | None, kept: str) -> None:
    def try_type(door: Door, bucket: str) -> None:
        assert send(door, "PUT", f"/{bucket}/k", {"content-type": sent}, BODY).status == 200
        assert door.client().head_object(Bucket=bucket, Key="k")["ContentType"] == kept

    enter("headers", f"test_object_create_bad_contenttype_{name}", try_type)


_typed("invalid", "text/plain", "text/plain")
_typed("empty", "", "binary/octet-stream")
_typed("none", None, "binary/octet-stream")
