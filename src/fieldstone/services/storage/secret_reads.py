"""Secret test reads: gateways test what they pay for, in reads that nobody can tell from paid ones, and cannot choose which.

A gateway commits to a hash chain in a signed `chain` report before the rounds it is for: link_i = BLAKE3(context ‖
link_{i+1}), the tip is link_0, and link_{R − first + 1} is the secret s of round R. With the round's public seed r

    a provider d is read from   when   draw(s ‖ r, d) mod `secret_every_rounds` = 0
    of a class of its shares           one class by age or by size, drawn from s, r and d (`secret_draw`)
    a share x in it is read     when   word(s, r, d, x) mod n = 0      n: the shares in the class, up to a power of 2
    which leaves                       two, by further words

The gateway cannot choose: it was bound before r was known. The provider cannot predict: s is unknown until the report,
which comes after the reads. What decides about one share depends on that share alone (n changes rarely), so a gateway
that sees a lease an instant earlier than the network draws the same.

The report reveals s; verification works the assignment out again. A line that was not drawn is `unasked`; one that was
drawn and is missing is void and counts against the gateway's weight, or results could be chosen by keeping silent. A share
whose lease had ended when it was read (the network had the gateway's release, or the provider shows its order to delete)
need not be served: such a line is void, whatever it says. A release that comes after the read excuses nobody: who refuses
has what he holds made anew elsewhere and released soon after. Of
the leaves reported as read, up to `secret_proven_per_round` drawn by the *next* seed must be proven in the next round.

A gateway pays the provider, so its word about it counts with others' only: the share of good reads of a provider is the
median over the operators of gateways, weighted by the KiB-seconds that were proven for them in the epoch (a lease alone
costs nothing) and by their weight as checkers. It counts from `secret_quorum` operators on that have half of the weight of
all who might have been drawn. Who deviates by more than half from the median dissents.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fieldstone.errors import Rejected
from fieldstone.services.contract import EpochInput
from fieldstone.services.storage import records
from fieldstone.services.storage.schema import CHAIN, CHECK
from fieldstone.services.storage.secret_draw import link_before, pair_is_drawn, reads_drawn
from fieldstone.units import PPM

__all__ = [
    "CHAINS",
    "SECRET_READS",
    "SECRET_READ_SCHEMA",
    "Judgement",
    "Paid",
    "ReadRound",
    "chain_table",
    "judge",
    "paid_shares",
    "revealed",
]

CHAINS, SECRET_READS = "chains", "secret_reads"  # tables that are carried
_MOST_BAD_REVEALS = 2  # of a gateway about a round: each may cost 65,536 hashes

CHAIN_SCHEMA: dict[str, pl.DataType] = {
    "gateway": pl.String(),
    "position": pl.Int64(),
    "tip": pl.Binary(),
    "first": pl.Int64(),
    "length": pl.Int64(),
    "known": pl.Int64(),  # newest link that was revealed, and its value; 0: the tip
    "link": pl.Binary(),
}
SECRET_READ_SCHEMA: dict[str, pl.DataType] = {
    "gateway": pl.String(),
    "number": pl.Int64(),
    "secret": pl.Binary(),
    "provider": pl.String(),  # empty, with the columns behind it: a reveal without a line
    "share": pl.Binary(),
    "leaf_index": pl.Int64(),
    "outcome": pl.String(),
    "total_ms": pl.Int64(),
    "answer": pl.Binary(),
    "at_ms": pl.Int64(),  # when it was read, in the gateway's words
    "position": pl.Int64(),
}


@dataclass(slots=True)
class _Chain:
    position: int
    tip: bytes
    first: int
    length: int
    known: int = 0
    link: bytes = b""

    def takes(self, number: int, secret: bytes) -> bool:
        """Check a reveal against the chain, and remember it."""
        index = number - self.first + 1
        if not 1 <= index <= self.length or len(secret) != 32:
            return False
        if index <= self.known:  # an earlier link follows from a later one: no walk from the tip at every report
            return _walked(self.link, self.known - index) == secret
        if _walked(secret, index - self.known) != (self.link if self.known else self.tip):
            return False
        self.known, self.link = index, secret
        return True


def _walked(link: bytes, steps: int) -> bytes:
    for _ in range(steps):
        link = link_before(link)
    return link


def _chains(inp: EpochInput) -> dict[str, list[_Chain]]:
    """Return the chains of each gateway in the order of their commitment; a gateway changes its chain by a new one."""
    found: dict[str, list[_Chain]] = defaultdict(list)
    carried = inp.carry.get(CHAINS)
    if carried is not None:
        for gateway, *row in carried.select(list(CHAIN_SCHEMA)).sort("gateway", "position").iter_rows():
            found[gateway].append(_Chain(*row))
    table = inp.evidence.get(CHAIN)
    told = () if table is None else table.sort("position").select("device", "position", "body").iter_rows()
    for gateway, position, body in told:
        try:
            one = records.decode(body, records.ReaderChain)
        except Rejected:
            continue
        found[gateway].append(_Chain(position, one.tip, one.first, one.length))
    return found


def _in_force(chains: Sequence[_Chain], position: int) -> _Chain | None:
    """Return the newest chain that was committed to before a round was asked."""
    return next((one for one in reversed(chains) if one.position < position), None)


def revealed(inp: EpochInput, rounds: Mapping[int, tuple[int, int]]) -> tuple[pl.DataFrame, dict[str, list[_Chain]]]:
    """Return SECRET_READ_SCHEMA of the carry and of the epoch's reports whose secret is right, in order; and the chains.

    `rounds`: number → (position, last moment at which a report is received in time). Later reports are left out: the
    secret is no secret any more. So are those before the round was asked. What counts about a round depends on reports
    about that round alone: who asks the next round knows one, who judges it knows many, and both must find the same.
    """
    chains = _chains(inp)
    carried = inp.carry.get(SECRET_READS, pl.DataFrame(schema=SECRET_READ_SCHEMA)).select(list(SECRET_READ_SCHEMA))
    table = inp.evidence.get(CHECK)
    if table is None or not rounds:
        return carried, chains
    table = table.filter(pl.col("position") > min(position for position, _ in rounds.values()))
    rows: list[tuple[object, ...]] = []
    bad: dict[tuple[str, int], int] = defaultdict(int)
    columns = table.sort("position").select("device", "received_ms", "position", "body")
    for gateway, received_ms, position, body in columns.iter_rows():
        if gateway not in chains:
            continue
        try:
            one = records.decode(body, records.CheckSet)
        except Rejected:
            continue
        asked = rounds.get(one.number)
        if not one.secret or asked is None or position < asked[0] or received_ms > asked[1]:
            continue
        if bad[gateway, one.number] >= _MOST_BAD_REVEALS:
            continue
        chain = _in_force(chains[gateway], asked[0])
        if chain is None or not chain.takes(one.number, one.secret):
            bad[gateway, one.number] += 1
            continue
        head = (gateway, one.number, one.secret)
        rows.append((*head, "", b"", 0, "", 0, b"", 0, position))
        rows += [
            (*head, c.provider, c.share, c.leaf_index, c.outcome, c.total_ms, c.answer, c.at_ms, position)
            for c in one.checks
        ]
    new = pl.DataFrame(rows, schema=SECRET_READ_SCHEMA, orient="row")
    return pl.concat([carried, new]), chains


def chain_table(chains: Mapping[str, Sequence[_Chain]], first_position: int) -> pl.DataFrame:
    """Return CHAIN_SCHEMA: the chains in force from `first_position` on."""
    rows = []
    for gateway in sorted(chains):
        mine = chains[gateway]
        keep = [n for n, _ in enumerate(mine) if n + 1 == len(mine) or mine[n + 1].position >= first_position]
        rows += [
            (gateway, one.position, one.tip, one.first, one.length, one.known, one.link)
            for one in (mine[n] for n in keep)
        ]
    return pl.DataFrame(rows, schema=CHAIN_SCHEMA, orient="row")


@dataclass
class Judgement:
    """What gateways' secret reads of an epoch say. `reads`: device → gateway → [good, bad]; the counts are by gateway."""

    reads: dict[str, dict[str, list[int]]] = field(default_factory=lambda: defaultdict(dict))
    silent: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    unasked: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def good_ppm(
        self, device: str, operators: Mapping[str, str], weights: Mapping[str, int], quorum: int
    ) -> tuple[int, dict[str, int]] | None:
        """Return a provider's share of good reads as the weighted median over operators, and each gateway's own share.

        `weights`: gateway → what its word about this provider weighs, also of those that had nothing to read. None when
        fewer than `quorum` operators read, or those who did weigh less than the others: wallets cost nothing, and who
        has many would be alone in the epochs in which those who pay were not drawn.
        """
        if 2 * sum(weights.get(gateway, 0) for gateway in self.reads.get(device, {})) < sum(weights.values()):
            return None
        by_operator: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
        own = {}
        for gateway, (good, bad) in self.reads.get(device, {}).items():
            own[gateway] = good * PPM // (good + bad)
            total = by_operator[operators[gateway]]
            total[0], total[1], total[2] = total[0] + good, total[1] + bad, total[2] + weights.get(gateway, 0)
        said = sorted((good * PPM // (good + bad), weight) for good, bad, weight in by_operator.values() if weight > 0)
        if len(said) < max(2, quorum):
            return None
        half, seen = sum(weight for _, weight in said), 0
        for share, weight in said:  # of two middles the better one: in doubt for the accused
            seen += 2 * weight
            if seen > half:
                return share, own
        return said[-1][0], own


@dataclass(frozen=True, slots=True)
class Paid:
    """All shares that a gateway pays a provider for, as arrays; `until_*`: of the release."""

    gateway: str
    provider: str
    shares: list[bytes]
    sizes: NDArray[np.int64]
    leaf_bytes: NDArray[np.int64]
    from_ms: NDArray[np.int64]
    from_position: NDArray[np.int64]
    until_position: NDArray[np.int64]
    until_ms: NDArray[np.int64]


def paid_shares(held: pl.DataFrame, gateways: Collection[str], devices: Collection[str]) -> list[Paid]:
    """Cut holdings by gateway and provider. Only those of `gateways` (with chains) and `devices` (enrolled)."""
    mine = held.filter(pl.col("gateway").is_in(sorted(gateways)) & pl.col("device").is_in(sorted(devices)))
    found = []
    for (gateway, device), part in mine.sort("gateway", "device", "share").group_by(
        ["gateway", "device"], maintain_order=True
    ):
        columns = (part[name].to_numpy() for name in _PAID)
        found.append(Paid(str(gateway), str(device), part["share"].to_list(), *columns))
    return found


_PAID = ("size_bytes", "leaf_bytes", "from_ms", "from_position", "until_position", "until_ms")


@dataclass(frozen=True, slots=True)
class ReadRound:
    """A round whose secret reads are judged. `due_ms`: last moment for reports; `excluded`: asked nothing."""

    number: int
    position: int
    seed: bytes
    issued_ms: int
    due_ms: int
    excluded: frozenset[str]


def judge(
    rounds: Iterable[ReadRound],
    pairs: Sequence[Paid],
    lines: pl.DataFrame,
    chains: Mapping[str, Sequence[_Chain]],
    truths: Mapping[tuple[str, int, bytes, int], bytes],
    params: Mapping[str, Any],
) -> Judgement:
    """Judge the secret reads of rounds. `pairs`: who pays whom for what, an operator's own providers left out.

    `truths`: (provider, round read, share, leaf) → the leaf's hash as the provider proved it, where that was asked.
    """
    found = Judgement()
    secrets: dict[tuple[str, int], bytes] = {}
    said: dict[tuple[str, int], dict[tuple[str, bytes, int], tuple[str, int, bytes, int]]] = defaultdict(dict)
    for gateway, number, secret, provider, share, leaf, outcome, total_ms, answer, at_ms, _ in lines.iter_rows():
        secrets[gateway, number] = secret
        if provider:
            said[gateway, number].setdefault((provider, share, leaf), (outcome, total_ms, answer, at_ms))
    every, slow_ms = int(params["secret_every_rounds"]), int(params["slow_ms"])
    for asked in rounds:
        number = asked.number
        expected: dict[str, set[tuple[str, bytes, int]]] = defaultdict(set)
        void: dict[str, set[tuple[str, bytes, int]]] = defaultdict(set)
        mute: set[str] = set()
        readers: set[str] = set()
        for one in pairs:
            if one.provider in asked.excluded or _in_force(chains.get(one.gateway, ()), asked.position) is None:
                continue
            held = np.flatnonzero((one.from_position < asked.position) & (one.until_position > asked.position))
            if not held.size:
                continue
            secret = secrets.get((one.gateway, number))
            (mute if secret is None else readers).add(one.gateway)
            if secret is None or not pair_is_drawn(secret, asked.seed, one.provider, every):
                continue
            mine = said.get((one.gateway, number), {})
            names = [one.shares[row] for row in held.tolist()]
            columns = one.sizes[held], one.leaf_bytes[held], one.from_ms[held]
            for place, leaf in reads_drawn(secret, asked.seed, one.provider, asked.issued_ms, names, *columns):
                key = one.provider, names[place], leaf
                # without a line the whole time counts; with one the moment of the read
                at_ms = mine[key][3] if key in mine else asked.due_ms
                kept = one.until_ms[held[place]] > min(max(at_ms, asked.issued_ms), asked.due_ms)
                (expected if kept else void)[one.gateway].add(key)
        for gateway in mute:
            found.silent[gateway] += 1
        for gateway in readers:
            mine = said.get((gateway, number), {})
            found.silent[gateway] += len(expected[gateway] - mine.keys())
            found.unasked[gateway] += len(mine.keys() - expected[gateway] - void[gateway])
            for key in expected[gateway] & mine.keys():
                provider, share, leaf = key
                outcome, total_ms, answer, _ = mine[key]
                truth = truths.get((provider, number, share, leaf), answer)
                is_good = outcome == "ok" and total_ms <= slow_ms and truth == answer
                found.reads[provider].setdefault(gateway, [0, 0])[0 if is_good else 1] += 1
    return found
