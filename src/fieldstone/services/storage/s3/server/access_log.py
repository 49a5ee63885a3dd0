"""One line of JSON per request, written by a thread so that a slow disk slows nobody."""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Mapping
from typing import Any, TextIO

from fieldstone.services.storage.s3.server.exchange import Call

_HELD_LINES = 10_000


class AccessLog:
    """Lines go to `out`; when the writer cannot follow, the oldest waiting lines are written and newer ones counted as lost."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._lines: queue.Queue[tuple[Any, ...] | None] = queue.Queue(_HELD_LINES)
        self._lost = 0
        self._thread = threading.Thread(target=self._write, name="access-log", daemon=True)
        self._thread.start()

    def add(
        self,
        scope: Mapping[str, Any],
        request_id: str,
        operation: str,
        call: Call | None,
        status: int,
        received_bytes: int,
        sent_bytes: int,
        seconds: float,
    ) -> None:
        """Take note of an answered request. Queries are left out: presigned ones hold signatures."""
        client = scope.get("client")
        account = call.account.id if call is not None and call.account else "-"
        try:
            self._lines.put_nowait(
                (time.time(), client[0] if client else "-", account, scope["method"], scope.get("raw_path", b""),
                 operation, status, received_bytes, sent_bytes, seconds, request_id)
            )  # fmt: skip
        except queue.Full:
            self._lost += 1

    def close(self) -> None:
        """Write what waits."""
        self._lines.put(None)
        self._thread.join()

    def _write(self) -> None:
        while True:
            line = self._lines.get()
            if line is None:
                return
            at, remote, account, method, path, operation, status, received, sent, seconds, request_id = line
            entry: dict[str, Any] = {
                "at": round(at, 3), "remote": remote, "account": account, "method": method,
                "path": path.decode("latin-1"), "operation": operation, "status": status,
                "received_bytes": received, "sent_bytes": sent, "ms": round(seconds * 1000, 2), "request": request_id,
            }  # fmt: skip
            if self._lost:
                entry["lines_lost"], self._lost = self._lost, 0
            try:
                self._out.write(json.dumps(entry) + "\n")
                if self._lines.empty():
                    self._out.flush()
            except (OSError, ValueError):
                self._lost += 1
