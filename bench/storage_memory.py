"""Memory of gateway and providers while an object larger than it goes in and out; called by `storage_s3.py`.

The input is made as it is read and checked as it comes back: it takes no disk and no memory of its own.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from boto3.s3.transfer import TransferConfig

MIB, GIB = 1 << 20, 1 << 30
_PAGE = os.sysconf("SC_PAGE_SIZE")
_SPARE_BYTES = 5 * GIB


@dataclass
class Peaks:
    """Resident bytes by role: of the largest process, and of all together."""

    largest: dict[str, int] = field(default_factory=dict)
    together: dict[str, int] = field(default_factory=dict)

    def note(self, pids: Mapping[str, Sequence[int]]) -> None:
        """Take the processes as they are now, where they are larger than before."""
        for role, ids in pids.items():
            sizes = [_rss(pid) for pid in ids]
            self.largest[role] = max(self.largest.get(role, 0), *sizes)
            self.together[role] = max(self.together.get(role, 0), sum(sizes))

    def __str__(self) -> str:
        return ", ".join(
            f"{role} {size / MIB:.0f} MiB" + (f" (all {self.together[role] / MIB:.0f})" if role == "providers" else "")
            for role, size in self.largest.items()
        )


def check_room(folder: Path, size_bytes: int, profile: str) -> None:
    """Refuse what would fill the disk: k/n stores n/k bytes for each."""
    k, n = map(int, profile.split("/"))
    wanted = size_bytes * n // k + _SPARE_BYTES
    free = shutil.disk_usage(folder).free
    if wanted > free:
        raise SystemExit(
            f"{wanted / GIB:.0f} GiB of disk are needed, {free / GIB:.0f} are free: take a thinner --profile"
        )


def measure_memory(client: Any, pids: Mapping[str, Sequence[int]], gib: int, minutes: float) -> None:
    """Send an object of `gib` GiB in parts and fetch it in one piece; print the peaks. Raises TimeoutError."""
    until = time.monotonic() + 60 * minutes
    block = os.urandom(MIB)
    idle = Peaks()
    idle.note(pids)
    print(f"before        {idle}", flush=True)
    parts = TransferConfig(multipart_threshold=64 * MIB, multipart_chunksize=64 * MIB, max_concurrency=2)
    with _watched(pids) as peaks:
        started = time.monotonic()
        client.upload_fileobj(_Endless(block, gib * GIB, until), "bench", "huge", Config=parts)
        print(f"PUT {gib} GiB    {peaks}; {time.monotonic() - started:.0f} s", flush=True)
    with _watched(pids) as peaks:
        started = time.monotonic()
        _fetch(client, block, gib * GIB, until)
        print(f"GET {gib} GiB    {peaks}; {time.monotonic() - started:.0f} s", flush=True)


def _fetch(client: Any, block: bytes, size: int, until: float) -> None:
    twice, total = memoryview(block * 2), 0
    for chunk in client.get_object(Bucket="bench", Key="huge")["Body"].iter_chunks(MIB):
        at = total % MIB
        assert chunk == twice[at : at + len(chunk)], f"wrong bytes at {total}"
        total += len(chunk)
        if time.monotonic() > until:
            raise TimeoutError(f"{total / GIB:.1f} GiB were fetched when time was up")
    assert total == size


@contextmanager
def _watched(pids: Mapping[str, Sequence[int]]) -> Iterator[Peaks]:
    peaks, done = Peaks(), threading.Event()

    def watch() -> None:
        while not done.wait(0.05):
            peaks.note(pids)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield peaks
    finally:
        done.set()
        watcher.join()


def _rss(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE


class _Endless:
    """A file of so many bytes that takes no memory."""

    def __init__(self, block: bytes, size: int, until: float) -> None:
        self._block, self._left, self._until = block, size, until

    def read(self, count: int = -1) -> bytes:
        if time.monotonic() > self._until:
            raise TimeoutError(f"{self._left / GIB:.1f} GiB were left to send when time was up")
        count = self._left if count < 0 else min(count, self._left)
        self._left -= count
        whole, rest = divmod(count, len(self._block))
        return self._block * whole + self._block[:rest]
