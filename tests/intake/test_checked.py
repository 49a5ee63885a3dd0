"""A run stands for its messages: what it says of them, and what becomes of them, is what each would meet by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cbor2
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldstone.errors import Rejected
from fieldstone.identity import entries
from fieldstone.identity.keys import Algorithm
from fieldstone.intake import door
from fieldstone.intake.checked import Checked, Run
from fieldstone.intake.http import take_reports
from fieldstone.intake.marks import REMEMBERED, Mark
from fieldstone.journal import EntryKind
from fieldstone.journal.receipts import verify_receipt

from .worlds import AAD, NETWORK_KEY, NOW_MS, POLICY, WALLET, World, bodies, key, message

DEVICE = key(1)
NAME = DEVICE.public.device_id


def forge(good: bytes) -> bytes:
    return good[:-64] + bytes([good[-64] ^ 1]) + good[-63:]


async def taught(world: World, *devices: Any, **form: Any) -> World:
    """Enrol devices and let the door learn the form of their reports, with number 1."""
    await world.enrol(*devices)
    for device in devices:
        assert await world.send(message(device, 1, **form)) == ["ok"]
    return world


def run_of(world: World, *messages: bytes) -> Run | None:
    """Look at a body as the door does, and leave no trace."""
    run = world.intake.door.check_run(b"".join(messages), world.clock.now_ms())
    if run is not None:
        world.intake.door.give_back(run.slot, len(run))
    return run


@pytest.fixture(scope="module", params=[1, 4, 40])
def learnt(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, int]]:
    world = World(tmp_path_factory.mktemp("runs"))
    with world:
        asyncio.run(taught(world, DEVICE, readings=request.param))
        yield world, request.param


steps = st.lists(st.sampled_from([1, 1, 1, 1, 2, 250, 70_000, 0, -1]), min_size=5, max_size=8)
flips = st.lists(st.tuples(st.integers(0, 4_000), st.integers(0, 255)), max_size=2)
starts = st.sampled_from([NOW_MS - 60_000] * 3 + [NOW_MS - 8 * 86_400_000, NOW_MS + 200_000, 5])


@settings(max_examples=100, deadline=None)
@given(steps, flips, starts, st.binary(max_size=3), st.sampled_from([20.5, -7.0, 1e-7]), st.booleans())
def test_a_run_says_what_a_look_at_each_message_says(
    learnt: tuple[World, int],
    steps: list[int],
    flips: list[tuple[int, int]],
    start_ms: int,
    tail: bytes,
    value: float,
    is_one_longer: bool,
) -> None:
    world, readings = learnt
    numbers = [sum(steps[: count + 1], 1) for count in range(len(steps))]
    messages = [
        message(DEVICE, max(number, 1), readings=readings, value=value, start_ms=start_ms) for number in numbers
    ]
    if is_one_longer:
        messages[-1] = message(DEVICE, max(numbers[-1], 1), readings=readings + 1)
    body = bytearray(b"".join(messages))
    for place, byte in flips:
        body[place % len(body)] = byte
    body += tail
    run = run_of(world, bytes(body))
    if run is None:
        return
    tokens = run.slot.bucket.tokens
    fates = world.intake.door.check_body(bytes(body), NOW_MS, sequence=True)
    assert run.slot.bucket.tokens == tokens - len(run)
    world.intake.door.give_back(run.slot, len(run))
    parts = run.split()
    assert len(fates) == len(parts) == len(run) and run.split() is parts
    for fate, part in zip(fates, parts, strict=True):
        assert type(fate) is Checked and not fate.is_new_shape
        assert {name: getattr(fate, name) for name in Checked.__slots__} == {
            name: getattr(part, name) for name in Checked.__slots__
        }
    assert [head.head.seq for head in parts if head.head] == sorted({part.head.seq for part in parts if part.head})


@pytest.mark.parametrize("algorithm", list(Algorithm))
@pytest.mark.parametrize("readings", [1, 4, 100])
async def test_the_usual_sequence_is_a_run_and_gets_receipts(
    tmp_path: Path, algorithm: Algorithm, readings: int
) -> None:
    device = key(5, algorithm)
    with World(tmp_path) as world:
        await taught(world, device, readings=readings)
        sent = [message(device, seq, readings=readings) for seq in range(250, 262)]
        assert run_of(world, *sent) is not None
        outcomes = await world.intake.submit(b"".join(sent), address="a")
        for body, outcome in zip(sent, outcomes, strict=True):
            answer = outcome.answer()
            assert answer.ok and verify_receipt(answer.receipt, body, NETWORK_KEY.public)
            stored = world.journal.entry(answer.position)
            assert stored is not None
            assert (stored.body, stored.subject, stored.kind) == (body, device.public.device_id, EntryKind.REPORT)
        assert world.intake.metrics.accepted_reports == 1 + len(sent)
        repeats = await world.intake.submit(b"".join(sent), address="a")
        assert [(o.reason.code, o.position) for o in repeats if o.reason] == [
            ("REPLAYED", outcome.answer().position)  # type: ignore[union-attr]
            for outcome in outcomes
        ]


ODD: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "another device's": lambda sent: [*sent, message(key(2), 7)],
    "another form": lambda sent: [*sent, message(DEVICE, 90, readings=3)],
    "not rising": lambda sent: [sent[1], sent[0], *sent[2:]],
    "one twice": lambda sent: [*sent, sent[-1]],
    "an old number": lambda sent: [message(DEVICE, 1, value=1.0), *sent],
    "something else between": lambda sent: [*sent[:3], b"\x01", *sent[3:]],
    "something else behind": lambda sent: [*sent, b"\xd2"],
    "something else before": lambda sent: [b"\x00", *sent],
    "from the future": lambda sent: [*sent, message(DEVICE, 90, start_ms=NOW_MS + 121_000)],
    "stale": lambda sent: [message(DEVICE, 2, start_ms=NOW_MS - 8 * 86_400_000), *sent],
    "a few only": lambda sent: sent[:4],
}


@pytest.mark.parametrize("why", list(ODD))
async def test_other_sequences_are_no_runs_and_mean_the_same(tmp_path: Path, why: str) -> None:
    usual = [message(DEVICE, seq) for seq in range(10, 17)]
    odd = ODD[why](list(usual))
    with World(tmp_path) as world:
        await taught(world, DEVICE, key(2))
        assert run_of(world, *usual) is not None
        assert run_of(world, *odd) is None
        codes = await world.send(*odd)
        fine = [code for code, body in zip(codes, odd, strict=True) if body in usual]
        assert set(fine) <= {"ok"} or why in ("not rising", "one twice")


async def test_a_body_that_is_too_long_for_a_run_is_taken_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = [message(DEVICE, seq) for seq in range(2, 12)]
    with World(tmp_path) as world:
        await taught(world, DEVICE)
        monkeypatch.setattr(door, "_LONGEST_RUN_BYTES", len(b"".join(sent)) - 1)
        assert run_of(world, *sent) is None and run_of(world, *sent[:9]) is not None
        assert await world.send(*sent) == ["ok"] * 10


async def test_wrong_signatures_in_a_run_are_named_and_cost_nothing(tmp_path: Path) -> None:
    sent = [message(DEVICE, seq) for seq in range(2, 12)]
    sent[0], sent[7], sent[9] = forge(sent[0]), forge(sent[7]), forge(sent[9])
    with World(tmp_path) as world:
        await taught(world, DEVICE)
        run = run_of(world, *sent)
        assert run is not None
        before = run.slot.bucket.tokens
        codes = await world.send(*sent)
        assert codes == ["ok" if place not in (0, 7, 9) else "BAD_SIGNATURE" for place in range(10)]
        assert run.slot.bucket.tokens == before - 7
        assert world.counts()[("BAD_SIGNATURE", NAME)] == 3
        assert run.slot.mark.last_seq == 10


@pytest.mark.parametrize("algorithm", list(Algorithm))
async def test_threads_judge_a_long_run_alike(tmp_path: Path, algorithm: Algorithm) -> None:
    device = key(5, algorithm)
    with World(tmp_path, options={"workers": 3}) as world:
        await taught(world, device)
        sent = [message(device, seq) for seq in range(2, 252)]
        assert await world.send(*sent) == ["ok"] * 250
        sent = [message(device, seq) for seq in range(252, 502)]
        for place in (0, 99, 100, 249):
            sent[place] = forge(sent[place])
        codes = await world.send(*sent)
        assert [place for place, code in enumerate(codes) if code != "ok"] == [0, 99, 100, 249]
        assert set(codes) == {"ok", "BAD_SIGNATURE"}


async def test_runs_that_race_for_the_same_numbers(tmp_path: Path) -> None:
    first = [message(DEVICE, seq) for seq in range(2, 10)]
    second = [*first[:4], *[message(DEVICE, seq, value=1.0) for seq in range(6, 14)]]
    with World(tmp_path) as world:
        await taught(world, DEVICE)
        assert run_of(world, *first) is not None and run_of(world, *second) is not None
        won, other = await asyncio.gather(world.send(*first), world.send(*second))
        assert won == ["ok"] * 8
        assert other == ["REPLAYED"] * 4 + ["EQUIVOCATION"] * 4 + ["ok"] * 4
        assert len(bodies(world, [EntryKind.EQUIVOCATION])) == 4


async def test_a_key_that_was_replaced_meanwhile_speaks_no_more(tmp_path: Path) -> None:
    successor = key(9)
    with World(tmp_path) as world:
        await taught(world, DEVICE)
        sent = [message(DEVICE, seq) for seq in range(2, 10)]
        assert run_of(world, *sent) is not None
        rotation = entries.rotate(NAME, DEVICE, successor, WALLET, POLICY, nonce=2)
        change = asyncio.create_task(world.intake.submit_registry(rotation, address="operator"))
        await asyncio.sleep(0)  # in line for the commit, and not yet in force
        codes, _ = await asyncio.gather(world.send(*sent), change)
        assert set(codes) == {"DEVICE_REVOKED"}
        assert bodies(world, [EntryKind.REPORT]) == [message(DEVICE, 1)]


async def test_a_failed_commit_uses_up_neither_numbers_nor_budget(tmp_path: Path) -> None:
    sent = [message(DEVICE, seq) for seq in range(2, 10)]
    with World(tmp_path) as world:
        await taught(world, DEVICE)
        run = run_of(world, *sent)
        assert run is not None
        before = run.slot.bucket.tokens
        world.group._recover_at = float("inf")
        world.journal._connection.execute("PRAGMA query_only = ON")
        with pytest.raises(Rejected, match="UNAVAILABLE"):
            await world.send(*sent)
        assert run.slot.bucket.tokens == before and run.slot.mark.last_seq == 1
        assert world.journal.recover()
        assert await world.send(*sent) == ["ok"] * 8


async def test_a_budget_ends_in_a_run_as_it_ends_between_messages(tmp_path: Path) -> None:
    with World(tmp_path, options={"device_reports_per_minute": 10}) as world:
        await taught(world, DEVICE)  # leaves 19 of two minutes' 20
        assert await world.send(*[message(DEVICE, seq) for seq in range(2, 12)]) == ["ok"] * 10
        rest = [message(DEVICE, seq) for seq in range(12, 24)]
        assert run_of(world, *rest[:9]) is not None and run_of(world, *rest[:10]) is None
        assert await world.send(*rest) == ["ok"] * 9 + ["RATE_LIMITED"] * 3
        world.clock.set(NOW_MS + 60_000)
        assert await world.send(*[message(DEVICE, seq) for seq in range(30, 40)]) == ["ok"] * 10


async def test_the_answer_of_a_run_is_the_same_in_json_and_cbor(tmp_path: Path) -> None:
    with World(tmp_path) as world:
        await taught(world, DEVICE)
        answers = []
        for at, accept in ((2, ""), (20, "application/cbor")):
            sent = [message(DEVICE, seq) for seq in range(at, at + 6)]
            assert run_of(world, *sent) is not None
            answer = await take_reports(world.intake, b"".join(sent), "application/cbor-seq", accept, "a")
            assert answer.status == 200
            found = cbor2.loads(answer.body) if accept else msgspec.json.decode(answer.body)
            assert (found["accepted"], found["refused"]) == (6, 0)
            answers.append(found)
            position = found["results"][0]["position"]
            assert [result["position"] for result in found["results"]] == list(range(position, position + 6))
        assert [*answers[0]["results"][0]] == [*answers[1]["results"][0]]


async def test_a_restart_remembers_a_run(tmp_path: Path) -> None:
    sent = [message(DEVICE, seq) for seq in range(2, 12)]
    with World(tmp_path) as world:
        await taught(world, DEVICE)
        await world.send(*sent)
        world.reopen()
        assert await world.send(*sent) == ["REPLAYED"] * 10
        assert await world.send(message(DEVICE, 12)) == ["ok"]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from([1, 5, 100, REMEMBERED, 2 * REMEMBERED + 1, 3_000]), min_size=1, max_size=4))
def test_a_mark_learns_from_a_run_what_it_learns_from_its_messages(sizes: list[int]) -> None:
    together, each = Mark(), Mark()
    position = 1
    for size in sizes:
        seqs = range(3 * position, 3 * (position + size), 3)
        digests = [seq.to_bytes(8, "big") + bytes(24) for seq in seqs]
        together.accept_run(seqs, position, digests)
        for place, seq in enumerate(seqs):
            each.accept(seq, position + place, digests[place])
        position += size
    assert together.last_seq == each.last_seq
    last = 3 * (position - 1)
    for seq in range(last, max(0, last - 3 * min(REMEMBERED, position - 1)), -1):
        assert together.find(seq) == each.find(seq)
    oldest = together.oldest()
    assert oldest is not None and oldest[0] <= max(3, last - 3 * (REMEMBERED - 1))


def test_the_network_of_a_run_is_part_of_what_is_signed(learnt: tuple[World, int]) -> None:
    world, readings = learnt
    run = run_of(world, *[message(DEVICE, seq, readings=readings) for seq in range(50, 60)])
    assert run is not None and all(AAD in signed for signed in run.signed)
