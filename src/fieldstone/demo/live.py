"""A served node inside this process, and verifiers in processes of their own."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from fieldstone.errors import CheckFailed
from fieldstone.node.node import Node
from fieldstone.node.serve import Server

START_TIMEOUT_S = 30.0


class LiveNode:
    """A node served from a thread; epochs are closed by the caller, who owns the clock, unless `close_epochs`."""

    def __init__(self, node: Node, *, close_epochs: bool = False) -> None:
        self.node = node
        self._close_epochs = close_epochs
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._serve, name="demo-node", daemon=True)
        self._thread.start()
        if not self._started.wait(START_TIMEOUT_S) or self._failure is not None:
            raise CheckFailed(f"the node did not start: {self._failure or 'timeout'}")

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self.server = Server(self.node, close_epochs=self._close_epochs)
            self.url = self.server.url
            self._loop.run_until_complete(self._main())
        except BaseException as error:
            self._failure = error
            self._started.set()

    async def _main(self) -> None:
        async def announce() -> None:
            await self.server.ready.wait()
            self._started.set()

        await asyncio.gather(self.server.run(), announce())

    def close_epoch(self) -> int:
        """Close the epoch that is due. Raises CheckFailed when none is."""
        closed = asyncio.run_coroutine_threadsafe(self.server.close_due(), self._loop).result()
        if closed is None:
            raise CheckFailed("no epoch was due")
        return closed

    def __enter__(self) -> LiveNode:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self.server.stop)
        self._thread.join(20)
        self.node.close()


class Verifiers:
    """`fieldstone verifier` processes that follow a node until the block ends. Their logs are in their folders."""

    def __init__(self, url: str, folders: list[Path]) -> None:
        self._logs = [(folder / "verifier.log").open("wb") for folder in folders]
        self._processes = [
            subprocess.Popen(
                [sys.executable, "-m", "fieldstone", "verifier", url, "--folder", str(folder), "--interval-s", "0.5"],
                stdout=log,
                stderr=log,
            )
            for folder, log in zip(folders, self._logs, strict=True)
        ]

    def __enter__(self) -> Verifiers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._processes:
            process.terminate()
        for process, log in zip(self._processes, self._logs, strict=True):
            process.wait(10)
            log.close()


def wait_until(condition: Callable[[], bool], what: str, timeout_s: float = 60.0) -> None:
    """Wait for something another process does. Raises CheckFailed when it does not happen in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise CheckFailed(f"waited {timeout_s:.0f} s for {what}; look at the logs in the demo's folder")
        time.sleep(0.1)
