"""Client libraries against a real gateway: boto3 in all its ways of signing, pyarrow, obstore."""

from __future__ import annotations

import io
import os
import urllib.error
import urllib.request
from typing import Any

import obstore
import pyarrow
import pyarrow.fs
import pyarrow.parquet
import pytest
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError
from obstore.store import S3Store

from tests.services.storage.s3.conftest import Door

ODD_KEYS = (
    "plain",
    "a b",
    "a+b",
    "é/日本/🪨",
    "//",
    "/lead",
    "trail/",
    "..",
    "./a/../b",
    "%2F",
    "?q=1&x",
    "#",
    "\x01\x1f",
    "<&>\"'",
    "a" * 1024,
)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"signature_version": "s3v4"},
        {"addressing_style": "virtual"},
        {"request_checksum_calculation": "when_required"},
    ],
    ids=["default", "v4", "virtual host", "no checksums"],
)
def test_boto3_round_trips(door: Door, bucket: str, options: dict[str, Any]) -> None:
    if options.get("addressing_style") == "virtual":
        # The name need not resolve: the client asks the gateway as if it were a proxy, in the absolute form.
        options = {**options, "endpoint": f"http://s3.localhost:{door.port}", "proxies": {"http": door.endpoint}}
    client = door.client(**options)
    # urllib3 resolves dot segments itself when it talks to a proxy.
    keys = [key for key in ODD_KEYS if "proxies" not in options or ".." not in key]
    for key in keys:
        client.put_object(Bucket=bucket, Key=key, Body=key.encode())
        assert client.get_object(Bucket=bucket, Key=key)["Body"].read() == key.encode()
    listed = [
        o["Key"]
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, PaginationConfig={"PageSize": 4})
        for o in page["Contents"]
    ]
    assert listed == sorted(keys, key=str.encode)
    # An answer that names a control character is no XML that botocore reads (Amazon's is none either): ask for silence.
    client.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": k} for k in keys if min(k) < " "], "Quiet": True})
    plain = [key for key in keys if min(key) >= " "]
    answer = client.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key} for key in plain]})
    assert sorted(d["Key"] for d in answer["Deleted"]) == sorted(plain)
    assert client.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


def test_boto3_transfers(door: Door, bucket: str) -> None:
    client, data = door.client(), os.urandom(21 * 2**20 + 1)
    config = TransferConfig(multipart_threshold=5 * 2**20, multipart_chunksize=5 * 2**20, max_concurrency=4)
    client.upload_fileobj(io.BytesIO(data), bucket, "k", Config=config)
    out = io.BytesIO()
    client.download_fileobj(bucket, "k", out, Config=config)
    assert out.getvalue() == data
    client.copy({"Bucket": bucket, "Key": "k"}, bucket, "copy", Config=config)
    assert client.get_object(Bucket=bucket, Key="copy", ChecksumMode="ENABLED")["Body"].read() == data
    assert (
        client.get_object(Bucket=bucket, Key="k", Range="bytes=5242870-5242890")["Body"].read() == data[5242870:5242891]
    )


@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"])
def test_boto3_checksums(door: Door, bucket: str, algorithm: str) -> None:
    client = door.client()
    put = client.put_object(Bucket=bucket, Key="k", Body=b"hello", ChecksumAlgorithm=algorithm)
    got = client.get_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert got[f"Checksum{algorithm}"] == put[f"Checksum{algorithm}"]
    assert got["Body"].read() == b"hello"


@pytest.mark.parametrize("version", ["s3v4", None])
def test_boto3_presigned_urls(door: Door, bucket: str, version: str | None) -> None:
    """Without a version named, boto3 presigns in the old form (version 2)."""
    client = door.client(**({"signature_version": version} if version else {}))
    put = client.generate_presigned_url("put_object", {"Bucket": bucket, "Key": "a b+é"}, ExpiresIn=60)
    with urllib.request.urlopen(urllib.request.Request(put, b"data", {"Content-Type": ""}, method="PUT")) as answer:
        assert answer.status == 200
    get = client.generate_presigned_url(
        "get_object", {"Bucket": bucket, "Key": "a b+é", "ResponseContentType": "text/x"}, ExpiresIn=60
    )
    assert ("X-Amz-Signature" in get) == (version is not None)
    with urllib.request.urlopen(get) as answer:
        assert (answer.read(), answer.headers["content-type"]) == (b"data", "text/x")
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(get.replace("a%20b", "other"))
    assert caught.value.code == 403


def test_boto3_streams_of_unknown_length(door: Door, bucket: str) -> None:
    class Pipe(io.RawIOBase):
        left = 12 * 2**20

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            count = min(len(buffer), self.left)
            buffer[:count] = bytes(count)
            self.left -= count
            return count

    door.client().upload_fileobj(io.BufferedReader(Pipe()), bucket, "pipe")
    assert door.client().head_object(Bucket=bucket, Key="pipe")["ContentLength"] == 12 * 2**20


