"""Uploads by a browser's form: what the policy must say, what the fields must hold, what the answer is."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.services.storage.s3.conformance.raw import Reply, send
from tests.services.storage.s3.conformance.table import case, enter, refused
from tests.services.storage.s3.conftest import Door

KEY, DATA = "up/leaf.txt", b"pressed between two pages"
FORM = {"key": KEY, "acl": "private", "Content-Type": "text/plain"}
IN_TIME = "%Y-%m-%dT%H:%M:%SZ"


def moment(seconds: int, form: str = IN_TIME) -> str:
    return time.strftime(form, time.gmtime(time.time() + seconds))


def conditions(bucket: str, *more: Any, key: str = "up/", size: Any = (0, 1000)) -> list[Any]:
    """Return the conditions that fit FORM."""
    fixed = [{"bucket": bucket}, ["starts-with", "$key", key], {"acl": "private"}]
    return [*fixed, ["starts-with", "$Content-Type", "text/"], ["content-length-range", *size], *more]


def signed(door: Door, policy: Mapping[str, Any] | str) -> dict[str, str]:
    """Return the fields that sign a policy (version 2, as a form's author can do by hand)."""
    text = base64.b64encode((policy if isinstance(policy, str) else json.dumps(policy)).encode())
    digest = hmac.digest(door.accounts["main"].secret.encode(), text, "sha1")
    account = door.accounts["main"].key
    return {"AWSAccessKeyId": account, "signature": base64.b64encode(digest).decode(), "policy": text.decode()}


def post(
    door: Door, bucket: str, fields: Mapping[str, str | None], data: bytes = DATA, file: str = "leaf.txt"
) -> Reply:
    """Send a form, without the fields that are None."""
    body = b"".join(
        # with a file's name on every field, as some HTTP libraries send them
        b'--edge\r\nContent-Disposition: form-data; name="%b"; filename="%b"\r\n\r\n%b\r\n'
        % (name.encode(), name.encode(), value.encode())
        for name, value in fields.items()
        if value is not None
    )
    head = f'--edge\r\nContent-Disposition: form-data; name="file"; filename="{file}"\r\n\r\n'
    body += head.encode() + data + b"\r\n--edge--\r\n"
    return send(door, "POST", f"/{bucket}", {"content-type": "multipart/form-data; boundary=edge"}, body, account=None)


@dataclass(frozen=True)
class Row:
    """One form. `more`: further conditions; `fields`: changes to the form; `policy`: changes to the policy."""

    name: str
    status: int = 204
    code: str = ""
    more: tuple[Any, ...] = ()
    key: str = "up/"
    size: tuple[Any, ...] = (0, 1000)
    fields: Mapping[str, str | None] = field(default_factory=dict)
    policy: Mapping[str, Any] = field(default_factory=dict)
    data: bytes = DATA


META = "x-amz-meta-colour"
ROWS = (
    Row("authenticated_request"),
    Row("authenticated_request_bad_access_key", 403, "InvalidAccessKeyId", fields={"AWSAccessKeyId": "NOBODY"}),
    Row("invalid_access_key", 403, "InvalidAccessKeyId", fields={"AWSAccessKeyId": "YEK" + "NIAM"}),
    Row("invalid_signature", 403, "SignatureDoesNotMatch", fields={"signature": "c2lnbmF0dXJl"}),
    Row("upload_larger_than_chunk", size=(0, 4 << 20), data=b"leaves " * 300_000),
    Row("upload_size_rgw_chunk_size_bug", size=(4 << 20, 12 << 20), data=b"x" * ((4 << 20) + 200)),
    Row("ignored_header", fields={"x-ignore-weather": "rain"}),
    Row("escaped_field_values", key="\\$up", fields={"key": "\\$up.txt"}),
    Row("user_specified_header", more=(["starts-with", f"${META}", "gr"],), fields={META: "green"}),
    Row("request_missing_policy_specified_field", 403, "AccessDenied", more=(["starts-with", f"${META}", "gr"],)),
    Row("invalid_request_field_value", 403, "AccessDenied", more=(["eq", f"${META}", ""],), fields={META: "green"}),
    Row("invalid_date_format", 400, "InvalidPolicyDocument", policy={"expiration": moment(3000, "%Y-%m-%d %H:%M:%S.5+00:00")}),
    Row("no_key_specified", 400, "InvalidArgument", fields={"key": None}),
    Row("missing_signature", 400, "InvalidArgument", fields={"signature": None}),
    Row("condition_is_case_sensitive", 400, "InvalidPolicyDocument", policy={"conditions": None, "Conditions": []}),
    Row("expires_is_case_sensitive", 400, "InvalidPolicyDocument", policy={"expiration": None, "Expiration": moment(900)}),
    Row("expired_policy", 403, "AccessDenied", policy={"expiration": moment(-900)}),
    Row("missing_expires_condition", 400, "InvalidPolicyDocument", policy={"expiration": None}),
    Row("missing_conditions_list", 400, "InvalidPolicyDocument", policy={"conditions": None}),
    Row("empty_conditions", 400, "InvalidPolicyDocument", policy={"conditions": [{}]}),
    Row("upload_size_limit_exceeded", 400, "EntityTooLarge", size=(0, 3)),
    Row("upload_size_below_minimum", 400, "EntityTooSmall", size=(100, 1000)),
    Row("missing_content_length_argument", 400, "InvalidPolicyDocument", size=(0,)),
    Row("invalid_content_length_argument", 400, "InvalidPolicyDocument", size=(-5, 5)),
)  # fmt: skip


def _row(row: Row) -> None:
    def try_form(door: Door, bucket: str) -> None:
        wanted = {"expiration": moment(900), "conditions": conditions(bucket, *row.more, key=row.key, size=row.size)}
        policy = {name: value for name, value in (wanted | dict(row.policy)).items() if value is not None}
        fields = {**FORM, **signed(door, policy), **row.fields}
        reply = post(door, bucket, fields, row.data)
        assert (reply.status, reply.code) == (row.status, row.code), reply.body
        if row.status == 204:
            got = door.client().get_object(Bucket=bucket, Key=fields["key"])
            assert (got["Body"].read(), got["ContentType"]) == (row.data, "text/plain")
            assert got["Metadata"] == ({"colour": "green"} if META in row.fields else {})
        else:
            assert "Contents" not in door.client().list_objects_v2(Bucket=bucket)

    enter("forms", f"test_post_object_{row.name}", try_form)


for _each in ROWS:
    _row(_each)


@case("forms", "test_post_object_anonymous_request")
def strangers_post_where_all_may_write(door: Door, bucket: str) -> None:
    client = door.client()
    client.put_bucket_acl(Bucket=bucket, ACL="public-read-write")
    assert post(door, bucket, {"key": KEY, "acl": "public-read", "Content-Type": "text/plain"}).status == 204
    assert door.client(None).get_object(Bucket=bucket, Key=KEY)["Body"].read() == DATA


@case("forms", "test_post_object_authenticated_no_content_type")
def a_form_need_not_name_a_type(door: Door, bucket: str) -> None:
    fitting = [c for c in conditions(bucket) if "$Content-Type" not in c]
    fields = signed(door, {"expiration": moment(900), "conditions": fitting})
    assert post(door, bucket, {"key": KEY, "acl": "private", **fields}).status == 204
    assert door.client().head_object(Bucket=bucket, Key=KEY)["ContentLength"] == len(DATA)


@case("forms", "test_post_object_missing_policy_condition")
def the_policy_must_name_the_bucket(door: Door, bucket: str) -> None:
    fitting = [c for c in conditions(bucket) if "bucket" not in c]
    reply = post(door, bucket, {**FORM, **signed(door, {"expiration": moment(900), "conditions": fitting})})
    assert (reply.status, reply.code) == (403, "AccessDenied")
    assert b"Extra input fields: bucket" in reply.body
    refused("404", door.client().head_object, Bucket=bucket, Key=KEY)


@case("forms", "test_post_object_case_insensitive_condition_fields")
def fields_have_no_case(door: Door, bucket: str) -> None:
    loud = [
        {"BuckeT": bucket},
        ["Starts-With", "$kEY", "up/"],
        {"aCl": "private"},
        ["EQ", "$CONTENT-type", "text/plain"],
    ]
    fields = signed(door, {"expiration": moment(900), "conditions": loud})
    form = {"KeY": KEY, "ACl": "private", "content-TYPE": "text/plain", "POLICY": fields.pop("policy")}
    assert post(door, bucket, {**form, **fields}).status == 204
    assert door.client().head_object(Bucket=bucket, Key=KEY)["ContentType"] == "text/plain"


@case("forms", "test_post_object_set_key_from_filename")
def the_files_name_may_be_the_key(door: Door, bucket: str) -> None:
    policy = {"expiration": moment(900), "conditions": conditions(bucket)}
    assert post(door, bucket, {**FORM, "key": "up/${filename}", **signed(door, policy)}, file="fern.txt").status == 204
    assert door.client().get_object(Bucket=bucket, Key="up/fern.txt")["Body"].read() == DATA
    policy = {
        "expiration": moment(900),
        "conditions": conditions(bucket, key="fern"),
    }  # it speaks of the key as it will be
    form = {**FORM, "key": "${filename}", **signed(door, policy)}
    assert post(door, bucket, form, file="fern.txt").status == 204
    assert post(door, bucket, form, file="moss.txt").status == 403
    assert door.client().get_object(Bucket=bucket, Key="fern.txt")["Body"].read() == DATA


@case("forms", "test_post_object_set_success_code")
def an_answer_in_xml(door: Door, bucket: str) -> None:
    door.client().put_bucket_acl(Bucket=bucket, ACL="public-read-write")
    reply = post(door, bucket, {"key": KEY, "success_action_status": "201"})
    found = {node.tag: node.text for node in ElementTree.fromstring(reply.body)}  # no namespace
    etag = door.client().head_object(Bucket=bucket, Key=KEY)["ETag"]
    where = f"{door.endpoint}/{bucket}/up%2Fleaf.txt"
    assert found == {"Location": where, "Bucket": bucket, "Key": KEY, "ETag": etag}
    assert (reply.status, reply.headers["location"]) == (201, where)


@case("forms", "test_post_object_set_invalid_success_code")
def other_answers_are_the_usual_one(door: Door, bucket: str) -> None:
    door.client().put_bucket_acl(Bucket=bucket, ACL="public-read-write")
    for status in ("404", "302", "two hundred"):
        reply = post(door, bucket, {"key": KEY, "success_action_status": status})
        assert (reply.status, reply.body) == (204, b"")


@case("forms", "test_post_object_success_redirect_action")
def the_browser_is_sent_on(door: Door, bucket: str) -> None:
    target = f"{door.endpoint}/{bucket}/thanks"
    policy = {"expiration": moment(900), "conditions": conditions(bucket, ["eq", "$success_action_redirect", target])}
    reply = post(door, bucket, {**FORM, "success_action_redirect": target, **signed(door, policy)})
    etag = door.client().head_object(Bucket=bucket, Key=KEY)["ETag"].strip('"')
    assert reply.status == 303
    assert reply.headers["location"] == f"{target}?bucket={bucket}&key={KEY.replace('/', '%2F')}&etag=%22{etag}%22"


@case("forms")
def a_dollar_may_be_escaped_in_the_policy(door: Door, bucket: str) -> None:
    # documented for policies, though JSON has no such escape
    text = json.dumps({"expiration": moment(900), "conditions": conditions(bucket, key="$up")}).replace(
        '"$up"', '"\\$up"'
    )
    assert post(door, bucket, {**FORM, "key": "$up.txt", **signed(door, text)}).status == 204


@case("forms", "test_post_object_wrong_bucket")
def a_policy_is_for_its_bucket_alone(door: Door, bucket: str) -> None:
    fields = signed(door, {"expiration": moment(900), "conditions": conditions("another-bucket")})
    for more in ({}, {"bucket": "another-bucket"}):  # a field cannot say which bucket the form was sent to
        reply = post(door, bucket, {**FORM, **more, **fields})
        assert (reply.status, reply.code) == (403, "AccessDenied")


@case("forms")
def a_checksum_in_a_field_is_checked(door: Door, bucket: str) -> None:
    name, digest = "x-amz-checksum-sha256", hashlib.sha256(DATA).digest()
    policy = {"expiration": moment(900), "conditions": conditions(bucket, ["starts-with", f"${name}", ""])}
    for value, status in ((digest, 204), (digest[::-1], 400)):
        form = {**FORM, **signed(door, policy), name: base64.b64encode(value).decode()}
        assert post(door, bucket, form).status == status
    assert len(door.client().list_objects_v2(Bucket=bucket)["Contents"]) == 1
