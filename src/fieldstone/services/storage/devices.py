"""Stage 1: every device alone. Fold its leases, ask its rounds again, verify its proofs, read its vouchers.

A round is judged in the epoch in which its deadline falls. What it pays is the time from the round before it to itself,
in proportion to the questions answered rightly (2.7's three states; `pay = proposed · proven div requested`):

    proven   right > 0 and nothing wrong   →  weight = right · 10⁶ div (asked − excused)
    faulted  silent, late, or any wrong chunk  →  weight 0
    open     the deadline lies beyond the epoch's end  →  settled by the next epoch

A question about a share that its gateway released before the deadline is excused when it is not answered.
Time after the last judged round waits for the next one, so nothing is paid before it is proven.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from fieldstone.services.contract import EpochInput
from fieldstone.services.storage.answers import Answers, take_proofs
from fieldstone.services.storage.challenge import Asking, Posed
from fieldstone.services.storage.device_tables import ANSWER_SCHEMA, CHECK_SCHEMA, HELD_SCHEMA, REFUSED
from fieldstone.services.storage.directory import unreadable
from fieldstone.services.storage.egress import count_egress
from fieldstone.services.storage.holdings import FOREVER, device_keys, fold
from fieldstone.services.storage.presence import PRESENCE, Presence, from_table
from fieldstone.services.storage.provider.space.proof import read as read_space
from fieldstone.services.storage.provider.space.proof import verify_space
from fieldstone.services.storage.schema import EGRESS_CLAIM, PROOF, SPACE, UNIT_BYTE_MS
from fieldstone.services.storage.shelf import Shelf, shelves
from fieldstone.units import PPM

NO_TRUTH = bytes(32)  # the device answered, but did not prove the leaf that checkers read: nobody can have read it well


def check_devices(part: EpochInput) -> pl.DataFrame:
    """Look at each device alone. Returns CHECK_SCHEMA, one row per device of the registry, sorted by device."""
    registry = part.registry.sort("device")
    devices = registry["device"].to_list()
    held = fold(part, devices)
    asking = Asking(part)
    proofs = _by_device(part.evidence.get(PROOF))
    claims = _by_device(part.evidence.get(EGRESS_CLAIM))
    spaces = _by_device(part.evidence.get(SPACE))
    tables = dict(_by_device_table(held.holdings))
    of_shelf = {shelf.device: shelf for shelf in shelves(held.holdings)}
    earlier = _carried_answers(part)
    redeemed = _carried_egress(part)
    presences = from_table(part.carry.get(PRESENCE))
    refused = defaultdict(list)
    for gateway, provider, share, position, cause in held.refused.iter_rows():
        refused[provider].append((gateway, share, position, cause))
    keys, no_address = device_keys(part), unreadable(part)
    rows, pieces = [], []
    for device in devices:
        shelf = of_shelf.get(device) or _empty_shelf(device)
        table = tables.get(device, held.holdings.clear())
        before = presences.get(device, Presence())
        audit = _audit(part, asking, shelf, table, proofs.get(device, []), earlier.get(device, {}), before)
        stored = dict(
            table.filter(pl.col("until_ms") == FOREVER).group_by("gateway").agg(pl.col("size_bytes").sum()).iter_rows()
        )
        egress = count_egress(
            device,
            claims.get(device, []),
            redeemed.get(device, {}),
            stored,
            part.end_ms - part.start_ms,
            part.params,
            keys,
        )
        space_units, bad_space = _space(part, device, spaces.get(device, []))
        rows.append(
            {
                "device": device,
                "bad_reports": audit.bad_reports + egress.bad_reports + no_address[device],
                "bad_vouchers": egress.bad_vouchers,
                "space_units": space_units,
                "bad_space": bad_space,
                "rounds": audit.rounds,
                "failures": audit.failures,
                "truths": audit.truths,
                "read_truths": audit.read_truths,
                "answers": audit.answers,
                "egress": egress.rows,
                "refused": [dict(zip(REFUSED, row, strict=True)) for row in refused[device]],
                "heard_ms": audit.presence.heard_ms,
                "silent_ms": audit.presence.silent_ms,
            }
        )
        pieces.append(audit.table)
    schema = {name: kind for name, kind in CHECK_SCHEMA.items() if name not in ("operator", "held")}
    found = pl.DataFrame(rows, schema=schema).with_columns(operator=registry["operator"])
    long = pl.concat(pieces) if pieces else pl.DataFrame(schema=HELD_SCHEMA)
    kind = CHECK_SCHEMA["held"]
    fields = [name for name in HELD_SCHEMA if name != "device"]
    nested = long.group_by("device", maintain_order=True).agg(pl.struct(fields).alias("held"))
    joined = found.join(nested, on="device", how="left", maintain_order="left")
    empty = pl.Series([[]], dtype=kind).first()
    return joined.with_columns(pl.col("held").cast(kind).fill_null(empty)).select(list(CHECK_SCHEMA))


@dataclass
class _Audit:
    table: pl.DataFrame
    presence: Presence = field(default_factory=Presence)
    rounds: list[dict[str, Any]] = field(default_factory=list)
    failures: list[dict[str, Any]] = field(default_factory=list)
    truths: list[dict[str, Any]] = field(default_factory=list)
    read_truths: list[dict[str, Any]] = field(default_factory=list)
    answers: list[dict[str, Any]] = field(default_factory=list)
    bad_reports: int = 0


def _audit(
    part: EpochInput,
    asking: Asking,
    shelf: Shelf,
    table: pl.DataFrame,
    proofs: list[tuple[int, bytes]],
    earlier: Mapping[int, Answers],
    presence: Presence,
) -> _Audit:
    found = _Audit(table)
    within_ms = int(part.params["answer_within_s"]) * 1_000
    open_rounds = [one for one in asking.rounds if one.asked.issued_ms + within_ms > part.start_ms]
    questions: dict[int, list[tuple[int, int]]] = {}
    if shelf.shares:
        for one in open_rounds:
            asked = asking.questions(shelf, one.asked.number)
            if asked:
                questions[one.asked.number] = asked
    answers = {number: Answers() for number in questions}
    answers.update({number: known for number, known in earlier.items() if number in answers})
    found.bad_reports = take_proofs(asking, shelf, table, proofs, questions, answers, within_ms)
    judged = [one for one in open_rounds if one.asked.issued_ms + within_ms <= part.end_ms]
    proven_ms, failed_ms = table["proven_ms"].to_numpy().copy(), table["failed_ms"].to_numpy().copy()
    right_ms = proven_ms.copy()  # for pay, which the weight has already cut by what failed
    silence_mark = presence.silent_ms  # silence is no failure of a share: it is marked anew below if it lasts
    failed_ms[(failed_ms == silence_mark) & (silence_mark > 0)] = 0
    until_ms = table["until_ms"].to_numpy()
    weights: list[int] = []
    silent_ms = int(part.params["silent_s"]) * 1_000
    for one in judged:
        number, issued_ms = one.asked.number, one.asked.issued_ms
        if number not in questions:
            weights.append(0)
            continue
        row, failures = _judge(one, questions[number], answers[number], until_ms, within_ms)
        weights.append(row["weight_ppm"])
        found.rounds.append(row)
        if row["asked"]:
            presence = presence.after(issued_ms, is_heard=answers[number].heard, silent_ms=silent_ms)
        asked_in = defaultdict(list)  # leaf → places of the questions about it
        for place, question in enumerate(questions[number]):
            asked_in[shelf.leaf_at(*question)].append(place)
        read = asking.tested_before(shelf, number)
        deleted = read is not None and until_ms[read[0]] <= issued_ms + within_ms
        if answers[number].heard and read in asked_in and not answers[number].truth and not deleted:
            answers[number].truth = NO_TRUTH
        if answers[number].truth:
            found.truths.append({"number": asking.before(number), "answer": answers[number].truth})
        for share_place, leaf in asking.read_in_secret(shelf, number) if answers[number].heard else ():
            if (share_place, leaf) in asked_in:
                proven_places = [place for place in asked_in[share_place, leaf] if place in answers[number].read]
                found.read_truths.append(
                    {
                        "number": asking.before(number),
                        "share": shelf.shares[share_place],
                        "leaf_index": leaf,
                        "answer": answers[number].read[proven_places[0]] if proven_places else NO_TRUTH,
                    }
                )
        failed = {share_place for (share_place, _), _ in failures}
        for place in answers[number].right:
            share_place = questions[number][place][0]
            right_ms[share_place] = issued_ms
            if share_place not in failed:  # a chunk of a share that lost another proves no share: it is to be restored
                proven_ms[share_place] = issued_ms
        for (share_place, start), what in failures:
            failed_ms[share_place] = issued_ms
            found.failures.append({"share": shelf.shares[share_place], "start": start, "number": number, "what": what})
    before = [one.asked.issued_ms for one in asking.rounds if one.asked.issued_ms + within_ms <= part.start_ms]
    proven, due = _units(table, judged, weights, before[-1] if before else None)
    lost = failed_ms > right_ms  # a share that failed since it was last proven is not paid until it is proven again
    if presence.silent_ms:  # what was proven before the silence is paid
        failed_ms[(until_ms == FOREVER) & (failed_ms <= proven_ms)] = presence.silent_ms
    found.presence = presence
    found.table = table.with_columns(
        proven_ms=proven_ms,
        failed_ms=failed_ms,
        proven_units=(paid := np.where(lost, 0, proven)),
        paid_units=table["paid_units"].to_numpy() + paid,
        due_units=due,
    )
    keep = {one.asked.number for one in kept_rounds(asking.rounds, part)}
    numbers = {number for number in keep if asking.heard(shelf.device, number, FOREVER)} if shelf.shares else set()
    for number in sorted(numbers):
        one_answer = answers.get(number, Answers())
        found.answers.append(
            {
                "number": number,
                "position": asking.heard_at(shelf.device, number),
                "right": sorted(one_answer.right),
                "wrong": sorted(one_answer.wrong),
                "truth": one_answer.truth,
                "read_places": sorted(one_answer.read),
                "read_truths": [one_answer.read[place] for place in sorted(one_answer.read)],
            }
        )
    return found


def kept_rounds(rounds: list[Posed], inp: EpochInput) -> list[Posed]:
    """Return the rounds that the next epoch needs: open ones, the one before them, and those it may ask again."""
    within_ms = int(inp.params["answer_within_s"]) * 1_000
    is_open = [one.asked.issued_ms + within_ms > inp.end_ms for one in rounds]
    first = is_open.index(True) if True in is_open else len(rounds)
    return rounds[max(0, first - max(1, int(inp.params["reask_rounds"]))) :]


def _judge(
    one: Posed, asked: list[tuple[int, int]], answer: Answers, until_ms: NDArray[np.int64], within_ms: int
) -> tuple[dict[str, Any], list[tuple[tuple[int, int], str]]]:
    deadline_ms = one.asked.issued_ms + within_ms
    unanswered = [place for place in range(len(asked)) if place not in answer.right and place not in answer.wrong]
    missing = [place for place in unanswered if until_ms[asked[place][0]] > deadline_ms]
    count = len(asked) - (len(unanswered) - len(missing))
    right, wrong = len(answer.right), len(answer.wrong)
    if count == 0:
        state, weight = "proven", PPM  # everything asked was released meanwhile: nothing is left to doubt
    elif wrong:
        state, weight = "wrong", 0
    elif not answer.heard:
        state, weight = ("late" if answer.late_ms else "silent"), 0
    else:
        state, weight = ("proven" if right else "empty"), right * PPM // count
    failures = [(asked[place], "wrong") for place in sorted(answer.wrong)]
    if answer.heard:
        failures += [(asked[place], "missing") for place in missing]
    row = {
        "number": one.asked.number,
        "issued_ms": one.asked.issued_ms,
        "asked": count,
        "right": right,
        "wrong": wrong,
        "missing": len(missing),
        "late_ms": answer.late_ms,
        "state": state,
        "weight_ppm": weight,
    }
    return row, failures


def _units(
    table: pl.DataFrame, judged: list[Posed], weights: list[int], before_ms: int | None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return proven and due KiB-seconds per share: bytes · Σ weight · time of the judged rounds' spans it was leased in.

    A share's floor loses less than one unit an epoch. All steps are integers: span ≤ 1.8 · 10¹² ms · 10⁶ ppm < 2⁶³.
    """
    nothing = np.zeros(table.height, dtype=np.int64)
    if not judged or not table.height:
        return nothing, nothing
    low, high = table["from_ms"].to_numpy(), table["until_ms"].to_numpy()
    size = table["size_bytes"].to_numpy()
    start = int(low.min()) if before_ms is None else before_ms
    edges = np.array([start, *(one.asked.issued_ms for one in judged)], dtype=np.int64)
    edges = np.maximum.accumulate(edges)
    spans, factors = np.diff(edges), np.array(weights, dtype=np.int64)
    sums = np.concatenate(([0], np.cumsum(spans * factors)))
    first, last = np.clip(low, edges[0], edges[-1]), np.clip(high, edges[0], edges[-1])

    def until(moment: NDArray[np.int64]) -> NDArray[np.int64]:
        place = np.clip(np.searchsorted(edges, moment, side="right") - 1, 0, len(spans) - 1)
        result: NDArray[np.int64] = sums[place] + (moment - edges[place]) * factors[place]
        return result

    time_ms = np.maximum(last - first, 0)
    proven_ms = np.maximum(until(last) - until(first), 0) // PPM
    return _scaled(size, proven_ms), _scaled(size, time_ms)


