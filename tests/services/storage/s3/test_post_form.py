"""Browser uploads: the form in any cutting, Amazon's example, conditions, and forms that lie."""

from __future__ import annotations

import base64
import hmac
import json
import time
from typing import Any

import pytest
from botocore.auth import S3SigV4PostAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from fieldstone.services.storage.s3 import post_form
from fieldstone.services.storage.s3.dates import parse_basic_date
from fieldstone.services.storage.s3.errors import S3Error
from fieldstone.services.storage.s3.post_form import Form, FormReader
from tests.services.storage.s3.test_sigv4 import KEY, KEYS, SECRET, VECTORS

BOUNDARY = b"----b"


def encode(fields: dict[str, str], data: bytes | None, file_name: str = "f.txt", after: str = "") -> bytes:
    body = b""
    for name, value in fields.items():
        body += b'--%s\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % (
            BOUNDARY,
            name.encode(),
            value.encode(),
        )
    if data is not None:
        head = f'Content-Disposition: form-data; name="file"; filename="{file_name}"\r\nContent-Type: text/plain'
        body += b"--%s\r\n%s\r\n\r\n%s\r\n" % (BOUNDARY, head.encode(), data)
    return body + after.encode() + b"--" + BOUNDARY + b"--\r\n"


def read(body: bytes, sizes: list[int] | None = None) -> tuple[Form, bytes]:
    reader = FormReader(BOUNDARY)
    out, start = b"", 0
    for size in sizes or []:
        out += b"".join(reader.feed(body[start : start + size]))
        start += size
    out += b"".join(reader.feed(body[start:]))
    return reader.finish(), out


def refused(call: Any, *arguments: Any) -> str:
    with pytest.raises(S3Error) as caught:
        call(*arguments)
    return caught.value.code


@given(st.dictionaries(st.text("abc", min_size=1, max_size=4), st.text(st.characters(exclude_categories=["Cs"]), max_size=20), max_size=4), st.binary(max_size=100), st.lists(st.integers(0, 30), max_size=30))  # fmt: skip
def test_forms_come_back_in_any_cutting(fields: dict[str, str], data: bytes, sizes: list[int]) -> None:
    form, out = read(encode(fields, data), sizes)
    assert form.fields == fields
    assert out == data
    assert (form.file_name, form.file_type) == ("f.txt", "text/plain")


def test_data_that_looks_like_a_boundary_is_data() -> None:
    data = b"\r\n------\r\n--\r\n----\r\n" * 5
    for size in range(1, 40):
        assert read(encode({"key": "k"}, data), [size] * 20)[1] == data


def test_the_file_name_fills_in_the_key() -> None:
    form, _ = read(encode({"key": "a/${filename}"}, b"", "C:\\dir\\x.txt"))
    assert form.key == "a/x.txt"
    assert refused(lambda: Form({}).key) == "InvalidArgument"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "MalformedPOSTRequest"),
        (b"rubbish", "MalformedPOSTRequest"),
        (encode({"key": "k"}, None), "IncorrectNumberOfFilesInPostRequest"),
        (encode({"key": "k"}, b"data")[:-12], "MalformedPOSTRequest"),
        (encode({"key": "a"}, None)[:-11] + encode({"key": "b"}, b""), "MalformedPOSTRequest"),
        (encode({f"f{i}": "" for i in range(101)}, b""), "MalformedPOSTRequest"),
        (encode({"key": "k" * 30000}, b""), "MaxPostPreDataLengthExceededError"),
        (encode({f"f{i}": "x" * 3000 for i in range(9)}, b""), "MaxPostPreDataLengthExceededError"),
        (b"--" + BOUNDARY + b"\r\nnonsense\r\n\r\n", "MalformedPOSTRequest"),
        (b'--' + BOUNDARY + b'\r\nContent-Disposition: attachment; name="a"\r\n\r\n', "MalformedPOSTRequest"),
        (b"--" + BOUNDARY + b"\r\n" + b"x" * 50000, "MaxPostPreDataLengthExceededError"),
    ],
)  # fmt: skip
def test_broken_forms(body: bytes, code: str) -> None:
    assert refused(read, body) == code


