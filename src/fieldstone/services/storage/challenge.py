"""What a round asks: chunks of shares drawn from public randomness, the same for everybody who works it out.

A device's holdings at the round's position are put in the order of their share ids and their bytes are numbered
through. The bytes drawn are

    word_i = 8 bytes, little-endian, at 8·i of  BLAKE3-XOF("fieldstone/storage/challenge/v1" ‖ 00 ‖ seed ‖ did:key of the device)
    byte_i = word_i mod bytes           i = 0 … q−1

and asked is the chunk that holds each (`codes.chunk_opening`: 1,024 bytes of a leaf, at its ends fewer), each chunk once.
So a byte is as likely as any other, whatever share and leaf it lies in: who dropped a part a of his bytes, in whatever
pieces, fails a question with probability a, and with more where he kept parts of chunks. A device with twice the bytes is
asked about them twice as thinly. (PDP: keccak256(seed ‖ set id ‖ i) mod leafCount; the bias of the remainder is below
bytes/2⁶⁴.) The set of bytes is frozen at the position, before the seed was known: adding or dropping shares cannot move
a question.

Besides, up to `gateways_per_round` of the gateways whose shares the device holds, drawn anew each round, have one chunk of
theirs asked. Otherwise a device could fill up with data of its own that needs no disk, and drop a small customer's unseen.

In about every `check_every_rounds`-th round one leaf of a device is drawn, for checkers to read (`retrieval`). The device
has to prove a chunk of that leaf, drawn by the next seed, in the round after. The proof goes through the leaf's hash, so
what the checkers got can be compared with what is true.

Silence does not make a question go away: while a device answers nothing at all, the questions of up to `reask_rounds`
earlier rounds are asked again, those of the newest round first. Who is silent whenever a round hits what he dropped
would have to be silent nearly always.

The body that a device gets is a msgpack list: [share, first byte of a chunk] to prove, then [share, leaf, provider, start,
end] to read as a checker.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from fieldstone.services.contract import CHALLENGE_SCHEMA, EpochInput, Round
from fieldstone.services.storage.challenge_draw import draw
from fieldstone.services.storage.codes.chunk_opening import chunk_of
from fieldstone.services.storage.holdings import fold
from fieldstone.services.storage.proofs import HEAD_BYTES, peek_number
from fieldstone.services.storage.schema import PROOF
from fieldstone.services.storage.secret_draw import pair_is_drawn, reads_drawn
from fieldstone.services.storage.secret_reads import revealed
from fieldstone.services.storage.shelf import Shelf, shelves
from fieldstone.units import DAY_MS

__all__ = [
    "ROUND_SCHEMA",
    "Asked",
    "Asking",
    "LeafRead",
    "Posed",
    "challenges",
    "decode_body",
    "draw",
    "encode_body",
    "leaf_to_read",
    "per_round",
    "posed_rounds",
    "round_table",
]

CONTEXT = b"fieldstone/storage/challenge/v1\0"
OWN_CONTEXT = b"fieldstone/storage/challenge-gateway/v1\0"
TEST_CONTEXT = b"fieldstone/storage/check-leaf/v1\0"
CHUNK_CONTEXT = b"fieldstone/storage/chunk-of-leaf/v1\0"
SECRET_CONTEXT = b"fieldstone/storage/prove-what-was-read/v1\0"
ROUND_SCHEMA: dict[str, pl.DataType] = {
    "number": pl.Int64(),
    "position": pl.Int64(),
    "issued_ms": pl.Int64(),
    "seed": pl.Binary(),
    # how it was asked then: settings and standing may have changed when it is judged
    "questions": pl.Int64(),
    "often_questions": pl.Int64(),
    "check_every": pl.Int64(),
    "suspects": pl.List(pl.String()),
    "excluded": pl.List(pl.String()),
    # who had proven what, and so may read as a checker
    "seats": pl.List(pl.Struct({"device": pl.String(), "units": pl.Int64()})),
}


class LeafRead(NamedTuple):
    """A test read: bytes `start` … `end` (half open) of a share are its leaf `leaf_index`, to be read from `provider`."""

    share: bytes
    leaf_index: int
    provider: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Asked:
    """What a round wants from one device. `prove`: (share, first byte of a chunk)."""

    prove: tuple[tuple[bytes, int], ...]
    read: tuple[LeafRead, ...] = ()


@dataclass(frozen=True, slots=True)
class Posed:
    """A round and how it was asked: chunks per device, per suspected device, and who counted as that."""

    asked: Round
    questions: int
    often_questions: int
    check_every: int
    suspects: frozenset[str]
    excluded: frozenset[str]
    # device → MiB-seconds proven for customers in the epoch before
    seats: Mapping[str, int] = field(default_factory=dict)


def encode_body(asked: Asked) -> bytes:
    """Return the body of a challenge."""
    return msgspec.msgpack.encode([*asked.prove, *asked.read])


def decode_body(body: bytes) -> Asked:
    """Read the body of a challenge. Raises msgspec.DecodeError when it is none."""
    rows = msgspec.msgpack.decode(body, type=list[list[Any]])
    prove = [msgspec.convert(row, tuple[bytes, int]) for row in rows if len(row) == 2]
    read = [LeafRead(*msgspec.convert(row, tuple[bytes, int, str, int, int])) for row in rows if len(row) != 2]
    return Asked(tuple(prove), tuple(read))


def per_round(params: Mapping[str, Any], *, often: bool) -> int:
    """Return the questions of one round: the day's, spread over the day's rounds, rounded up."""
    daily = int(params["new_questions_per_day" if often else "questions_per_day"])
    return min(-(-daily * int(params["round_s"]) // 86_400), int(params["max_questions_per_round"]))


def leaf_to_read(shelf: Shelf, posed: Posed) -> tuple[int, int] | None:
    """Return (place on the shelf, leaf index) that checkers read from the device in a round, None when they read none."""
    seed = posed.asked.seed
    if shelf.device in posed.excluded or draw(TEST_CONTEXT + b"when", seed, shelf.device, 1, posed.check_every)[0]:
        return None
    held = shelf.held(posed.asked.position)
    if not held.size:
        return None
    edges = np.cumsum(shelf.leaves[held])
    number = draw(TEST_CONTEXT, seed, shelf.device, 1, int(edges[-1]))[0]
    row = int(np.searchsorted(edges, number, side="right"))
    return int(held[row]), int(number - (edges[row] - shelf.leaves[held][row]))


class Asking:
    """What rounds ask of devices: rounds in order, those of the carry first, and who was heard in which."""

    def __init__(self, inp: EpochInput, before: int | None = None, asked: Round | None = None) -> None:
        """Read the rounds and the numbers of proof reports before position `before` (None: all)."""
        self.rounds = posed_rounds(inp, asked)
        self._place = {one.asked.number: place for place, one in enumerate(self.rounds)}
        self._reask = int(inp.params["reask_rounds"])
        self._gateways = int(inp.params["gateways_per_round"])
        self._new_ms = int(inp.params["new_days"]) * DAY_MS
        self._enrolled = dict(inp.registry.select("device", "enrolled_ms").iter_rows())
        self._heard = _heard(inp, self.rounds, before)
        self._every_secret = int(inp.params["secret_every_rounds"])
        self._proven_secret = int(inp.params["secret_proven_per_round"])
        within_ms = int(inp.params["check_within_s"]) * 1_000
        looked_at = self.rounds if asked is None else self.rounds[-2:-1]  # the next round asks about the one before
        known = {one.asked.number: (one.asked.position, one.asked.issued_ms + within_ms) for one in looked_at}
        self._read: dict[tuple[str, int], list[tuple[str, bytes, bytes, int, int]]] = {}
        lines, _ = revealed(inp, known)
        for gateway, number, secret, provider, share, leaf, *_, position in lines.filter(
            pl.col("outcome") == "ok"
        ).iter_rows():
            self._read.setdefault((provider, number), []).append((gateway, secret, share, leaf, position))

    def posed(self, number: int) -> Posed:
        """Return round `number`. Raises KeyError."""
        return self.rounds[self._place[number]]

    def knows(self, number: int) -> bool:
        """Tell whether the round is known."""
        return number in self._place

    def heard_at(self, device: str, number: int) -> int | None:
        """Return the journal position of the device's first answer in time to round `number`."""
        return self._heard.get((device, number))

    def heard(self, device: str, number: int, before: int) -> bool:
        """Tell whether any readable answer of the device to round `number` came before journal position `before`."""
        position = self._heard.get((device, number))
        return position is not None and position < before

    def questions(self, shelf: Shelf, number: int) -> list[tuple[int, int]]:
        """Return (place on the shelf, first byte of a chunk) in the order asked: the round's own, then silent rounds'."""
        place = self._place[number]
        asked = self.rounds[place].asked
        found = dict.fromkeys(self._own(shelf, self.rounds[place]))
        if found:
            for row, leaf in self.to_prove(shelf, number):
                if shelf.until_position[row] > asked.position:
                    found[_chunk_in(shelf, row, leaf, asked.seed)] = None
            for earlier in reversed(self.rounds[max(0, place - self._reask) : place]):
                if self.heard(shelf.device, earlier.asked.number, asked.position):
                    break
                again = self._own(shelf, earlier)
                if not again:
                    break
                found.update(dict.fromkeys(one for one in again if shelf.until_position[one[0]] > asked.position))
        return list(found)

    def to_prove(self, shelf: Shelf, number: int) -> list[tuple[int, int]]:
        """Return (place, leaf index) of what was read from the device in the round before: it has to prove a chunk of each."""
        read = self.tested_before(shelf, number)
        return [*([] if read is None else [read]), *self.read_in_secret(shelf, number)]

    def tested_before(self, shelf: Shelf, number: int) -> tuple[int, int] | None:
        """Return (place, leaf index) that checkers read from the device in the round before `number`."""
        place = self._place[number]
        return leaf_to_read(shelf, self.rounds[place - 1]) if place else None

    def read_in_secret(self, shelf: Shelf, number: int) -> list[tuple[int, int]]:
        """Return what of the leaves that gateways read in secret in the round before has to be proven in `number`.

        Only lines that were in the journal before this round, and that the round before had drawn; a sample of them, by
        this round's seed, so nobody knew before which ones.
        """
        place = self._place[number]
        if not place or (shelf.device, self.rounds[place - 1].asked.number) not in self._read:
            return []
        asked, before = self.rounds[place].asked, self.rounds[place - 1].asked
        rows_of: dict[str, list[int]] = {}
        for row in shelf.held(before.position).tolist():
            rows_of.setdefault(shelf.gateways[row], []).append(row)
        said: dict[tuple[str, bytes], set[tuple[bytes, int]]] = {}
        for gateway, secret, share, leaf, position in self._read[shelf.device, before.number]:
            if position < asked.position and gateway in rows_of:
                said.setdefault((gateway, secret), set()).add((share, leaf))
        found = set()
        for (gateway, secret), lines in said.items():
            if not pair_is_drawn(secret, before.seed, shelf.device, self._every_secret):
                continue
            rows = rows_of[gateway]
            names = [shelf.shares[row] for row in rows]
            columns = shelf.sizes[rows], shelf.leaf_bytes[rows], shelf.from_ms[rows]
            drawn = reads_drawn(secret, before.seed, shelf.device, before.issued_ms, names, *columns)
            found |= {(rows[place], leaf) for place, leaf in drawn if (names[place], leaf) in lines}
        listed = sorted(found)
        chosen = draw(SECRET_CONTEXT, asked.seed, shelf.device, self._proven_secret, len(listed))
        return [listed[one] for one in chosen]

    def before(self, number: int) -> int:
        """Return the number of the round before."""
        return self.rounds[self._place[number] - 1].asked.number

    def _own(self, shelf: Shelf, posed: Posed) -> list[tuple[int, int]]:
        held = shelf.held(posed.asked.position)
        if not held.size or shelf.device in posed.excluded:
            return []
        is_new = posed.asked.issued_ms < self._enrolled.get(shelf.device, 0) + self._new_ms
        count = posed.often_questions if is_new or shelf.device in posed.suspects else posed.questions
        numbers = draw(CONTEXT, posed.asked.seed, shelf.device, count, int(shelf.sizes[held].sum()))
        return [*shelf.chunks_with(held, numbers), *self._of_gateways(shelf, held, posed.asked.seed)]

    def _of_gateways(self, shelf: Shelf, held: NDArray[np.int64], seed: bytes) -> list[tuple[int, int]]:
        """Return one chunk of each of some gateways, when there are several."""
        rows_of: dict[str, list[int]] = {}
        if len(set(shelf.gateways)) > 1:
            for row in held.tolist():
                rows_of.setdefault(shelf.gateways[row], []).append(row)
        if len(rows_of) < 2:
            return []
        names = sorted(rows_of)
        found = []
        for place in draw(OWN_CONTEXT, seed, shelf.device, self._gateways, len(names)):
            rows = np.array(rows_of[names[place]])
            context = OWN_CONTEXT + names[place].encode() + b"\0"
            found += shelf.chunks_with(rows, draw(context, seed, shelf.device, 1, int(shelf.sizes[rows].sum())))
        return found


