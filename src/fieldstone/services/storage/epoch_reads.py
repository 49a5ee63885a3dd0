"""An epoch's test reads, decided: those of committees (`retrieval`) and those that gateways made in secret (`secret_reads`)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl

from fieldstone.services.contract import EpochInput
from fieldstone.services.storage.challenge import Posed, posed_rounds
from fieldstone.services.storage.device_tables import unnest
from fieldstone.services.storage.devices import kept_rounds
from fieldstone.services.storage.holdings import FOREVER, HOLDING_SCHEMA
from fieldstone.services.storage.reputation import Standing
from fieldstone.services.storage.retrieval import Committees, Finding, decide, reports
from fieldstone.services.storage.secret_reads import ReadRound, chain_table, judge, paid_shares, revealed
from fieldstone.services.storage.shelf import shelves
from fieldstone.units import PPM

__all__ = ["InSecret", "Reads", "read_checks", "with_reads"]


@dataclass
class Reads:
    """An epoch's decided test reads, by the device that was read and by the checker."""

    good: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    bad: dict[str, list[Finding]] = field(default_factory=lambda: defaultdict(list))
    agreed: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    dissented: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    silent: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    withheld: dict[str, int] = field(default_factory=lambda: defaultdict(int))  # of secret reads; also in `silent`
    unasked: dict[str, int] = field(default_factory=dict)
    bad_reports: dict[str, int] = field(default_factory=dict)
    read_ms: dict[tuple[str, bytes], int] = field(default_factory=dict)
    open_reports: pl.DataFrame = field(default_factory=pl.DataFrame)
    # what gateways read in secret: device → (share of good reads, None while too few read; reads; operators)
    in_secret: dict[str, InSecret] = field(default_factory=dict)
    secret_reports: pl.DataFrame = field(default_factory=pl.DataFrame)
    chains: pl.DataFrame = field(default_factory=pl.DataFrame)


@dataclass(frozen=True, slots=True)
class InSecret:
    """Secret reads from one provider. `good_ppm`: the median over operators, None while too few read."""

    good_ppm: int | None
    good: int
    bad: int
    operators: int

    @property
    def counted(self) -> tuple[int, int]:
        """Good and bad reads as the median says, none while it says nothing."""
        if self.good_ppm is None:
            return 0, 0
        total = self.good + self.bad
        bad = total * (PPM - self.good_ppm) // PPM
        return total - bad, bad


def read_checks(
    whole: EpochInput,
    checks: pl.DataFrame,
    held: pl.DataFrame,
    operators: Mapping[str, str],
    before: Mapping[str, Standing],
) -> Reads:
    """Decide the test reads of the rounds whose next round was judged in this epoch: it proves what was read."""
    found = Reads()
    within_ms = int(whole.params["check_within_s"]) * 1_000
    read, found.bad_reports = reports(whole)
    rounds = posed_rounds(whole)
    deadline_ms = {one.asked.number: one.asked.issued_ms + within_ms for one in rounds}
    answered_ms = [one.asked.issued_ms + int(whole.params["answer_within_s"]) * 1_000 for one in rounds[1:]]
    judged = [one for one, moment in zip(rounds, answered_ms, strict=False) if whole.start_ms < moment <= whole.end_ms]
    numbers = [one.asked.number for one in judged]
    open_numbers = [
        one.asked.number for one, moment in zip(rounds, [*answered_ms, FOREVER], strict=False) if moment > whole.end_ms
    ]
    found.open_reports = read.filter(pl.col("number").is_in(open_numbers))
    _read_in_secret(whole, checks, held, operators, before, found, rounds, judged, set(open_numbers))
    read = read.filter(~pl.col("in_secret"))
    read = read.filter(pl.col("number").is_in(numbers))
    committees = Committees(list(shelves(held.select(list(HOLDING_SCHEMA)))), operators, whole.params)
    tasks = [task for one in judged for task in committees.tasks(one)]
    weights = {device: one.checker.ppm for device, one in before.items()}
    proven = unnest(checks, "truths") if checks.height and checks["truths"].list.len().sum() else None
    truths = {} if proven is None else {(device, number): answer for device, number, answer in proven.iter_rows()}
    deadlines = {number: deadline_ms[number] for number in numbers}
    findings, unasked = decide(tasks, read, deadlines, weights, whole.params, truths)
    for checker, count in unasked.items():
        found.unasked[checker] = found.unasked.get(checker, 0) + count
    issued_ms = {one.asked.number: one.asked.issued_ms for one in judged}
    ended = held.filter(pl.col("until_ms") != FOREVER).select("device", "share", "until_ms").iter_rows()
    until_ms = {(device, share): moment for device, share, moment in ended}
    for one in findings:
        provider = one.task.provider
        for checker in one.silent:
            found.silent[checker] += 1
        given_up_ms = until_ms.get((provider, one.task.share), FOREVER)
        if one.good is None or (not one.good and given_up_ms <= deadlines[one.task.number]):
            continue  # nobody need serve what its gateway gave up before the reads were over
        if one.good:
            found.good[provider] += 1
            found.read_ms[provider, one.task.share] = issued_ms[one.task.number]
        else:
            found.bad[provider].append(one)
        for checker in one.agree:
            found.agreed[checker] += 1
        for checker in one.dissent:
            found.dissented[checker] += 1
    return found