def _scaled(size: NDArray[np.int64], time_ms: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return size · time in units. Exact: the product of the remainders stays below 2⁶³ for shares up to 4 GiB."""
    whole, rest = np.divmod(size * (time_ms // 1_000_000), 1_024)
    units: NDArray[np.int64] = whole * 1_000 + (rest * 1_000_000 + size * (time_ms % 1_000_000)) // UNIT_BYTE_MS
    return units


def _space(part: EpochInput, device: str, documents: list[tuple[int, bytes]]) -> tuple[int, int]:
    """Return KiB-seconds of proven empty capacity and how many claims or proofs did not verify.

    Every `space_every_rounds`-th round of the epoch counts, for the time of so many rounds; its first readable claim in
    time is checked, up to `space_most_proofs` proofs (3 ms each).
    """
    within_ms = int(part.params["answer_within_s"]) * 1_000
    every = int(part.params["space_every_rounds"])
    counted = {one.number: one for one in part.rounds if one.number % every == 0}
    units = bad = 0
    for received_ms, body in documents:
        try:
            claim = read_space(body)
        except msgspec.DecodeError:
            bad += 1
            continue
        asked = counted.get(claim.number)
        if asked is None or received_ms > asked.issued_ms + within_ms:
            continue
        del counted[claim.number]
        found = verify_space(device, claim, asked.number, asked.seed, most_proofs=int(part.params["space_most_proofs"]))
        bad += found.wrong
        units += found.proven_bytes // 1_024 * every * int(part.params["round_s"])
    return units, bad


def _empty_shelf(device: str) -> Shelf:
    none = np.zeros(0, dtype=np.int64)
    return Shelf(device, [], none, none, none, none, [])


def _by_device(table: pl.DataFrame | None) -> dict[str, list[tuple[int, bytes]]]:
    found: dict[str, list[tuple[int, bytes]]] = defaultdict(list)
    if table is not None:
        for device, received_ms, body in table.sort("position").select("device", "received_ms", "body").iter_rows():
            found[device].append((received_ms, body))
    return found


def _by_device_table(holdings: pl.DataFrame) -> Iterator[tuple[str, pl.DataFrame]]:
    for (device,), table in holdings.group_by(["device"], maintain_order=True):
        yield str(device), table


def _carried_answers(part: EpochInput) -> dict[str, dict[int, Answers]]:
    found: dict[str, dict[int, Answers]] = defaultdict(dict)
    if "answers" in part.carry:
        rows = part.carry["answers"].select(list(ANSWER_SCHEMA)).iter_rows()
        for device, number, _, right, wrong, truth, places, truths in rows:
            read = dict(zip(places, truths, strict=True))
            found[device][number] = Answers(set(right), set(wrong), True, truth=truth, read=read)
    return found


def _carried_egress(part: EpochInput) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = defaultdict(dict)
    if "egress" in part.carry:
        for device, gateway, redeemed in part.carry["egress"].select("device", "gateway", "redeemed_bytes").iter_rows():
            found[device][gateway] = redeemed
    return found