def _chunk_in(shelf: Shelf, row: int, leaf: int, seed: bytes) -> tuple[int, int]:
    """Return the chunk of a leaf that a round asks for."""
    low, high = shelf.leaf_range(row, leaf)
    context = CHUNK_CONTEXT + shelf.shares[row] + leaf.to_bytes(8, "little")
    byte = low + draw(context, seed, shelf.device, 1, high - low)[0]
    return row, chunk_of(int(shelf.sizes[row]), int(shelf.leaf_bytes[row]), byte).start


def challenges(so_far: EpochInput, asked: Round) -> pl.DataFrame:
    """Return CHALLENGE_SCHEMA: the body for every device that `asked` wants something from."""
    from fieldstone.services.storage.retrieval import Committees

    holdings = fold(so_far, before=asked.position).holdings
    asking = Asking(so_far, asked.position, asked)
    bodies: dict[str, Asked] = {}
    every = list(shelves(holdings))
    for shelf in every:
        prove = tuple((shelf.shares[row], start) for row, start in asking.questions(shelf, asked.number))
        if prove:
            bodies[shelf.device] = Asked(prove)
    operators = dict(so_far.registry.select("device", "operator").iter_rows())
    sizes = {
        (row[0], row[1]): row[2:] for row in holdings.select("device", "share", "size_bytes", "leaf_bytes").iter_rows()
    }
    for task in Committees(every, operators, so_far.params).tasks(asking.posed(asked.number)):
        size_bytes, leaf_bytes = sizes[task.provider, task.share]
        start = task.leaf_index * leaf_bytes
        read = LeafRead(task.share, task.leaf_index, task.provider, start, min(start + leaf_bytes, size_bytes))
        for checker in task.checkers:
            known = bodies.get(checker, Asked(()))
            bodies[checker] = Asked(known.prove, (*known.read, read))
    rows = [(device, encode_body(bodies[device])) for device in sorted(bodies)]
    return pl.DataFrame(rows, schema=CHALLENGE_SCHEMA, orient="row")