def _read_in_secret(
    whole: EpochInput,
    checks: pl.DataFrame,
    held: pl.DataFrame,
    operators: Mapping[str, str],
    before: Mapping[str, Standing],
    found: Reads,
    rounds: list[Posed],
    judged: list[Posed],
    still_open: set[int],
) -> None:
    """Judge what gateways read in secret, into `found`."""
    within_ms = int(whole.params["check_within_s"]) * 1_000
    due_ms = {one.asked.number: one.asked.issued_ms + within_ms for one in rounds}
    lines, chains = revealed(
        whole, {one.asked.number: (one.asked.position, due_ms[one.asked.number]) for one in rounds}
    )
    found.secret_reports = lines.filter(pl.col("number").is_in(sorted(still_open)))
    kept = kept_rounds(rounds, whole)
    found.chains = chain_table(chains, kept[0].asked.position if kept else 0)
    wallets = {device: operator.lower() for device, operator in operators.items()}
    pairs = [
        one
        for one in paid_shares(held, [name for name in chains if name in wallets], wallets)
        if wallets[one.gateway] != wallets[one.provider]
    ]
    if not pairs:
        return
    proven = unnest(checks, "read_truths") if checks["read_truths"].list.len().sum() else None
    truths = {} if proven is None else {tuple(row[:4]): row[4] for row in proven.iter_rows()}
    asked = [
        ReadRound(
            one.asked.number,
            one.asked.position,
            one.asked.seed,
            one.asked.issued_ms,
            due_ms[one.asked.number],
            one.excluded,
        )
        for one in judged
    ]
    judgement = judge(asked, pairs, lines, chains, truths, whole.params)
    for counted, into in ((judgement.silent, found.silent), (judgement.unasked, found.unasked)):
        for gateway, count in counted.items():
            if count:
                into[gateway] = into.get(gateway, 0) + count
    for gateway, count in judgement.silent.items():
        found.withheld[gateway] += count  # who keeps results back weighs less, whatever they were
    sums = held.group_by("gateway", "device").agg(pl.col("proven_units").sum())
    units = {(gateway, device): total for gateway, device, total in sums.iter_rows()}
    payers: dict[str, list[str]] = defaultdict(list)
    for one in pairs:
        payers[one.provider].append(one.gateway)
    quorum = int(whole.params["secret_quorum"])
    for device, by_gateway in sorted(judgement.reads.items()):
        weights = {
            gateway: units[gateway, device] * (before[gateway].checker.ppm if gateway in before else PPM) // PPM
            for gateway in payers[device]
        }
        good, bad = (sum(counts[place] for counts in by_gateway.values()) for place in (0, 1))
        decided = judgement.good_ppm(device, wallets, weights, quorum)
        found.in_secret[device] = InSecret(
            None if decided is None else decided[0], good, bad, len({wallets[gateway] for gateway in by_gateway})
        )
        if decided is None:
            continue
        for gateway, own_ppm in decided[1].items():
            said = sum(by_gateway[gateway])
            (found.dissented if 2 * abs(own_ppm - decided[0]) > PPM else found.agreed)[gateway] += said


def with_reads(held: pl.DataFrame, reads: Reads) -> pl.DataFrame:
    rows = [(device, share, moment) for (device, share), moment in reads.read_ms.items()]
    new = pl.DataFrame(rows, schema={"device": pl.String(), "share": pl.Binary(), "now_ms": pl.Int64()}, orient="row")
    joined = held.join(new, on=["device", "share"], how="left", maintain_order="left")
    return joined.with_columns(read_ms=pl.coalesce("now_ms", "read_ms")).drop("now_ms")
