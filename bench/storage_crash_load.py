"""Clients that write, read, copy and delete while servers are killed, and know afterwards what must be there.

Each client owns its keys and writes bodies that name key and number, so a mixed or foreign body shows. Of every key it
remembers the last acknowledged number and those that were tried since: the key must hold one of them, nothing older.
"""

from __future__ import annotations

import hashlib
import io
import random
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from boto3.s3.transfer import TransferConfig
from botocore.exceptions import BotoCoreError, ClientError, ReadTimeoutError

GONE = -1  # the number that stands for "deleted"
MIB = 1 << 20


def body_of(key: str, number: int, size: int) -> bytes:
    """Return a body that can be checked from itself."""
    head = f"{key} {number} {size} ".encode()
    seed = hashlib.sha256(head).digest()
    return (head + seed * (size // 32 + 1))[: max(size, len(head))]


def number_in(key: str, body: bytes) -> int:
    """Return the number of a body. Raises AssertionError when it is not whole, or another key's."""
    name, number, size, _ = body.split(b" ", 3)
    assert name.decode() == key, f"{key} holds {name!r}"
    assert body == body_of(key, int(number), int(size)), f"{key} is mixed up"
    return int(number)


def reserved() -> tuple[socket.socket, int]:
    """Return a port that nobody else gets while the socket is open, also not while its server is dead.

    A server that sets SO_REUSEADDR may bind it; the system gives it to nobody who asks for any port.
    """
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", 0))
    return held, held.getsockname()[1]


@dataclass
class Known:
    """What a key may hold: `sure` was acknowledged or read last, `tried` since then; `late`: not waited for, may yet land."""

    sure: int = GONE
    tried: list[int] = field(default_factory=list)
    late: list[int] = field(default_factory=list)


class Client(threading.Thread):
    """One client. `problems` must stay empty."""

    def __init__(
        self,
        number: int,
        connect: Callable[[], Any],
        bucket: str,
        large_every: int,
        stop: threading.Event,
        witness: Callable[[str], str] = lambda key: "",
    ) -> None:
        super().__init__(daemon=True)
        self.keys = {f"client{number}/{i}": Known() for i in range(6)}
        self.acknowledged = self.failed = self.reads = 0
        self.problems: list[str] = []
        self._connect, self._bucket, self._stop_event = connect, bucket, stop
        self._large_every = large_every
        self._witness = witness
        self._answer: dict[str, Any] = {}
        self._random = random.Random(number)
        self._next = 0

    def run(self) -> None:
        """Work until told to stop, or until something is wrong."""
        s3 = self.connect()
        while not self._stop_event.is_set() and not self.problems:
            key = self._random.choice(list(self.keys))
            if not self.attempt(key, lambda key=key: self._act(s3, key)):  # type: ignore[misc]
                time.sleep(0.05)

    def connect(self) -> Any:
        """Return an S3 client whose last answer is remembered."""
        s3 = self._connect()

        def note(response_dict: dict[str, Any], **_: Any) -> None:
            body = response_dict["body"]
            self._answer = {
                "status": response_dict["status_code"],
                "headers": dict(response_dict["headers"]),
                "body": bytes(body[:400]) if isinstance(body, bytes) else "a stream",
            }

        def forget(**_: Any) -> None:
            self._answer = {}

        s3.meta.events.register("before-parse.s3", note)
        s3.meta.events.register("before-send.s3", forget)
        return s3

    def attempt(self, key: str, act: Callable[[], None]) -> bool:
        """Act and say whether that was answered. What no kill explains is noted as a problem."""
        try:
            act()
        except Exception as error:
            if isinstance(error, ReadTimeoutError):
                known = self.keys[key]
                known.late += known.tried
            if _passing(error):
                self.failed += 1
            else:
                self._wrong(key, error)
            return False
        return True

    def _wrong(self, key: str, error: Exception) -> None:
        self.problems.append(
            f"{time.time():.3f} {key}: {type(error).__name__}: {error}; {self.keys[key]}; "
            f"last answer {self._answer or 'none'}; {self._witness(key)}"
        )

    def _act(self, s3: Any, key: str) -> None:
        known = self.keys[key]
        choice = self._random.random()
        if choice < 0.35:
            self.reads += 1
            self.check(s3, key)
        elif choice < 0.45:
            known.tried.append(GONE)
            s3.delete_object(Bucket=self._bucket, Key=key)
            self._sure(known, GONE)
        else:
            self._next += 1
            number = self._next
            known.tried.append(number)
            large = number % self._large_every == 0
            size = self._random.choice([0, 100, 4_000, 5_000, 200_000]) if not large else 9 * MIB
            body = body_of(key, number, size)
            if large:
                config = TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB, use_threads=False)
                s3.upload_fileobj(io.BytesIO(body), self._bucket, key, Config=config)
            else:
                s3.put_object(Bucket=self._bucket, Key=key, Body=body)
            self._sure(known, number)

    def _sure(self, known: Known, number: int) -> None:
        known.sure, known.tried = number, []
        self.acknowledged += 1

    def check(self, s3: Any, key: str) -> None:
        """Read a key and compare it with what is known. Raises AssertionError."""
        known = self.keys[key]
        try:
            found = number_in(key, s3.get_object(Bucket=self._bucket, Key=key)["Body"].read())
        except ClientError as error:
            if error.response["Error"]["Code"] != "NoSuchKey":
                raise
            found = GONE
        assert found in {known.sure, *known.tried, *known.late}, f"{key} holds {found}"
        # what was read once is there to stay, and the tries that it is not have failed for good
        known.sure, known.tried = found, []

    def check_all(self, s3: Any) -> None:
        """Check every key, when all is quiet."""
        for key in self.keys:
            try:
                self.check(s3, key)
            except Exception as error:
                self._wrong(key, error)


def _passing(error: Exception) -> bool:
    """Say whether an error may come of a server that was killed: no connection, cut off, or 503."""
    if isinstance(error, ClientError):
        status = error.response["ResponseMetadata"].get("HTTPStatusCode", 0)
        return status in (500, 503) or error.response["Error"]["Code"] in ("NoSuchUpload", "SlowDown", "RequestTimeout")
    return isinstance(error, BotoCoreError)
