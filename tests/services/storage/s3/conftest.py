"""One gateway process for all tests that talk to it as clients do, over a socket."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

NUMBERS = itertools.count(1)


@dataclass(frozen=True)
class Account:
    """An account of the gateway: `id` is its canonical id."""

    name: str
    id: str
    key: str
    secret: str


@dataclass(frozen=True)
class Door:
    """A running gateway: `main`, `alt` and `third` are its accounts."""

    endpoint: str
    port: int
    accounts: dict[str, Account]
    _clients: dict[Any, Any] = field(default_factory=dict)

    def client(self, name: str | None = "main", **options: Any) -> Any:
        """Return a boto3 client of an account; None: anonymous."""
        wanted = (name, repr(sorted(options.items())))
        if wanted not in self._clients:
            account = self.accounts[name] if name else None
            style = options.pop("addressing_style", "path")
            endpoint = options.pop("endpoint", self.endpoint)
            if name is None:
                from botocore import UNSIGNED

                options["signature_version"] = UNSIGNED
            self._clients[wanted] = boto3.client(
                "s3",
                endpoint_url=endpoint,
                region_name="us-east-1",
                aws_access_key_id=account.key if account else None,
                aws_secret_access_key=account.secret if account else None,
                config=Config(s3={"addressing_style": style}, retries={"total_max_attempts": 1}, **options),
            )
        return self._clients[wanted]

    def environment(self, name: str = "main") -> dict[str, str]:
        """Return the environment of a command line client: credentials and nothing of this machine's own settings."""
        account = self.accounts[name]
        return {
            **{n: v for n, v in os.environ.items() if not n.upper().startswith("AWS_") and n.lower() not in ("http_proxy", "https_proxy", "all_proxy")},
            "AWS_ACCESS_KEY_ID": account.key,
            "AWS_SECRET_ACCESS_KEY": account.secret,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }  # fmt: skip


@pytest.fixture(scope="session")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    folder: Path = tmp_path_factory.mktemp("gateway")
    errors = (folder / "stderr").open("w+b")
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.services.storage.s3.gateway_process", str(folder)],
        stdout=subprocess.PIPE,
        stderr=errors,
        cwd=Path(__file__).parents[4],
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            process.wait(10)
            errors.seek(0)
            pytest.fail(f"the gateway did not start: {errors.read()[-2000:].decode(errors='replace')}")
        said = json.loads(line)
        yield Door(said["endpoint"], said["port"], {a["name"]: Account(**a) for a in said["accounts"]})
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        errors.close()


@pytest.fixture
def bucket(door: Door) -> Iterator[str]:
    """A fresh bucket of the account main; emptied and removed afterwards."""
    name = f"bucket-{os.getpid()}-{next(NUMBERS)}"
    client = door.client()
    client.create_bucket(Bucket=name)
    yield name
    empty(client, name)


def empty(client: Any, name: str) -> None:
    """Remove all versions and the bucket with its uploads; one that is gone, or shut to its owner, is fine."""
    try:
        while not _removed(client, name):
            page = client.list_object_versions(Bucket=name)
            listed = (*page.get("Versions", ()), *page.get("DeleteMarkers", ()))
            wanted = {"Objects": [{"Key": v["Key"], "VersionId": v["VersionId"]} for v in listed], "Quiet": True}
            if client.delete_objects(Bucket=name, Delete=wanted, BypassGovernanceRetention=True).get("Errors"):
                return  # locked on purpose
    except client.exceptions.ClientError as error:
        if error.response["Error"]["Code"] not in ("NoSuchBucket", "AccessDenied"):
            raise


def _removed(client: Any, name: str) -> bool:
    try:
        client.delete_bucket(Bucket=name)
    except client.exceptions.ClientError as error:
        if error.response["Error"]["Code"] != "BucketNotEmpty":
            raise
        return False
    return True
