"""Intake: from a body of bytes to receipts. The order of checks is `door`, then `batch`, then the journal.

Requests that arrive while a commit is under way share the next one: one hop to the commit thread, one fsync and one
signature for all of them. `Intake` owns the registry and the sequence marks of the running network.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from fieldstone.clock import Clock
from fieldstone.errors import Rejected, Retryable, Terminal
from fieldstone.identity.registry import Device, Registry
from fieldstone.identity.report import KindTable
from fieldstone.intake.batch import ReportBatch, verify_all
from fieldstone.intake.budget import Budget
from fieldstone.intake.checked import Checked, Run
from fieldstone.intake.conflict import Conflicts
from fieldstone.intake.door import Door
from fieldstone.intake.enrolment import RegistryWork
from fieldstone.intake.marks import Marks
from fieldstone.intake.metrics import IntakeMetrics
from fieldstone.intake.outcome import Outcome
from fieldstone.journal.entries import EntryKind
from fieldstone.journal.group_commit import GroupCommit
from fieldstone.journal.receipts import Receipt
from fieldstone.policy import Policy
from fieldstone.reasons import reason

# Between threads, each signature waits twice for the interpreter's lock: a third more CPU per single report than when
# the event loop checks it itself, and hardly more reports per second. Longer requests are worth another thread.
_SMALL_REQUEST = 4  # messages
_VERIFY_AT_ONCE = 32  # small requests, about 3 ms; one after the other, so that the tables stay in the cache
_CHECKPOINT_EVERY = 60  # calls of the commit thread's housekeeping, about a second each


Done = Callable[["Sequence[Outcome] | Rejected"], None]
"""Called once, in the event loop, with every message's outcome or with the refusal of the whole body."""


class _Request:
    """A body on its way: either a `run`, or `fates`, of which `checked` are those that passed the door."""

    __slots__ = ("address", "checked", "done", "fates", "run", "size")

    def __init__(
        self, fates: Sequence[Checked | Outcome], checked: Sequence[Checked], run: Run | None, address: str, done: Done
    ) -> None:
        self.fates = fates
        self.checked = checked
        self.run = run
        self.size = len(checked) if run is None else len(run)
        self.address = address
        self.done = done