def test_boundaries() -> None:
    assert post_form.boundary_of('multipart/form-data; boundary="a b"') == b"a b"
    assert refused(post_form.boundary_of, "text/plain") == "InvalidRequest"
    assert refused(post_form.boundary_of, None) == "InvalidRequest"
    assert refused(post_form.boundary_of, "multipart/form-data") == "MalformedPOSTRequest"
    assert refused(post_form.boundary_of, "multipart/form-data; boundary=" + "a" * 71) == "MalformedPOSTRequest"


def test_the_published_example() -> None:
    example = VECTORS["post"]
    now_s = parse_basic_date(example["now"]) or 0
    form = Form(example["fields"], example["file_name"])
    assert post_form.verify(form, example["bucket"], KEYS.get, now_s)[0].access_key == KEY
    assert form.key == "user/user1/MyFilename.jpg"
    assert refused(post_form.verify, form, "otherbucket", KEYS.get, now_s) == "AccessDenied"
    assert refused(post_form.verify, form, example["bucket"], KEYS.get, now_s + 86400 * 2) == "AccessDenied"


def policy(conditions: list[Any], expiration: str = "2100-01-01T00:00:00Z") -> str:
    return base64.b64encode(json.dumps({"expiration": expiration, "conditions": conditions}).encode()).decode()


def form_v2(fields: dict[str, str], conditions: list[Any], **options: str) -> Form:
    text = policy(conditions, **options)
    signature = base64.b64encode(hmac.digest(SECRET.encode(), text.encode(), "sha1")).decode()
    return Form({**fields, "policy": text, "signature": signature, "awsaccesskeyid": KEY})


KEY_CONDITIONS = [{"bucket": "b"}, ["starts-with", "$key", "a/"]]


@pytest.mark.parametrize(
    ("fields", "conditions", "expected"),
    [
        ({"key": "a/x"}, KEY_CONDITIONS, "ok"),
        ({"key": "b/x"}, KEY_CONDITIONS, "AccessDenied"),
        ({"key": "a/x", "acl": "public-read"}, KEY_CONDITIONS, "AccessDenied"),
        ({"key": "a/x", "x-ignore-me": "1"}, KEY_CONDITIONS, "ok"),
        ({"key": "a/x"}, [*KEY_CONDITIONS, {"acl": "private"}], "AccessDenied"),
        ({"key": "a/x", "acl": "private"}, [*KEY_CONDITIONS, {"ACL": "private"}], "ok"),
        ({"key": "a/x", "acl": "private"}, [*KEY_CONDITIONS, ["EQ", "$acl", "private"]], "ok"),
        ({"key": "a/x"}, [{"bucket": "other"}, ["starts-with", "$key", ""]], "AccessDenied"),
        ({"key": "a/x"}, [["starts-with", "$key", "a/"]], "AccessDenied"),
        ({"key": "a/x", "bucket": "b"}, [{"bucket": "other"}, ["starts-with", "$key", ""]], "AccessDenied"),
        ({"acl": "private"}, [{"bucket": "b"}, {"acl": "public-read"}], "InvalidArgument"),
        (
            {"key": "a/x", "content-type": "image/a,text/b"},
            [*KEY_CONDITIONS, ["starts-with", "$Content-Type", "image/"]],
            "AccessDenied",
        ),
        ({"key": "a/x"}, [*KEY_CONDITIONS, ["ends-with", "$key", "x"]], "InvalidPolicyDocument"),
        ({"key": "a/x"}, [*KEY_CONDITIONS, ["eq", "key", "x"]], "InvalidPolicyDocument"),
        ({"key": "a/x"}, [*KEY_CONDITIONS, {}], "InvalidPolicyDocument"),
        ({"key": "a/x"}, [*KEY_CONDITIONS, ["content-length-range", 5]], "InvalidPolicyDocument"),
        ({"key": "a/x"}, [*KEY_CONDITIONS, ["content-length-range", -1, 5]], "InvalidPolicyDocument"),
        ({"key": "a/x"}, [*KEY_CONDITIONS, ["content-length-range", 6, 5]], "InvalidPolicyDocument"),
    ],
)
def test_conditions(fields: dict[str, str], conditions: list[Any], expected: str) -> None:
    form = form_v2(fields, conditions)
    if expected == "ok":
        assert post_form.verify(form, "b", KEYS.get, time.time())[0].kind == "post"
    else:
        assert refused(post_form.verify, form, "b", KEYS.get, time.time()) == expected


