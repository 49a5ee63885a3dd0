"""Rounds: what an active service asks of its devices while an epoch runs.

A round is a journal entry with the hash of a block that was mined after the previous round's entry, so nobody knew its
seed before. Its number is the time divided by the service's interval: one round for each interval, asked once, never again.
What it asks of a device is worked out from the journal up to that entry by the same pure function that verifies the answers.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import msgspec
import structlog

from fieldstone.chain.embedded import EmbeddedChain
from fieldstone.epoch.compute import service_input
from fieldstone.epoch.freeze import RoundBody, freeze, round_interval_ms
from fieldstone.errors import UsageError
from fieldstone.journal import EntryKind, NewEntry
from fieldstone.node.node import Node
from fieldstone.services import load_service
from fieldstone.services.contract import Round

_log = structlog.get_logger("rounds")

_DIRECTORY_MS = 5_000  # how old a directory may be: making one walks the open epoch
_KEPT = 64  # rounds whose questions are kept in memory


class Rounds:
    """Issues the rounds of a node's services and answers what they ask. Thread-safe."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._lock = threading.Lock()
        self._numbers: dict[str, int] = {}  # service → newest round in the journal
        self._told: dict[str, tuple[int, dict[str, dict[str, Any]]]] = {}
        self._asked: OrderedDict[tuple[str, int], tuple[Round, dict[str, bytes]]] = OrderedDict()

    def issue_due(self) -> list[tuple[str, int]]:
        """Publish the rounds whose interval has begun; return (service, number) of the new ones."""
        node = self._node
        state = node.state
        issued = []
        for name in sorted(state.policy.services):
            interval_ms = round_interval_ms(state.policy, name)
            now_ms = node.clock.now_ms()
            if interval_ms == 0 or now_ms >= state.next_end_ms:
                continue
            number = now_ms // interval_ms
            if self._newest(name) >= number:
                continue
            head = node.port.mine() if isinstance(node.port, EmbeddedChain) else node.port.head()
            body = RoundBody(name, number, head.number, head.hash.hex())
            node.journal.append([NewEntry(EntryKind.CHALLENGE, "", msgspec.json.encode(body, order="sorted"))])
            self._numbers[name] = number
            _log.info("round_issued", service=name, number=number)
            issued.append((name, number))
        return issued

    def latest(self, service: str) -> Round | None:
        """Return the newest round of the open epoch; None when there was none yet. Raises UsageError."""
        number = self._newest(service)
        try:
            return self._questions(service, number)[0]
        except UsageError:
            return None  # the newest one belongs to an epoch that is closed

    def asked(self, service: str, number: int, device: str) -> tuple[Round, bytes | None]:
        """Return a round of the open epoch and what it asks of `device` (None: nothing). Raises UsageError."""
        asked, questions = self._questions(service, number)
        return asked, questions.get(device)

    def directory(self, service: str) -> dict[str, dict[str, Any]]:
        """Return what the devices of an active service tell customers' software, as of a moment ago. Raises UsageError."""
        node = self._node
        if service not in node.policy.services:
            raise UsageError(f"this network offers no service {service[:40]!r}")
        with self._lock:
            now_ms = node.clock.now_ms()
            known = self._told.get(service)
            if known is None or now_ms - known[0] > _DIRECTORY_MS:
                state = node.state
                last = node.journal.position_at(state.next_end_ms)
                documents = freeze(node.journal.read(state.last_position + 1, last), state)
                offered = load_service(service)
                told = offered.directory(service_input(offered, documents, state))
                known = (now_ms, {device: dict(facts) for device, facts in told.items()})
                self._told[service] = known
            return known[1]

    # ---- inside ----------------------------------------------------------------------------------------------------

    def _newest(self, service: str) -> int:
        if service not in self._node.policy.services:
            raise UsageError(f"this network offers no service {service[:40]!r}")
        if service not in self._numbers:
            bodies = (body for body, _ in self._issued() if body.service == service)
            self._numbers[service] = max((body.number for body in bodies), default=-1)
        return self._numbers[service]

    def _issued(self) -> Iterator[tuple[RoundBody, int]]:
        """Yield the rounds of the open epoch with their positions.

        A round may be written in the moment in which the epoch ends; it waits for the next one to be open.
        """
        journal, state = self._node.journal, self._node.state
        last = journal.position_at(state.next_end_ms)
        for entry in journal.read(state.last_position + 1, last, (EntryKind.CHALLENGE,)):
            yield msgspec.json.decode(entry.body, type=RoundBody), entry.position

    def _questions(self, service: str, number: int) -> tuple[Round, dict[str, bytes]]:
        with self._lock:
            if (service, number) not in self._asked:
                self._asked[service, number] = self._work_out(service, number)
                while len(self._asked) > _KEPT:
                    self._asked.popitem(last=False)
            return self._asked[service, number]

    def _work_out(self, service: str, number: int) -> tuple[Round, dict[str, bytes]]:
        node = self._node
        state = node.state
        for body, position in self._issued():
            if (body.service, body.number) == (service, number):
                frozen = freeze(node.journal.read(state.last_position + 1, position), state)
                so_far = service_input(load_service(service), frozen, state)
                (asked,) = [known for known in so_far.rounds if known.number == number]
                table = load_service(service).challenges(so_far, asked)
                return asked, dict(table.select("device", "body").iter_rows())
        raise UsageError(f"service {service} has no round {number} in the open epoch")


def question(asked: Round, body: bytes | None) -> dict[str, Any]:
    """Return a round as JSON can hold it. `asked` is the service's msgpack, byte strings as hex."""
    described = describe(asked)
    described["asked"] = [] if body is None else _readable(msgspec.msgpack.decode(body))
    return described


def describe(asked: Round) -> dict[str, Any]:
    """Return a round without its questions."""
    return {"number": asked.number, "issued_ms": asked.issued_ms, "seed": asked.seed.hex(), "position": asked.position}


def _readable(tree: Any) -> Any:
    if isinstance(tree, bytes):
        return tree.hex()
    if isinstance(tree, list | tuple):
        return [_readable(item) for item in tree]
    if isinstance(tree, dict):
        return {str(_readable(key)): _readable(value) for key, value in tree.items()}
    return tree
