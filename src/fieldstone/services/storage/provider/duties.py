"""What a provider owes the network while it serves: answers to rounds, egress claims, its address, proofs of space.

Everything is polled: a provider behind any line works, and a network that is away for a while is caught up with. What
is reported goes into the agent's buffer, which is durable and keeps trying, and is noted only when it is there.

    GET /v1/storage/rounds/latest                       {number, issued_ms, seed, …}; 404: nothing is asked
    GET /v1/storage/rounds/{number}/devices/{did}       the same with `asked`: [[share hex, first byte of a chunk], …]
"""

from __future__ import annotations

import contextlib
import json
import logging
import queue
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

from fieldstone.errors import FieldstoneError, Rejected, Retryable, UsageError
from fieldstone.identity.keys import PublicKey
from fieldstone.services.storage import records
from fieldstone.services.storage.challenge import LeafRead
from fieldstone.services.storage.provider import index as index_
from fieldstone.services.storage.provider.commit import Change
from fieldstone.services.storage.provider.store import Store
from fieldstone.services.storage.provider.vouchers import Vouchers
from fieldstone.services.storage.records import Announcement, ChunkProof, Deletion, EgressClaim, ProofSet

_LOG = logging.getLogger("fieldstone.storage")
SERVICE = "storage"
_MOST_PROOF_BYTES = 3_900_000
_MOST_SHOWN = 100_000
_MOST_ORDERS_BYTES = (
    200_000  # of signed orders in one report, which may have 262,144: a gateway can make each 3 KiB long
)
_ROUND = "answered_round"
_LOOK_UPS, _LOOK_UP_S = 10, 10.0  # questions about strangers that anybody can cause, and in which time
_STRANGER_S = 30.0  # a stranger is not asked about again so soon
_MOST_STRANGERS = 1_000
_MODELS = ("storage-gateway", "storage-provider", "storage-checker")


class Reporter(Protocol):
    """What takes signed reports and delivers them, whatever happens: `fieldstone.agent.Agent` does."""

    def send_document(self, service: str, kind: str, document: bytes) -> int:
        """Sign a document and keep it until the network has it."""
        ...


class RegistryGateways:
    """The network's gateways, as of a moment ago; the last list is kept in a file for starts without a line.

    Who tests reads (`check` reports) orders like a gateway, so all storage devices may order.
    """

    def __init__(self, get: Callable[[str], Any], file: Path, *, every_s: float = 60.0, soonest_s: float = 5.0) -> None:
        """`get` reads a JSON document of the network by its path."""
        self._get, self._file = get, file
        self._every_s, self._soonest_s = every_s, soonest_s
        self._read_s = -1e9
        self._missed = False
        self._soon_s = soonest_s
        self._keys: dict[str, str] = {}
        self._looking = threading.Lock()
        self._looked: deque[float] = deque(maxlen=_LOOK_UPS)
        self._strangers: dict[str, float] = {}
        try:
            kept = json.loads(file.read_text())
            self._keys = {str(name): str(key) for name, key in kept.items()}
        except (OSError, ValueError, AttributeError):
            pass

    def key_of(self, gateway: str) -> str | None:
        """Return the did:key that a gateway signs with now. An unknown one makes the next look come soon."""
        key = self._keys.get(gateway)
        if key is None:
            self._missed = True
        return key

    def look_up(self, gateway: str) -> bool:
        """Ask the network about one device that is not in the list: it may have enrolled a moment ago.

        A flood of invented names costs the network ten questions in ten seconds, one at a time, and no name two.
        """
        try:
            PublicKey.from_device_id(gateway)
        except Rejected:
            return False
        if not self._looking.acquire(timeout=2.0):
            return False
        try:
            now_s = time.monotonic()
            if gateway in self._keys:
                return True
            if now_s - self._strangers.get(gateway, -1e9) < _STRANGER_S:
                return False
            if len(self._looked) == _LOOK_UPS and now_s - self._looked[0] < _LOOK_UP_S:
                return False
            self._looked.append(now_s)
            if len(self._strangers) >= _MOST_STRANGERS:
                self._strangers.clear()
            self._strangers[gateway] = now_s
            found = self._get(f"/v1/devices/{quote(gateway, safe=':')}")
            if found["model"] not in _MODELS or found.get("revoked_ms"):
                return False
            self._keys = {**self._keys, gateway: str(found["key"])}
            del self._strangers[gateway]
            return True
        except (FieldstoneError, KeyError, TypeError, ValueError) as error:
            _LOG.info("the network does not vouch for %s now: %s", gateway[:80], error)
            return False
        finally:
            self._looking.release()

    def refresh(self) -> None:
        """Read the list again when it is time. Raises what `get` raises."""
        age_s = time.monotonic() - self._read_s
        if age_s < (min(self._soon_s, self._every_s) if self._missed else self._every_s):
            return
        keys: dict[str, str] = {}
        after: str | None = ""
        seen = set[str]()
        while after is not None and after not in seen:
            seen.add(after)
            page = self._get(f"/v1/devices?after={quote(after, safe=':')}")
            for device in page["devices"]:
                if device["model"] in _MODELS and not device.get("revoked_ms"):
                    keys[device["device"]] = device["key"]
            after = page.get("next_after")
        # invented names make nobody read the whole list again and again: looks that find nothing come ever later
        self._soon_s = self._soonest_s if keys != self._keys else 2 * self._soon_s
        self._read_s, self._missed = time.monotonic(), False
        if keys != self._keys:
            self._keys = keys
            temporary = self._file.with_suffix(".new")
            temporary.write_text(json.dumps(keys))
            temporary.replace(self._file)