@pytest.mark.parametrize(
    "expiration",
    ["2100-01-01", "2100-01-01 00:00:00Z", "2100-01-01T00:00:00", "2100-01-01T00:00:00+00:00", "2100-13-01T00:00:00Z"],
)
def test_a_policy_ends_at_a_full_utc_time(expiration: str) -> None:
    form = form_v2({"key": "a/x"}, KEY_CONDITIONS, expiration=expiration)
    assert refused(post_form.verify, form, "b", KEYS.get, time.time()) == "InvalidPolicyDocument"


@pytest.mark.parametrize(("text", "key"), [("$a", "$a"), ("\\$a", "$a"), ("\\\\$a", "\\$a"), ("\\\\\\$a", "\\$a")])
def test_a_dollar_of_the_policy_may_be_escaped(text: str, key: str) -> None:
    policy_text = base64.b64decode(policy([{"bucket": "b"}, ["eq", "$key", "@"]])).decode().replace("@", text)
    encoded = base64.b64encode(policy_text.encode()).decode()
    assert post_form.check_policy(encoded, {"key": key, "bucket": "b"}, 0) is None


def test_sizes_are_bounded_by_the_strictest_range() -> None:
    form = form_v2(
        {"key": "a/x"}, [*KEY_CONDITIONS, ["content-length-range", 1, 100], ["content-length-range", "5", "200"]]
    )
    bounds = post_form.verify(form, "b", KEYS.get, time.time())[1]
    assert bounds == (5, 100)
    post_form.check_size(bounds, 5)
    assert refused(post_form.check_size, bounds, 4) == "EntityTooSmall"
    assert refused(post_form.check_size, bounds, 101) == "EntityTooLarge"


def test_expiry_and_signatures() -> None:
    assert (
        refused(
            post_form.verify,
            form_v2({"key": "a/x"}, KEY_CONDITIONS, expiration="2020-01-01T00:00:00Z"),
            "b",
            KEYS.get,
            time.time(),
        )
        == "AccessDenied"
    )
    assert (
        refused(
            post_form.verify, form_v2({"key": "a/x"}, KEY_CONDITIONS, expiration="soon"), "b", KEYS.get, time.time()
        )
        == "InvalidPolicyDocument"
    )
    good = form_v2({"key": "a/x"}, KEY_CONDITIONS)
    for changes, code in (
        ({"signature": "AAAA"}, "SignatureDoesNotMatch"),
        ({"awsaccesskeyid": "no"}, "InvalidAccessKeyId"),
        ({"policy": policy([{"bucket": "b"}, ["starts-with", "$key", ""]])}, "SignatureDoesNotMatch"),
    ):
        assert refused(post_form.verify, Form({**good.fields, **changes}), "b", KEYS.get, time.time()) == code
    unsigned = {n: v for n, v in good.fields.items() if n != "signature"}
    assert refused(post_form.verify, Form(unsigned), "b", KEYS.get, time.time()) == "InvalidArgument"
    unbound = {n: v for n, v in good.fields.items() if n != "policy"}
    assert refused(post_form.verify, Form(unbound), "b", KEYS.get, time.time()) == "InvalidArgument"
    assert post_form.verify(Form({"key": "k"}), "b", KEYS.get, time.time())[0].access_key is None


def test_botocore_presigned_posts() -> None:
    fields: dict[str, str] = {"key": "a/x"}
    conditions: list[Any] = [{"bucket": "b"}, ["starts-with", "$key", "a/"]]
    request = AWSRequest("POST", "http://h/b")
    request.context["s3-presign-post-fields"] = fields
    request.context["s3-presign-post-policy"] = {"conditions": conditions, "expiration": "2100-01-01T00:00:00Z"}
    S3SigV4PostAuth(Credentials(KEY, SECRET), "s3", "us-east-1").add_auth(request)
    form = Form({n.lower(): v for n, v in request.context["s3-presign-post-fields"].items()})
    assert post_form.verify(form, "b", KEYS.get, time.time())[0].access_key == KEY