def posed_rounds(inp: EpochInput, asked: Round | None = None) -> list[Posed]:
    """Return the rounds that the carry keeps and those of the epoch up to `asked`, in order, and how they were asked."""
    kept = inp.carry.get("rounds", pl.DataFrame(schema=ROUND_SCHEMA))
    rounds = [
        Posed(
            Round(*row[:4]),
            row[4],
            row[5],
            row[6],
            frozenset(row[7] or ()),
            frozenset(row[8] or ()),
            {seat["device"]: seat["units"] for seat in row[9] or ()},
        )
        for row in kept.select(list(ROUND_SCHEMA)).iter_rows()
    ]
    suspects: frozenset[str] = frozenset()
    excluded: frozenset[str] = frozenset()
    seats: dict[str, int] = {}
    standing = inp.carry.get("reputation")
    if standing is not None and standing.height:
        odd = (pl.col("cusum") >= int(inp.params["suspect_micronats"])) | (pl.col("state") == "suspended")
        suspects = frozenset(standing.filter(odd)["device"].to_list())
        excluded = frozenset(standing.filter(pl.col("state") == "disqualified")["device"].to_list())
        seated = standing.filter((pl.col("state") == "good") & (pl.col("seat_units") > 0))
        seats = dict(seated.select("device", "seat_units").iter_rows())
    seldom, often = per_round(inp.params, often=False), per_round(inp.params, often=True)
    every = int(inp.params["check_every_rounds"])
    new = [one for one in inp.rounds if asked is None or one.number < asked.number]
    if asked is not None:
        new.append(asked)
    return [*rounds, *(Posed(one, seldom, often, every, suspects, excluded, seats) for one in new)]


