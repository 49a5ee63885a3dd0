"""Run the commands of a documentation page as its reader would: one shell a page, from top to bottom.

What is run is marked by an HTML comment, which readers do not see:

    <!-- test -->                      the next fenced block is run; it must succeed
    <!-- test shows: WORDS -->         … and its output must contain WORDS
    <!-- test retry … -->              … it may fail twice before, because an epoch can close in between
    <!-- test-only [shows: WORDS]      commands for the test alone, up to the end of the comment
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
PAGE_TIMEOUT_S = 420

_BLOCK = re.compile(
    r"^<!-- test(?P<retry> retry)?(?: shows: (?P<words>[^\n]+?))? -->\n```sh\n(?P<code>.*?)^```$"
    r"|^<!-- test-only(?: shows: (?P<only_words>[^\n]+?))?\n(?P<only>.*?)^-->$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """Commands of a page, the line they begin on, and what their output has to contain."""

    line: int
    code: str
    words: str
    retry: bool


def blocks(page: Path) -> list[Block]:
    """Return the marked commands of a page. Raises AssertionError when a mark is malformed."""
    text = page.read_text(encoding="utf-8")
    found = [
        Block(
            line=text.count("\n", 0, match.start()) + 1,
            code=match["code"] or match["only"],
            words=match["words"] or match["only_words"] or "",
            retry=match["retry"] is not None,
        )
        for match in _BLOCK.finditer(text)
    ]
    assert len(found) == len(re.findall(r"<!-- test", text)), f"{page.name}: a test mark is malformed"
    return found


class Shell:
    """A folder, free ports instead of the usual ones, and the processes that pages leave running."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ports = {usual: str(port) for usual, port in zip(("8080", "8090"), _free_ports(2), strict=True)}
        self._groups: list[int] = []

    def run(self, page: Path, where: str = ".") -> None:
        """Run a page in `where` below the folder. Raises AssertionError with the output of the block that failed."""
        found = blocks(page)
        script = "\n".join(self._script(number, block) for number, block in enumerate(found))
        log = self.folder / f"{page.stem}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                ["bash", "-euo", "pipefail", "-c", script],
                cwd=self.folder / where,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            self._groups.append(process.pid)
            try:
                code = process.wait(PAGE_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                code = -1
        outputs = re.split(r"^#### block \d+\n", log.read_text(encoding="utf-8", errors="replace"), flags=re.MULTILINE)
        done = len(outputs) - 2
        last = f"{page.name}:{found[max(done, 0)].line}"
        assert code == 0, f"{last} ended with {code}:\n{found[max(done, 0)].code}\n{outputs[-1][-3000:]}"
        for block, output in zip(found, outputs[1:], strict=True):
            assert block.words in output, f"{page.name}:{block.line} does not show {block.words!r}:\n{output[-3000:]}"

    def stop(self) -> None:
        """End what the pages left running: ask first."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            for group in self._groups:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(group, number)
            if number == signal.SIGTERM:
                for _ in range(100):
                    if not any(map(_is_alive, self._groups)):
                        return
                    signal.sigtimedwait([], 0.1)

    def _script(self, number: int, block: Block) -> str:
        code = block.code
        for usual, port in self._ports.items():
            code = code.replace(f":{usual}", f":{port}")
        if block.retry:
            code = f"{{\n{code}\n}} || {{ sleep 1\n{code}\n}} || {{ sleep 1\n{code}\n}}"
        return f"printf '\\n#### block {number}\\n'\n{code}"

    def _environment(self) -> dict[str, str]:
        node = self._ports["8080"]
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith("FIELDSTONE_")},
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "FIELDSTONE_NODE": f"http://127.0.0.1:{node}",
            "FIELDSTONE_NODE_PORT": node,
        }


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _is_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