def test_pyarrow(door: Door, bucket: str) -> None:
    account = door.accounts["main"]
    system = pyarrow.fs.S3FileSystem(
        access_key=account.key,
        secret_key=account.secret,
        region="us-east-1",
        scheme="http",
        endpoint_override=f"127.0.0.1:{door.port}",
        allow_bucket_creation=True,
        allow_bucket_deletion=True,
    )
    table = pyarrow.table({"n": list(range(200_000)), "s": [str(i) for i in range(200_000)]})
    pyarrow.parquet.write_table(table, f"{bucket}/dir/t.parquet", filesystem=system, compression="none")
    assert pyarrow.parquet.read_table(f"{bucket}/dir/t.parquet", filesystem=system).equals(table)
    assert pyarrow.parquet.read_table(f"{bucket}/dir/t.parquet", filesystem=system, columns=["n"]).num_rows == 200_000
    with system.open_output_stream(f"{bucket}/big") as stream:
        for i in range(13):
            stream.write(bytes([i]) * 2**20)
    with system.open_input_file(f"{bucket}/big") as file:
        assert file.size() == 13 * 2**20
        assert file.read_at(3, 2**20 - 1) == b"\x00\x01\x01"
    system.copy_file(f"{bucket}/big", f"{bucket}/dir/copy")
    found = system.get_file_info(pyarrow.fs.FileSelector(bucket, recursive=True))
    assert sorted(f.path.removeprefix(bucket) for f in found if f.type == pyarrow.fs.FileType.File) == [
        "/big",
        "/dir/copy",
        "/dir/t.parquet",
    ]
    system.move(f"{bucket}/dir/copy", f"{bucket}/moved")
    system.delete_dir(f"{bucket}/dir")
    system.delete_file(f"{bucket}/big")
    assert system.get_file_info(f"{bucket}/dir/t.parquet").type == pyarrow.fs.FileType.NotFound
    system.create_dir(f"{bucket}-arrow")
    system.delete_dir(f"{bucket}-arrow")


def test_obstore(door: Door, bucket: str) -> None:
    account = door.accounts["main"]
    store = S3Store(
        bucket,
        endpoint=door.endpoint,
        access_key_id=account.key,
        secret_access_key=account.secret,
        region="us-east-1",
        virtual_hosted_style_request=False,
        client_options={"allow_http": True},
    )
    data = os.urandom(11 * 2**20)
    obstore.put(store, "dir/small é", b"abc", attributes={"Content-Type": "text/x", "tag": "meta"})
    obstore.put(store, "dir/big", io.BytesIO(data), chunk_size=5 * 2**20, use_multipart=True)
    assert bytes(obstore.get(store, "dir/small é").bytes()) == b"abc"
    assert bytes(obstore.get(store, "dir/big").bytes()) == data
    assert bytes(obstore.get_range(store, "dir/big", start=7, end=5 * 2**20 + 9)) == data[7 : 5 * 2**20 + 9]
    assert sorted(o["path"] for page in obstore.list(store, "dir") for o in page) == ["dir/big", "dir/small é"]
    first = obstore.put(store, "once", b"1", mode="create")
    with pytest.raises(obstore.exceptions.AlreadyExistsError):
        obstore.put(store, "once", b"2", mode="create")
    obstore.put(store, "once", b"3", mode={"e_tag": first["e_tag"]})
    with pytest.raises(obstore.exceptions.PreconditionError):
        obstore.put(store, "once", b"4", mode={"e_tag": first["e_tag"]})
    obstore.copy(store, "dir/big", "copy")
    obstore.rename(store, "copy", "moved")
    obstore.delete(store, ["dir/big", "dir/small é", "once", "moved"])
    assert [o for page in obstore.list(store) for o in page] == []
    with pytest.raises(FileNotFoundError):
        obstore.get(store, "gone")


def test_refusals_reach_boto3_as_amazon_names_them(door: Door, bucket: str) -> None:
    other = door.client("alt")
    for call, code in (
        (lambda: other.get_object(Bucket=bucket, Key="k"), "AccessDenied"),
        (lambda: door.client().get_object(Bucket=bucket, Key="k"), "NoSuchKey"),
        (lambda: door.client(None).list_objects_v2(Bucket=bucket), "AccessDenied"),
        (lambda: other.create_bucket(Bucket=bucket), "BucketAlreadyExists"),
    ):
        with pytest.raises(ClientError) as caught:
            call()
        assert caught.value.response["Error"]["Code"] == code
