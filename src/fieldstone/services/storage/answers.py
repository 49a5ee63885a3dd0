"""What a device answered to the questions of rounds: its proofs, verified together, and what they say about what was read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from fieldstone.errors import Rejected
from fieldstone.services.storage.challenge import Asking
from fieldstone.services.storage.codes.chunk_opening import Claim, verify_all
from fieldstone.services.storage.proofs import peek_number, read
from fieldstone.services.storage.shelf import Shelf

__all__ = ["Answers", "take_proofs"]

Questions = Mapping[int, Sequence[tuple[int, int]]]  # round → (place on the shelf, first byte of a chunk)


@dataclass
class Answers:
    """Outcomes of one round's questions, by their place in the list; the first answer to a question counts.

    `truth`: hash of the leaf that checkers read in the round before, as proven here; empty: none.
    """

    right: set[int] = field(default_factory=set)
    wrong: set[int] = field(default_factory=set)
    heard: bool = False
    late_ms: int = 0
    truth: bytes = b""
    read: dict[int, bytes] = field(default_factory=dict)  # place → hash, of leaves that gateways read in secret


def take_proofs(
    asking: Asking,
    shelf: Shelf,
    table: pl.DataFrame,
    proofs: Sequence[tuple[int, bytes]],
    questions: Questions,
    answers: Mapping[int, Answers],
    within_ms: int,
) -> int:
    """Verify a device's proof reports (received, body) into `answers`. Return how many were no answer to any round.

    `table`: the device's HOLDING_SCHEMA in the order of the shelf.
    """
    bad = 0
    places = {
        number: {(shelf.shares[row], start): place for place, (row, start) in enumerate(asked)}
        for number, asked in questions.items()
    }
    sizes, leaf_sizes, roots = (table[name].to_list() for name in ("size_bytes", "leaf_bytes", "root"))
    claims: dict[tuple[int, int], Claim] = {}  # by round and place
    for received_ms, body in proofs:
        try:
            answer = read(body)
        except Rejected:
            bad += 1
            number = peek_number(body)  # an answer that nobody can read leaves every question out; it is no silence
            if (
                number is not None
                and number in questions
                and received_ms <= asking.posed(number).asked.issued_ms + within_ms
            ):
                answers[number].heard = True
            continue
        if answer.number not in questions:
            bad += not asking.knows(answer.number)
            continue
        state = answers[answer.number]
        deadline_ms = asking.posed(answer.number).asked.issued_ms + within_ms
        if received_ms > deadline_ms:
            state.late_ms = state.late_ms or received_ms - deadline_ms
            continue
        state.heard = True
        asked, place_of = questions[answer.number], places[answer.number]
        for proof in answer.proofs:
            place = place_of.get((proof.share, proof.start))
            if place is None or place in state.right or place in state.wrong or (answer.number, place) in claims:
                continue
            row = asked[place][0]
            claims[answer.number, place] = Claim(
                roots[row], sizes[row], leaf_sizes[row], proof.start, proof.chunk, proof.siblings
            )
    tested = {number: asking.tested_before(shelf, number) for number in {number for number, _ in claims}}
    in_secret = {number: set(asking.read_in_secret(shelf, number)) for number in tested}
    for (number, place), leaf_hash in zip(claims, verify_all(list(claims.values())), strict=True):
        state = answers[number]
        if leaf_hash is None:
            state.wrong.add(place)
            continue
        state.right.add(place)
        leaf = shelf.leaf_at(*questions[number][place])
        if leaf == tested[number]:
            state.truth = leaf_hash
        if leaf in in_secret[number]:
            state.read[place] = leaf_hash
    return bad