class Intake:
    """The pipeline in front of the journal. One per network; all calls from one event loop."""

    def __init__(
        self,
        group: GroupCommit,
        *,
        policy: Policy,
        kinds: KindTable,
        clock: Clock,
        registry: Registry | None = None,
        registry_position: int = 0,
        device_reports_per_minute: int = 600,
        address_refusals_per_minute: int = 6_000,
        workers: int = 2,
        max_batch: int = 1_000,
        max_waiting: int = 20_000,
        metrics: IntakeMetrics | None = None,
    ) -> None:
        """Rebuild the state from the journal.

        `registry` is the fold up to `registry_position` (from the last sealed epoch); later entries are applied under
        `policy`, which therefore is the one in force since then. `workers`: threads for signatures. `max_batch`:
        messages per batch. `max_waiting`: messages in memory before the door answers UNAVAILABLE.
        """
        self.group = group
        self.clock = clock
        self.metrics = metrics if metrics is not None else IntakeMetrics()
        self.marks = Marks.load(group.journal)
        self.door = Door(
            policy, registry if registry is not None else Registry(), self.marks, kinds, device_reports_per_minute
        )
        self.registry_position = registry_position
        self._generation = group.journal.generation
        self._fold_registry()
        self._refusals = Budget(address_refusals_per_minute)
        self._workers = max(1, workers)
        self._helpers = (
            ThreadPoolExecutor(self._workers - 1, thread_name_prefix="fieldstone-verify") if workers > 1 else None
        )
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._unverified: deque[_Request] = deque()
        self._tick_is_due = False
        self._waiting: deque[_Request] = deque()
        self._waiting_messages = 0
        self._in_flight = 0
        self._ticks = 0
        self._judging: set[asyncio.Task[None]] = set()
        self._conflicts = Conflicts(self)
        self.metrics.watch(group, lambda: self._waiting_messages)
        group.every_second(self._housekeep)

    @property
    def registry(self) -> Registry:
        """The registry as of the last durable entry."""
        return self.door.registry

    @property
    def policy(self) -> Policy:
        """The policy in force."""
        return self.door.policy

    def set_policy(self, policy: Policy) -> None:
        """Use another policy for what arrives from now on (at an epoch's start)."""
        self.door.set_policy(policy)

    @property
    def ready(self) -> bool:
        """Whether a report would be taken now: the journal is healthy and the queue is not full."""
        return self.group.journal.healthy and self._waiting_messages < self._max_waiting

    async def submit(self, body: bytes, *, address: str, sequence: bool = True) -> list[Outcome]:
        """Take a CBOR sequence of messages (or one message) from `address` and return each one's outcome, in order.

        When it returns, everything accepted is durable. Raises Rejected when the body as a whole is refused
        (TOO_LARGE, RATE_LIMITED, UNAVAILABLE); then none of its messages was taken.
        """
        future: asyncio.Future[list[Outcome]] = asyncio.get_running_loop().create_future()

        def done(result: Sequence[Outcome] | Rejected) -> None:
            if future.done():
                return  # the sender hung up; what is durable stays durable
            if isinstance(result, Rejected):
                future.set_exception(result)
            else:
                future.set_result(list(result))

        self.start(body, address=address, sequence=sequence, done=done)
        return await future

    def start(self, body: bytes, *, address: str, sequence: bool, done: Done) -> None:
        """Do what `submit` does without a coroutine, which costs as much as a third of a report; `done` gets the result.

        Raises nothing; call it in the event loop. `done` may be called before this returns.
        """
        now_ms = self.clock.now_ms()
        try:
            self._admit(body, address, now_ms)
        except Rejected as rejection:
            done(rejection)
            return
        run = self.door.check_run(body, now_ms) if sequence else None
        if run is not None:
            request = _Request((), (), run, address, done)
        else:
            fates = self.door.check_body(body, now_ms, sequence=sequence)
            request = _Request(fates, [fate for fate in fates if type(fate) is Checked], None, address, done)
        if not request.size:
            self._finish(request, None)
        elif self._waiting_messages + request.size > self._max_waiting and self._waiting_messages:
            self._finish(request, Retryable(f"{self._waiting_messages} messages wait"))
        else:
            self._waiting_messages += request.size
            if request.size <= _SMALL_REQUEST:
                self._unverified.append(request)
                if not self._tick_is_due:
                    self._tick_is_due = True
                    asyncio.get_running_loop().call_soon(self._tick)
            else:
                self._waiting.append(request)
                if not self._in_flight:
                    self._pump()

    async def submit_registry(self, body: bytes, *, address: str) -> tuple[Device, Receipt]:
        """Take a signed registry entry: check, apply, make durable; return the device as it is now and the receipt.

        Raises Rejected for the entry's own reason, for RATE_LIMITED or UNAVAILABLE.
        """
        now_ms = self.clock.now_ms()
        self._admit(body, address, now_ms)
        try:
            return await self.group.enqueue(RegistryWork(self, body))
        except Rejected as rejection:
            known = self.registry.get(rejection.subject) is not None
            self.count_refusal(rejection.reason.code, rejection.subject if known else "")
            self._refusals.charge(address, 1, now_ms)
            raise
        except Retryable as error:
            raise self._unavailable(error) from error

    def refuse_body(self, code: str, detail: str, address: str) -> Rejected:
        """Count a body that was refused before it was looked at, and return the refusal to raise or show."""
        self.count_refusal(code, "")
        self._refusals.charge(address, 1, self.clock.now_ms())
        return Rejected(reason(code), "", detail)

    def count_refusal(self, code: str, device: str, count: int = 1) -> None:
        """Count refusals for the metrics and for the operator of `device` ("" when no enrolled device is known)."""
        self.metrics.refused(code, count)
        self.group.journal.count_rejection(code, device, count=count)

    def close(self) -> None:
        """Save the checkpoint and stop the helpers. Close the group commit first, so that nothing is under way."""
        self.marks.save(self.group.journal)
        if self._helpers is not None:
            self._helpers.shutdown()

    # -- for the parts of the pipeline

    def catch_up(self) -> None:
        """Learn what a recovered journal holds beyond what was acknowledged. Runs in the commit thread."""
        journal = self.group.journal
        if self._generation == journal.generation:
            return
        with self.marks.lock:
            self.marks.take(journal.read(self.marks.position + 1))
        self._fold_registry()
        self._generation = journal.generation

    def replace_registry(self, registry: Registry) -> None:
        """Put another registry in force (after a failed commit took a change back)."""
        self.door.registry = registry

    # -- inside

    def _admit(self, body: bytes, address: str, now_ms: int) -> None:
        if self._refusals.left(address, now_ms) < 1:
            self.count_refusal("RATE_LIMITED", "")
            raise Rejected(reason("RATE_LIMITED"), "", "too many refused messages from this address; wait a minute")
        if len(body) > self.policy.intake.max_body_bytes:
            raise self.refuse_body(
                "TOO_LARGE", f"{len(body)} bytes, allowed are {self.policy.intake.max_body_bytes}", address
            )
        if not self.group.journal.healthy:
            raise self._unavailable(Retryable("the journal is being repaired"))

    def _tick(self) -> None:
        """Check the signatures of small requests, some at a time, so that sockets are served in between."""
        for _ in range(min(_VERIFY_AT_ONCE, len(self._unverified))):
            request = self._unverified.popleft()
            verify_all(request.checked)
            self._waiting.append(request)
        self._tick_is_due = bool(self._unverified)
        if self._tick_is_due:
            asyncio.get_running_loop().call_soon(self._tick)
        elif not self._in_flight:
            self._pump()

    def _pump(self) -> None:
        """Send what waits to the commit thread, as one batch."""
        requests: list[_Request] = []
        messages: list[Checked | Run] = []
        size = 0
        while self._waiting and (not size or size + self._waiting[0].size <= self._max_batch):
            request = self._waiting.popleft()
            requests.append(request)
            size += request.size
            messages.extend(request.checked if request.run is None else (request.run,))
        if not messages:
            return
        self._waiting_messages -= size
        batch = ReportBatch(self.door, messages, self._helpers, self._workers, self.catch_up)
        try:
            done = self.group.enqueue(batch, size)
        except Retryable as error:
            self._settle(requests, error)
            return
        self._in_flight += 1
        done.add_done_callback(lambda future: self._landed(requests, future))

    def _landed(self, requests: Sequence[_Request], done: asyncio.Future[None]) -> None:
        self._in_flight -= 1
        self._pump()  # keep the commit thread busy while the answers are written
        self._settle(requests, None if done.cancelled() else done.exception())

    def _settle(self, requests: Sequence[_Request], error: BaseException | None) -> None:
        for request in requests:
            self._finish(request, error)

    def _finish(self, request: _Request, error: BaseException | None) -> None:
        run = request.run
        if error is not None:
            if run is not None:
                self.door.give_back(run.slot, len(run))
            for message in request.checked:
                self.door.give_back(message.slot)
            request.done(self._unavailable(error))
            return
        if run is not None:
            if run.outcomes is not None:
                self.metrics.accepted_reports += len(run)
                request.done(run.outcomes)
                return
            request.fates = request.checked = run.split()
        if len(request.checked) == 1 == len(request.fates):  # most requests are one report, and in order
            only = request.checked[0].outcome
            if only is not None and only.reason is None:
                self.metrics.accepted_reports += 1
                request.done([only])
                return
        outcomes = [fate if type(fate) is Outcome else fate.outcome for fate in request.fates]  # type: ignore[union-attr]
        if None in outcomes:
            task = asyncio.get_running_loop().create_task(self._judge(request, outcomes))
            self._judging.add(task)
            task.add_done_callback(self._judging.discard)
            return
        self._account(outcomes, request.address)  # type: ignore[arg-type]
        request.done(outcomes)  # type: ignore[arg-type]

    async def _judge(self, request: _Request, outcomes: list[Outcome | None]) -> None:
        judged = [
            await self._conflicts.judge(fate) if outcome is None and type(fate) is Checked else outcome
            for fate, outcome in zip(request.fates, outcomes, strict=True)
        ]
        self._account(judged, request.address)  # type: ignore[arg-type]
        request.done(judged)  # type: ignore[arg-type]

    def _unavailable(self, error: BaseException) -> Rejected:
        self.count_refusal("UNAVAILABLE", "")
        return Rejected(reason("UNAVAILABLE"), "", str(error))

    def _account(self, outcomes: Sequence[Outcome], address: str) -> None:
        refusals = [outcome for outcome in outcomes if outcome.reason is not None]
        self.metrics.accepted_reports += len(outcomes) - len(refusals)
        if refusals:
            self._refusals.charge(address, len(refusals), self.clock.now_ms())
            counts = Counter((outcome.reason.code, outcome.device) for outcome in refusals if outcome.reason)
            for (code, device), count in counts.items():
                self.count_refusal(code, device, count)

    def _fold_registry(self) -> None:
        journal = self.group.journal
        for entry in journal.read(self.registry_position + 1, kinds=[EntryKind.REGISTRY]):
            try:
                self.door.registry.apply(entry.body, entry.received_ms, self.policy)
            except Rejected as rejection:
                raise Terminal(
                    f"journal position {entry.position} is no valid registry entry: {rejection}"
                ) from rejection
            self.registry_position = entry.position

    def _housekeep(self) -> None:
        if self.group.journal.healthy:
            self.catch_up()
        self._ticks += 1
        if self._ticks % _CHECKPOINT_EVERY == 0:
            self.marks.save(self.group.journal)