class Duties:
    """The loop. `run` it in a thread of its own."""

    def __init__(
        self,
        store: Store,
        device: str,
        get: Callable[[str], Any],
        reporter: Reporter,
        *,
        gateways: RegistryGateways | None = None,
        url: str = "",
        leaving: Path | None = None,
        poll_s: float = 5.0,
        claim_every_s: float = 600.0,
        say: Callable[[str], None] = lambda words: None,
    ) -> None:
        """`url`: where gateways reach this provider, announced to the network (nothing: not announced).

        `leaving`: while this file exists the provider announces that it leaves (`fieldstone storage leave` makes it).
        """
        self._store, self._device = store, device
        self._get, self._reporter = get, reporter
        self._gateways = gateways
        self._url, self._leaving, self._is_empty = url, leaving, False
        self._poll_s, self._claim_every_s = poll_s, claim_every_s
        self._say = say
        self.prove_space: Callable[[int, bytes], bytes | None] = lambda number, seed: None
        self.check_reads: Callable[[int, Sequence[LeafRead]], list[bytes]] = lambda number, reads: []
        self._reads: queue.SimpleQueue[tuple[int, list[LeafRead]]] | None = None  # for `run_checks`, if that runs
        self._claimed_s = -1e9
        self._shown: set[bytes] = set()  # deleted shares whose orders were reported because of a refused read
        self._problem = ""
        self._is_offered = False
        self.answered = 0

    def run(self, stop: threading.Event) -> None:
        """Do what is due until `stop` is set; claim egress once more at the end."""
        while not stop.is_set():
            self.step()
            stop.wait(self._poll_s)
        self._try(self.claim)

    def step(self) -> None:
        """Do what is due now. Failures are logged once and tried again."""
        if self._gateways is not None:
            self._try(self._gateways.refresh)
        if not self._is_offered and not self._try(self.look):
            return
        self._try(self.announce)
        self._try(self.show_missed)
        self._try(self.answer)
        if time.monotonic() - self._claimed_s >= self._claim_every_s:
            self._try(self.claim)

    def look(self) -> None:
        """Ask whether the network takes storage reports at all. Raises Retryable when it does not (yet)."""
        if SERVICE not in self._get("/v1/network")["kinds"]:
            raise Retryable("it offers no storage: its founder has to add the service to the policy")
        self._is_offered = True

    def announce(self) -> bool:
        """Tell the network address and capacity, if they changed since they were told."""
        if not self._url:
            return False
        leaves = self._leaving is not None and self._leaving.exists()
        capacity = 0 if leaves else self._store.capacity_bytes
        announcement = records.encode(Announcement(url=self._url, capacity_bytes=capacity, is_leaving=leaves))
        if leaves and not self._is_empty and not self._store.index.after(b"", 1):
            self._is_empty = True
            self._say("every share has been moved: this provider can be stopped")
        if self._store.index.note("announced") == announcement.hex():
            return False
        self._reporter.send_document(SERVICE, "announce", announcement)
        self.note("announced", announcement.hex())
        self._say(f"announced {self._url} to the network" + (": it leaves" if leaves else ""))
        return True

    def answer(self) -> int | None:
        """Answer the newest round if it was not answered yet; return its number. Raises what `get` raises."""
        try:
            latest = self._get(f"/v1/{SERVICE}/rounds/latest")
            number = int(latest["number"])
            if number <= int(self._store.index.note(_ROUND) or -1):
                return None
            path = f"/v1/{SERVICE}/rounds/{number}/devices/{quote(self._device, safe=':')}"
            rows = self._get(path).get("asked") or []
        except UsageError:  # 404: nothing is asked
            return None
        asked = [(bytes.fromhex(row[0]), int(row[1])) for row in rows if len(row) == 2]
        self._show_deletions(dict.fromkeys(share for share, _ in asked))
        if asked:
            proofs = self._store.prove_all(asked)
            for part in _parts(proofs):  # none at all is said too: silence would look like hiding
                self._reporter.send_document(SERVICE, "proof", records.encode(ProofSet(number=number, proofs=part)))
            self._say(f"round {number}: {len(proofs)} of {len(asked)} chunks proven")
        space = self.prove_space(number, bytes.fromhex(latest["seed"]))
        if space is not None:
            self._reporter.send_document(SERVICE, "space", space)
        self.note(_ROUND, str(number))
        self.answered += 1
        self._check(number, [LeafRead(bytes.fromhex(row[0]), *row[1:]) for row in rows if len(row) == 5])
        return number

    def show_missed(self) -> int:
        """Show the orders for deleted shares whose read was refused since the last look; return how many.

        A read that nobody owed is void by that, whoever made it, because the lease had ended: no checker's word is
        needed. Each order is shown once while the process runs, however often the share is asked for.
        """
        missed = list(self._store.missed)
        new = [share for share in missed if share not in self._shown]
        count = self._show_deletions(new)
        if len(self._shown) > _MOST_SHOWN:
            self._shown.clear()
        self._shown.update(new)
        for share in missed:
            self._store.missed.pop(share, None)
        return count

    def _show_deletions(self, shares: Collection[bytes]) -> int:
        """Show the network the orders by which gateways deleted what is asked for: their leases end by that."""
        index = self._store.index
        found = (index.delete_order(share) for share in shares if index.get(share) is None)
        orders = [message for message in found if message is not None]
        for part in _reports(orders):
            self._reporter.send_document(SERVICE, "deleted", records.encode(Deletion(orders=part)))
        if orders:
            self._say(f"asked for {len(orders)} shares that their gateway had deleted: its orders are reported")
        return len(orders)

    def run_checks(self, stop: threading.Event) -> None:
        """Carry out test reads until `stop` is set, in a thread of their own: others' slowness must not delay our proofs."""
        self._reads = self._reads or queue.SimpleQueue()
        while not stop.is_set():
            with contextlib.suppress(queue.Empty):
                number, reads = self._reads.get(timeout=self._poll_s)
                self._try(partial(self._check_now, number, reads))

    def _check(self, number: int, reads: list[LeafRead]) -> None:
        """See to the test reads of a round, after its own proofs are on their way: they have the shorter deadline."""
        if self._reads is not None:
            self._reads.put((number, reads))
        else:
            self._check_now(number, reads)

    def _check_now(self, number: int, reads: list[LeafRead]) -> None:
        found = self.check_reads(number, reads)
        for body in found:
            self._reporter.send_document(SERVICE, "check", body)
        if found:
            self._say(f"round {number}: {len(reads)} test reads reported")

    def claim(self) -> int:
        """Report the newest voucher of each gateway that read since the last claim; return how many."""
        self._claimed_s = time.monotonic()
        vouchers = Vouchers(self._store.index, self._store.committer)
        unreported = vouchers.unreported()
        at = 0
        for part in _reports([message for _, _, message in unreported]):
            self._reporter.send_document(SERVICE, "egress", records.encode(EgressClaim(vouchers=part)))
            vouchers.reported(unreported[at : at + len(part)])
            at += len(part)
        return len(unreported)

    def note(self, name: str, value: str) -> None:
        """Keep a value under a name, durably."""

        def apply(writer: sqlite3.Connection) -> None:
            index_.put_note(writer, name, value)

        self._store.committer.submit(Change(apply)).result()

    def _try(self, work: Callable[[], Any]) -> bool:
        try:
            work()
            return True
        except Retryable as error:
            self._complain(f"the network cannot be served now: {error}")
        except OSError as error:
            self._complain(f"the disk cannot be written: {error}")
        except Exception as error:  # a thread that ends is a provider that never proves again
            self._complain(f"{getattr(work, '__name__', 'a duty')} failed: {type(error).__name__} {error}")
        return False

    def _complain(self, problem: str) -> None:
        if problem != self._problem:
            _LOG.warning("%s", problem)
            self._problem = problem


def _reports(orders: Sequence[bytes]) -> list[tuple[bytes, ...]]:
    """Cut signed orders so that each part fits a report."""
    parts: list[list[bytes]] = []
    size = _MOST_ORDERS_BYTES
    for message in orders:
        size += len(message) + 5
        if size > _MOST_ORDERS_BYTES:
            parts.append([])
            size = len(message) + 5
        parts[-1].append(message)
    return [tuple(part) for part in parts]


def _parts(proofs: list[ChunkProof]) -> list[tuple[ChunkProof, ...]]:
    """Cut answers so that each part fits a report; at least one part."""
    parts: list[list[ChunkProof]] = [[]]
    size = 0
    for proof in proofs:
        size += len(proof.chunk) + len(proof.siblings) + 40
        if size > _MOST_PROOF_BYTES and parts[-1]:
            parts.append([])
            size = len(proof.chunk) + len(proof.siblings) + 40
        parts[-1].append(proof)
    return [tuple(part) for part in parts]
