"""What strangers, broken clients and forms send: raw requests against the gateway process."""

from __future__ import annotations

import base64
import datetime
import hashlib
import http.client
import json
import re
import socket
import time
import urllib.request
import uuid
from typing import Any

import pytest
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.services.storage.s3.server.conftest import Process, Refused


def signed(
    gateway: Process, method: str, path: str, body: bytes = b"", secret: str = "main-secret", **headers: str
) -> AWSRequest:
    request = AWSRequest(method, gateway.endpoint + path, data=body, headers=headers)
    S3SigV4Auth(Credentials("MAINKEY", secret), "s3", "us-east-1").add_auth(request)
    return request


def send(gateway: Process, request: AWSRequest, body: bytes | None = None) -> tuple[int, bytes, dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=20)
    path = request.url[len(gateway.endpoint) :]
    connection.request(request.method, path, request.data if body is None else body, dict(request.headers))
    answer = connection.getresponse()
    found = answer.status, answer.read(), {k.lower(): v for k, v in answer.getheaders()}
    connection.close()
    return found


def test_a_wrong_secret_and_an_unknown_key_are_told_apart_as_s3_does(gateway: Process, bucket: str) -> None:
    status, body, headers = send(gateway, signed(gateway, "GET", f"/{bucket}", secret="wrong-secret"))
    assert status == 403 and b"<Code>SignatureDoesNotMatch</Code>" in body
    assert headers["x-amz-request-id"] in body.decode() and headers["content-type"] == "application/xml"
    with Refused("InvalidAccessKeyId", 403):
        gateway.client("other").list_buckets()


@pytest.mark.parametrize("method", ["HEAD", "POST"])
def test_a_method_that_is_not_allowed_is_refused_to_those_who_may_ask(gateway: Process, method: str) -> None:
    """As S3: a false digest or signature is said first."""
    request = signed(gateway, method, "/")
    assert send(gateway, request)[0] == 405
    assert send(gateway, signed(gateway, method, "/", secret="wrong-secret"))[0] == 403
    request.headers.replace_header("x-amz-content-sha256", "false")
    assert send(gateway, request)[0] == 400


@pytest.mark.parametrize(("minutes", "status"), [(-20, 403), (20, 403), (-10, 200), (10, 200)])
def test_clocks_may_differ_by_fifteen_minutes(
    gateway: Process, bucket: str, minutes: int, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    moment = datetime.datetime.now(datetime.UTC) + datetime.timedelta(minutes=minutes)
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda **_: moment.replace(tzinfo=None))
    found, body, _ = send(gateway, signed(gateway, "GET", f"/{bucket}"))
    assert found == status
    assert (b"RequestTimeTooSkewed" in body) == (status == 403)


def test_a_body_other_than_signed_is_refused_and_nothing_is_stored(gateway: Process, s3: Any, bucket: str) -> None:
    for size in (100, 300_000):
        request = signed(gateway, "PUT", f"/{bucket}/k", b"a" * size)
        request.headers.replace_header("X-Amz-Content-SHA256", request.headers["X-Amz-Content-SHA256"])
        status, body, _ = send(gateway, request, b"b" * size)
        assert status == 400 and b"XAmzContentSHA256Mismatch" in body
    with Refused("NoSuchKey"):
        s3.get_object(Bucket=bucket, Key="k")


def test_a_wrong_md5_stores_nothing(gateway: Process, s3: Any, bucket: str) -> None:
    wrong = base64.b64encode(b"0" * 16).decode()
    status, body, _ = send(gateway, signed(gateway, "PUT", f"/{bucket}/k", b"abc", **{"Content-MD5": wrong}))
    assert status == 400 and b"BadDigest" in body
    with Refused("NoSuchKey"):
        s3.get_object(Bucket=bucket, Key="k")


def test_an_upload_cut_off_stores_nothing(gateway: Process, s3: Any, bucket: str) -> None:
    request = signed(gateway, "PUT", f"/{bucket}/cut", b"a" * 3_000_000)
    head = "".join(f"{k}: {v}\r\n" for k, v in request.headers.items())
    with socket.create_connection(("127.0.0.1", gateway.port)) as connection:
        start = f"PUT /{bucket}/cut HTTP/1.1\r\nHost: 127.0.0.1:{gateway.port}\r\n{head}Content-Length: 3000000\r\n\r\n"
        connection.sendall(start.encode() + b"a" * 1_000_000)
    time.sleep(0.3)
    with Refused("NoSuchKey"):
        s3.get_object(Bucket=bucket, Key="cut")


