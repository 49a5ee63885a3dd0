"""A gateway process on a folder, and boto3 clients for it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.client import BaseClient
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.services.storage.s3.server.interleaving import doors, engines
from tests.services.storage.s3.server.near import Near, opened

__all__ = ["doors", "engines"]  # fixtures

ROOT = Path(__file__).parents[5]


@dataclass
class Process:
    """A gateway at work."""

    folder: Path
    database: str | None = None
    process: subprocess.Popen[str] | None = None
    endpoint: str = ""
    admin: str = ""

    def start(self, port: int = 0) -> None:
        command = [sys.executable, "-m", "tests.services.storage.folder_pool", str(self.folder), "--port", str(port)]
        if self.database:
            command += ["--database", self.database]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        named = json.loads(self.process.stdout.readline())
        self.endpoint, self.admin = named["endpoint"], named["admin"]

    def stop(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        code = self.process.wait(60)
        if self.process.stdout is not None:
            self.process.stdout.close()
        return code

    @property
    def port(self) -> int:
        return int(self.endpoint.rsplit(":", 1)[1])

    def client(self, name: str = "main", **config: Any) -> Any:
        """Return a boto3 client of an account; name "" for an anonymous one."""
        return client(self.endpoint, name, **config)


def client(endpoint: str, name: str = "main", **config: Any) -> Any:
    from botocore import UNSIGNED

    config.setdefault("retries", {"max_attempts": 0})
    config.setdefault("s3", {"addressing_style": "path"})
    if not name:
        config["signature_version"] = UNSIGNED
    made: BaseClient = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=f"{name.upper()}KEY" if name else None,
        aws_secret_access_key=f"{name}-secret" if name else None,
        config=Config(**config),
    )
    return made


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    os.environ.setdefault("AWS_EC2_METADATA_DISABLED", "true")
    made = Process(tmp_path_factory.mktemp("gateway"))
    made.start()
    yield made
    assert made.stop() == 0


@pytest.fixture
async def near(tmp_path: Path) -> AsyncIterator[Near]:
    """A gateway in this process with the bucket `bkt` of the account main."""
    async with opened(str(tmp_path / "gateway.db"), tmp_path) as made:
        yield made


@pytest.fixture
def s3(gateway: Process) -> Any:
    return gateway.client()


@pytest.fixture
def bucket(s3: Any) -> str:
    name = f"b-{uuid.uuid4().hex[:16]}"
    s3.create_bucket(Bucket=name)
    return name


class Refused:
    """`with Refused("NoSuchKey", 404):` expects the error with its status."""

    def __init__(self, code: str, status: int | None = None) -> None:
        self.code, self.status = code, status
        self.response: dict[str, Any] = {}

    def __enter__(self) -> Refused:
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> bool:
        assert isinstance(error, ClientError), f"expected {self.code}, got {error!r}"
        self.response = error.response
        found = error.response["Error"]["Code"]
        assert found == self.code, f"expected {self.code}, got {found}: {error}"
        if self.status is not None:
            assert error.response["ResponseMetadata"]["HTTPStatusCode"] == self.status
        return True
