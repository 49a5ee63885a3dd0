"""Version 2 as botocore signs it: URLs presigned by default settings, and headers."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.auth import HmacV1Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials

from fieldstone.services.storage.s3.errors import S3Error
from fieldstone.services.storage.s3.sigv2 import Verifier
from fieldstone.services.storage.s3.wire import Request

SECRET = "secret of the key"
VERIFIER = Verifier((), allow_query=True, allow_header=True)


def client() -> Any:
    return boto3.client(
        "s3", endpoint_url="http://gateway:9000", aws_access_key_id="KEY", aws_secret_access_key=SECRET,
        region_name="us-east-1", config=Config(signature_version="s3", s3={"addressing_style": "path"}),
    )  # fmt: skip


def check(method: str, url: str, headers: dict[str, str] | None = None, secret: str = SECRET) -> None:
    split = urlsplit(url)
    pairs = [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()]
    request = Request(method, split.path.encode(), split.query.encode(), [(b"host", split.netloc.encode()), *pairs])
    VERIFIER.check(VERIFIER.claim(request, time.time()), secret)


@pytest.mark.parametrize(
    "metadata", [{"a": "1", "a-b": "2"}, {"size": "1", "size2": "2", "size.x": "3"}, {"a": "1", "a_b": "2", "a0": "3"}]
)
def test_names_of_headers_are_sorted_without_their_values(metadata: dict[str, str]) -> None:
    url = client().generate_presigned_url("put_object", {"Bucket": "bkt", "Key": "k", "Metadata": metadata})
    check("PUT", url, {f"x-amz-meta-{name}": value for name, value in metadata.items()})


@pytest.mark.parametrize("call", ["list_objects", "list_objects_v2", "get_bucket_location", "list_object_versions"])
def test_a_bucket_is_signed_with_a_slash_behind_it_and_sent_without(call: str) -> None:
    url = client().generate_presigned_url(call, {"Bucket": "bkt"})
    check("GET", url)
    with pytest.raises(S3Error, match="SignatureDoesNotMatch"):
        check("GET", url, secret="another")
    with pytest.raises(S3Error, match="SignatureDoesNotMatch"):
        check("GET", url.replace("/bkt", "/other"))


@pytest.mark.parametrize(("path", "signed"), [("/bkt/key", "/bkt/key/"), ("/", "//"), ("/bkt/", "/bkt//")])
def test_nothing_else_is_signed_with_another_slash(path: str, signed: str) -> None:
    request = AWSRequest("GET", f"http://gateway:9000{path}", auth_path=signed)
    HmacV1Auth(Credentials("KEY", SECRET)).add_auth(request)
    with pytest.raises(S3Error, match="SignatureDoesNotMatch"):
        check("GET", f"http://gateway:9000{path}", dict(request.headers))


def test_headers_of_a_bucket_request() -> None:
    request = AWSRequest("PUT", "http://gateway:9000/bkt", headers={"x-amz-acl": "private"}, auth_path="/bkt/")
    HmacV1Auth(Credentials("KEY", SECRET)).add_auth(request)
    check("PUT", "http://gateway:9000/bkt", dict(request.headers))