def test_continue_is_said_only_to_who_may_write(gateway: Process, bucket: str) -> None:
    def ask(secret: str) -> bytes:
        request = signed(gateway, "PUT", f"/{bucket}/e", b"abc", secret)
        head = "".join(f"{k}: {v}\r\n" for k, v in request.headers.items())
        with socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as connection:
            connection.sendall(
                f"PUT /{bucket}/e HTTP/1.1\r\nHost: 127.0.0.1:{gateway.port}\r\n{head}Content-Length: 3\r\n"
                "Expect: 100-continue\r\n\r\n".encode()
            )
            first = connection.recv(65_536)
            if first.startswith(b"HTTP/1.1 100"):
                connection.sendall(b"abc")
                return first + connection.recv(65_536)
            return first + connection.recv(65_536)  # and then it is closed

    assert ask("main-secret").startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200")
    refused = ask("wrong-secret")
    assert refused.startswith(b"HTTP/1.1 403") and b"connection: close" in refused.lower()


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/%zz", 400, "InvalidURI"),
        ("/b/%ff", 400, "InvalidURI"),
        ("//key", 400, "InvalidBucketName"),
        ("/b/" + "k" * 1025, 400, "KeyTooLongError"),
        ("/no-such-bucket-here/k", 404, "NoSuchBucket"),
        ("/b?acl&policy", 400, "InvalidRequest"),
        ("/../../etc/passwd", 404, "NoSuchBucket"),
    ],
)
def test_odd_paths_get_an_error_document(gateway: Process, path: str, status: int, code: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=10)
    connection.putrequest("GET", path)
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read().decode()
    assert (answer.status, f"<Code>{code}</Code>" in body) == (status, True), body


def test_every_method_is_answered(gateway: Process, bucket: str) -> None:
    for method in ("PATCH", "TRACE", "PROPFIND"):
        connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=10)
        connection.request(method, f"/{bucket}")
        answer = connection.getresponse()
        assert answer.status in (400, 405)
        answer.read()


def test_presigned_urls(gateway: Process, s3: Any, bucket: str) -> None:
    url = s3.generate_presigned_url("put_object", {"Bucket": bucket, "Key": "p", "ContentType": "text/x"}, 60)
    request = urllib.request.Request(url, b"body", {"Content-Type": "text/x"}, method="PUT")
    assert urllib.request.urlopen(request).status == 200
    url = gateway.client(signature_version="s3v4").generate_presigned_url(
        "get_object", {"Bucket": bucket, "Key": "p"}, 60
    )
    assert urllib.request.urlopen(url).read() == b"body"
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(url[:-1] + ("0" if url[-1] != "0" else "1"))
    assert caught.value.code == 403
    old = s3.generate_presigned_url("get_object", {"Bucket": bucket, "Key": "p"}, -10)
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(old)
    assert caught.value.code == 403


def test_buckets_by_host(gateway: Process, bucket: str) -> None:
    request = AWSRequest("PUT", f"http://{bucket}.s3.localhost:{gateway.port}/by-host", data=b"x")
    S3SigV4Auth(Credentials("MAINKEY", "main-secret"), "s3", "us-east-1").add_auth(request)
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port)
    headers = {**dict(request.headers), "Host": f"{bucket}.s3.localhost:{gateway.port}"}
    connection.request("PUT", "/by-host", b"x", headers)
    assert connection.getresponse().status == 200
    assert gateway.client().get_object(Bucket=bucket, Key="by-host")["Body"].read() == b"x"


def form(fields: dict[str, str], file: bytes) -> tuple[bytes, str]:
    boundary = uuid.uuid4().hex
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{n}"\r\n\r\n{v}\r\n'.encode() for n, v in fields.items()
    ]
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="f.txt"\r\nContent-Type: text/plain\r\n\r\n'
    return b"".join(
        parts
    ) + head.encode() + file + f"\r\n--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