def _heard(inp: EpochInput, rounds: Sequence[Posed], before: int | None) -> dict[tuple[str, int], int]:
    """Return (device, number) → position of the first answer in time, answers of earlier epochs included.

    An answer that comes too late is silence: otherwise who is asked about what he dropped would answer late.
    """
    carried = inp.carry.get("answers")
    found: dict[tuple[str, int], int] = {}
    if carried is not None:
        rows = carried.select("device", "number", "position").iter_rows()
        found = {(device, number): position for device, number, position in rows}
    table = inp.evidence.get(PROOF)
    if table is None:
        return found
    if before is not None:  # only the newest rounds matter for what is asked next, and their answers came after them
        newest = rounds[-2 - int(inp.params["reask_rounds"]) :]
        after = newest[0].asked.position if newest else 0
        table = table.filter((pl.col("position") < before) & (pl.col("position") > after))
    within_ms = int(inp.params["answer_within_s"]) * 1_000
    deadline_ms = {one.asked.number: one.asked.issued_ms + within_ms for one in rounds}
    columns = table.select("device", "received_ms", "position", pl.col("body").bin.head(HEAD_BYTES)).sort("position")
    for device, received_ms, position, head in columns.iter_rows():
        number = peek_number(head)
        if number is not None and received_ms <= deadline_ms.get(number, 0):
            found.setdefault((device, number), position)
    return found


def round_table(rounds: Sequence[Posed]) -> pl.DataFrame:
    """Return ROUND_SCHEMA."""
    rows = [
        (
            *(one.asked.number, one.asked.position, one.asked.issued_ms, one.asked.seed),
            *(one.questions, one.often_questions, one.check_every, sorted(one.suspects), sorted(one.excluded)),
            [{"device": device, "units": units} for device, units in sorted(one.seats.items())],
        )
        for one in rounds
    ]
    return pl.DataFrame(rows, schema=ROUND_SCHEMA, orient="row")