@pytest.mark.parametrize("size", [0, 5, 2_000_000])
def test_form_uploads(gateway: Process, s3: Any, bucket: str, size: int) -> None:
    post = gateway.client(signature_version="s3v4").generate_presigned_post(
        bucket, "up/${filename}", Conditions=[["content-length-range", 0, 3_000_000]], ExpiresIn=60
    )
    body, kind = form(post["fields"], b"x" * size)
    request = urllib.request.Request(f"{gateway.endpoint}/{bucket}", body, {"Content-Type": kind}, method="POST")
    assert urllib.request.urlopen(request).status == 204
    assert s3.get_object(Bucket=bucket, Key="up/f.txt")["Body"].read() == b"x" * size
    body, kind = form(post["fields"], b"x" * 3_000_001)
    request = urllib.request.Request(f"{gateway.endpoint}/{bucket}", body, {"Content-Type": kind}, method="POST")
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request)
    assert caught.value.code == 400 and b"EntityTooLarge" in caught.value.read()


def test_an_unsigned_form_is_refused(gateway: Process, bucket: str) -> None:
    body, kind = form({"key": "k"}, b"x")
    request = urllib.request.Request(f"{gateway.endpoint}/{bucket}", body, {"Content-Type": kind}, method="POST")
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request)
    assert caught.value.code == 403


def test_cross_origin_answers(gateway: Process, s3: Any, bucket: str) -> None:
    s3.put_bucket_cors(
        Bucket=bucket,
        CORSConfiguration={"CORSRules": [{"AllowedMethods": ["GET"], "AllowedOrigins": ["https://*.example.org"], "ExposeHeaders": ["ETag"]}]},
    )  # fmt: skip
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port)
    origin = {"Origin": "https://a.example.org", "Access-Control-Request-Method": "GET"}
    connection.request("OPTIONS", f"/{bucket}/k", headers=origin)
    answer = connection.getresponse()
    answer.read()
    assert answer.status == 200 and answer.getheader("access-control-allow-origin") == "https://a.example.org"
    connection.request("OPTIONS", f"/{bucket}/k", headers={**origin, "Access-Control-Request-Method": "PUT"})
    answer = connection.getresponse()
    assert answer.status == 403 and b"<Error>" in answer.read()
    connection.request("GET", f"/{bucket}/k", headers=origin)
    answer = connection.getresponse()
    assert answer.status == 403 and answer.getheader("access-control-expose-headers") == "ETag"  # also on errors


def test_settings_round_trip(s3: Any, bucket: str) -> None:
    for missing, code in (
        (s3.get_bucket_cors, "NoSuchCORSConfiguration"),
        (s3.get_bucket_lifecycle_configuration, "NoSuchLifecycleConfiguration"),
        (s3.get_bucket_tagging, "NoSuchTagSet"),
        (s3.get_bucket_policy, "NoSuchBucketPolicy"),
        (s3.get_public_access_block, "NoSuchPublicAccessBlockConfiguration"),
        (s3.get_bucket_ownership_controls, "OwnershipControlsNotFoundError"),
        (s3.get_object_lock_configuration, "ObjectLockConfigurationNotFoundError"),
        (s3.get_bucket_website, "NoSuchWebsiteConfiguration"),
        (s3.get_bucket_replication, "ReplicationConfigurationNotFoundError"),
    ):
        with Refused(code, 404):
            missing(Bucket=bucket)
    s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": [{"Key": "a", "Value": "b"}]})
    assert s3.get_bucket_tagging(Bucket=bucket)["TagSet"] == [{"Key": "a", "Value": "b"}]
    rule = {"ID": "r", "Status": "Enabled", "Filter": {"Prefix": "x/"}, "Expiration": {"Days": 3}}
    s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": [rule]})
    assert s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"] == [rule]
    assert s3.get_bucket_location(Bucket=bucket)["LocationConstraint"] is None
    assert s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"]
    with Refused("NotImplemented", 501):
        s3.put_bucket_website(Bucket=bucket, WebsiteConfiguration={"IndexDocument": {"Suffix": "i"}})
    with Refused("NotImplemented", 501):
        s3.put_object(Bucket=bucket, Key="k", Body=b"", ServerSideEncryption="aws:kms")
    s3.put_object(Bucket=bucket, Key="k", Body=b"", ServerSideEncryption="AES256")


def test_names_of_buckets(gateway: Process, s3: Any) -> None:
    name = f"n-{uuid.uuid4().hex[:12]}"
    s3.create_bucket(Bucket=name)
    s3.create_bucket(Bucket=name)  # one's own again: no error in the classic region
    with Refused("BucketAlreadyExists", 409):
        gateway.client("alt").create_bucket(Bucket=name)
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port)
    request = AWSRequest("PUT", f"{gateway.endpoint}/Bad_Name", data=b"")
    SigV4Auth(Credentials("MAINKEY", "main-secret"), "s3", "us-east-1").add_auth(request)
    headers = {
        **dict(request.headers),
        "x-amz-content-sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    }
    connection.request("PUT", "/Bad_Name", b"", headers)
    assert connection.getresponse().status in (400, 403)
    assert name in [b["Name"] for b in s3.list_buckets()["Buckets"]]
    s3.delete_bucket(Bucket=name)
    with Refused("404", 404):
        s3.head_bucket(Bucket=name)


def test_health_and_metrics_have_a_door_of_their_own(gateway: Process) -> None:
    assert json.load(urllib.request.urlopen(f"{gateway.admin}/healthz"))["status"] == "ok"
    page = urllib.request.urlopen(f"{gateway.admin}/metrics").read().decode()
    assert 'fieldstone_s3_requests_total{operation="CreateBucket",status="200"}' in page
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(f"{gateway.endpoint}/metrics")


KEY = bytes(range(32))
CUSTOMER = {
    "x-amz-server-side-encryption-customer-algorithm": "AES256",
    "x-amz-server-side-encryption-customer-key": base64.b64encode(KEY).decode(),
    "x-amz-server-side-encryption-customer-key-md5": base64.b64encode(hashlib.md5(KEY).digest()).decode(),
}


def test_a_customers_key_must_come_encrypted(gateway: Process, bucket: str) -> None:
    """Told by the proxy in front, here on loopback, which the gateway was told to trust."""
    path = f"/{bucket}/k"
    for told in ({}, {"x-forwarded-proto": "http"}):
        status, body, _ = send(gateway, signed(gateway, "PUT", path, b"x", **CUSTOMER, **told))
        assert status == 400 and b"<Code>InvalidRequest</Code>" in body and b"over a secure connection" in body
    secure = {"x-forwarded-proto": "https"}
    assert send(gateway, signed(gateway, "PUT", path, b"secret", **CUSTOMER, **secure))[0] == 200
    assert send(gateway, signed(gateway, "GET", path, **CUSTOMER))[0] == 400
    assert send(gateway, signed(gateway, "GET", path, **CUSTOMER, **secure))[1] == b"secret"
    source = {n.replace("x-amz-", "x-amz-copy-source-"): v for n, v in CUSTOMER.items()} | {"x-amz-copy-source": path}
    assert b"over a secure connection" in send(gateway, signed(gateway, "PUT", f"/{bucket}/copy", **source))[1]
    assert send(gateway, signed(gateway, "PUT", f"/{bucket}/copy", **source, **secure))[0] == 200


def test_a_form_with_a_customers_key_must_come_encrypted(gateway: Process, bucket: str) -> None:
    conditions = [["starts-with", f"${name}", ""] for name in CUSTOMER]
    post = gateway.client(signature_version="s3v4").generate_presigned_post(bucket, "k", CUSTOMER, conditions)
    body, kind = form(post["fields"], b"x")
    for told, status in (({}, 400), ({"X-Forwarded-Proto": "https"}, 204)):
        connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=20)
        connection.request("POST", f"/{bucket}", body, {"Content-Type": kind, **told})
        answer = connection.getresponse()
        assert (answer.status, b"over a secure connection" in answer.read()) == (status, status == 400)
        connection.close()


def test_what_is_no_request_is_counted_by_name(gateway: Process) -> None:
    def rejected() -> dict[str, int]:
        page = urllib.request.urlopen(f"{gateway.admin}/metrics").read().decode()
        return {n: int(c) for n, c in re.findall(r'fieldstone_s3_rejected_total{reason="(\w+)"} (\d+)', page)}

    before = rejected()
    for sent in (b"\x16\x03\x01\x02\x00", b"GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", gateway.port), timeout=20) as connection:
            connection.sendall(sent)
            assert connection.recv(1 << 16)
    after = rejected()
    assert {name: after[name] - before.get(name, 0) for name in after} == {"not_http": 1, "upgrade": 1}
