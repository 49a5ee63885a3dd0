"""Standing of a device: three decaying Beta scores, a sequential test, and suspension before disqualification.

Scores (Storj's rule): on n good events α' = λⁿα + (1−λⁿ)/(1−λ), β' = λⁿβ; mirrored for bad ones; score = α/(α+β).
    audit         per question of an answered round: right against wrong or missing
    availability  per round: answered in time against silent or late
    retrieval     per test read that a committee decided
Everything is an integer: α and β in millionths, λⁿ as floor(λⁿ · 10¹²). Events of a round are taken good ones first.

Sequential test (Page's CUSUM, reference 2.5): S = max(0, S + x), x = ln(0.05/0.001) for a failed question and
ln(0.95/0.999) for a right one; alarm at ln(10⁷). It finds 5 % loss in about 113 questions, 10 to 14 times sooner than
the score, and sounds falsely at most once in 10⁷ questions of a device that lost 0.1 %.

Standing: good → suspended (alarm, or a score below its threshold) → good again after `recover_questions` right answers
in a row with every score above its threshold, or disqualified when `appeal_s` have passed without that. Every failed
question is in the verdict's detail with its share from the first one on, long before anything is taken.

Availability and retrieval fade slowly: who comes back after six days away could not be above the threshold in time,
whatever he does. So he who did nothing wrong for `recover_s` (no failed question, no missed round, no bad read, and
`recover_reads` good ones if it was reads he failed) is good again with the score *at* the threshold: the next failure
suspends him again. The audit score needs no such help, suspended devices are asked ten times as much.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import polars as pl

from fieldstone.units import PPM

__all__ = ["REPUTATION_SCHEMA", "Score", "Standing", "from_table", "starting", "to_table", "with_seats"]

MICRO = 1_000_000
_FIXED = 10**12

GOOD, SUSPENDED, DISQUALIFIED = "good", "suspended", "disqualified"

REPUTATION_SCHEMA: dict[str, pl.DataType] = {
    "device": pl.String(),
    "audit_alpha": pl.Int64(),  # millionths
    "audit_beta": pl.Int64(),
    "online_alpha": pl.Int64(),
    "online_beta": pl.Int64(),
    "read_alpha": pl.Int64(),
    "read_beta": pl.Int64(),
    "checker_alpha": pl.Int64(),
    "checker_beta": pl.Int64(),
    "cusum": pl.Int64(),  # 10⁻⁶ nat
    "state": pl.String(),
    "since_ms": pl.Int64(),  # when the state began; 0: from the start
    "causes": pl.List(pl.String()),
    "clean": pl.Int64(),  # right answers in a row since the last failure
    "at_risk_bytes": pl.Int64(),  # held when the suspension began (`faults`); 0 while it is good
    "fault_ms": pl.Int64(),  # newest failed question, missed round or bad read
    "clean_reads": pl.Int64(),  # good test reads since the last bad one
    "seat_units": pl.Int64(),  # MiB-seconds proven for customers in the epoch: its weight in the draw of checkers
}


@dataclass(frozen=True, slots=True)
class Score:
    """A decaying Beta score. `alpha`, `beta`: events in millionths."""

    alpha: int
    beta: int

    @property
    def ppm(self) -> int:
        """α/(α+β) in parts per million, floored."""
        return self.alpha * PPM // (self.alpha + self.beta)

    def after(self, good: int, bad: int, decay_ppm: int) -> Score:
        """Return the score after `good` good events and then `bad` bad ones. `decay_ppm`: λ."""
        alpha, beta = _step(self.alpha, self.beta, good, decay_ppm)
        beta, alpha = _step(beta, alpha, bad, decay_ppm)
        return Score(alpha, beta)

    def at_least(self, ppm: int) -> Score:
        """Return the score, raised to `ppm` if it is below, with as many events."""
        total = self.alpha + self.beta
        alpha = max(self.alpha, -(-total * ppm // PPM))
        return Score(alpha, total - alpha)


def _step(grows: int, fades: int, count: int, decay_ppm: int) -> tuple[int, int]:
    if not count:
        return grows, fades
    kept = _power(decay_ppm, count)
    gained = count * MICRO * _FIXED if decay_ppm == PPM else MICRO * (_FIXED - kept) * PPM // (PPM - decay_ppm)
    return (grows * kept + gained) // _FIXED, fades * kept // _FIXED


@lru_cache(maxsize=8_192)
def _power(decay_ppm: int, count: int) -> int:
    return int(decay_ppm**count * _FIXED // PPM**count)


@dataclass(frozen=True, slots=True)
class Standing:
    """What is remembered of a device from epoch to epoch; see REPUTATION_SCHEMA."""

    device: str
    audit: Score
    online: Score
    read: Score
    checker: Score
    cusum: int = 0
    state: str = GOOD
    since_ms: int = 0
    causes: tuple[str, ...] = ()
    clean: int = 0
    at_risk_bytes: int = 0
    fault_ms: int = 0
    clean_reads: int = 0
    seat_units: int = 0

    def after_round(self, row: Mapping[str, Any], params: Mapping[str, Any]) -> Standing:
        """Return the standing after one judged round (`devices` stage 1's struct `rounds`)."""
        if self.state == DISQUALIFIED or not row["asked"]:
            return self
        answered = row["state"] not in ("silent", "late")
        online = self.online.after(int(answered), int(not answered), int(params["online_decay_ppm"]))
        if not answered:
            new = replace(self, online=online, fault_ms=row["issued_ms"])
            return self._judged(new, row["issued_ms"], params, alarm=False)
        right, failed = row["right"], row["wrong"] + row["missing"]
        audit = self.audit.after(right, failed, int(params["audit_decay_ppm"]))
        cusum = max(0, self.cusum - right * int(params["cusum_right_micronats"]))
        cusum += failed * int(params["cusum_wrong_micronats"])
        alarm = cusum >= int(params["cusum_alarm_micronats"])
        new = replace(
            self,
            online=online,
            audit=audit,
            cusum=0 if alarm else cusum,
            clean=0 if failed else self.clean + right,
            fault_ms=row["issued_ms"] if failed else self.fault_ms,
        )
        return self._judged(new, row["issued_ms"], params, alarm=alarm)

    def _judged(self, new: Standing, now_ms: int, params: Mapping[str, Any], *, alarm: bool) -> Standing:
        causes = new.low_scores(params)
        if alarm:
            causes = ("DATA_LOSS", *causes)
        if new.state == GOOD:
            return replace(new, state=SUSPENDED, since_ms=now_ms, causes=causes, clean=0) if causes else new
        if alarm or any(cause not in new.causes for cause in causes):
            return replace(new, causes=tuple(dict.fromkeys((*new.causes, *causes))))
        if not causes and new.clean >= int(params["recover_questions"]):
            return replace(new, state=GOOD, since_ms=now_ms, causes=(), clean=0)
        return new._back(now_ms, causes, params)

    def _back(self, now_ms: int, low: tuple[str, ...], params: Mapping[str, Any]) -> Standing:
        """Return a suspended standing as good again when only slow scores are `low` and nothing failed for long."""
        is_slow = bool(low) and set(low) <= {"LOW_AVAILABILITY", "LOW_RETRIEVAL_SCORE"}
        is_well = self.clean >= int(params["recover_questions"])
        is_well = is_well and now_ms >= max(self.fault_ms, self.since_ms) + int(params["recover_s"]) * 1_000
        serves = "LOW_RETRIEVAL_SCORE" not in low or self.clean_reads >= int(params["recover_reads"])
        if not (is_slow and is_well and serves):
            return self
        online = self.online.at_least(int(params["online_suspend_ppm"]))
        read = self.read.at_least(int(params["read_suspend_ppm"]))
        return replace(self, online=online, read=read, state=GOOD, since_ms=now_ms, causes=(), clean=0)

    def low_scores(self, params: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the codes of the scores below their thresholds."""
        found = (
            ("LOW_AUDIT_SCORE", self.audit.ppm < int(params["audit_suspend_ppm"])),
            ("LOW_AVAILABILITY", self.online.ppm < int(params["online_suspend_ppm"])),
            ("LOW_RETRIEVAL_SCORE", self.read.ppm < int(params["read_suspend_ppm"])),
        )
        return tuple(code for code, is_low in found if is_low)

    def after_reads(self, good: int, bad: int, now_ms: int, params: Mapping[str, Any]) -> Standing:
        """Return the standing after an epoch's decided test reads."""
        if self.state == DISQUALIFIED or not good + bad:
            return self
        new = replace(
            self,
            read=self.read.after(good, bad, int(params["read_decay_ppm"])),
            clean_reads=0 if bad else self.clean_reads + good,
            fault_ms=now_ms if bad else self.fault_ms,
        )
        return self._judged(new, now_ms, params, alarm=False)

    def after_checks(self, agreed: int, dissented: int, params: Mapping[str, Any]) -> Standing:
        """Return the standing after an epoch's reports as a checker; it moves the checker's weight only."""
        return replace(self, checker=self.checker.after(agreed, dissented, int(params["checker_decay_ppm"])))

    def at_end(self, end_ms: int, params: Mapping[str, Any]) -> Standing:
        """Return the standing at the epoch's end: a suspension that outlasted the appeal window disqualifies."""
        if self.state == SUSPENDED and end_ms >= self.since_ms + int(params["appeal_s"]) * 1_000:
            return replace(self, state=DISQUALIFIED, since_ms=end_ms)
        return self


def starting(device: str, params: Mapping[str, Any]) -> Standing:
    """Return the standing of a device that nothing is known of."""
    return Standing(
        device,
        Score(int(params["audit_start"]) * MICRO, 0),
        Score(int(params["online_start"]) * MICRO, 0),
        Score(int(params["read_start"]) * MICRO, 0),
        Score(int(params["checker_start"]) * MICRO, 0),
    )


def from_table(table: pl.DataFrame | None) -> dict[str, Standing]:
    """Read REPUTATION_SCHEMA."""
    if table is None:
        return {}
    found = {}
    for row in table.select(list(REPUTATION_SCHEMA)).iter_rows():
        audit, online, read, checker = (Score(row[place], row[place + 1]) for place in (1, 3, 5, 7))
        cusum, state, since_ms, causes, *rest = row[9:]
        found[row[0]] = Standing(
            row[0], audit, online, read, checker, cusum, state, since_ms, tuple(causes or ()), *rest
        )
    return found


def with_seats(standings: Mapping[str, Standing], held: pl.DataFrame) -> dict[str, Standing]:
    """Return the standings with what each device proved in the epoch for customers other than its owner, copies left out.

    `held`: HELD_SCHEMA, marked (`uniqueness`). In an epoch that judged no round what was known stays.
    """
    if not held.height or not held["due_units"].sum():
        return dict(standings)
    counted = (pl.col("proven_units") - pl.col("flawed_units")).sum()
    sums = held.filter(~pl.col("own")).group_by("device").agg(counted)
    # in MiB-seconds, rounded up: sums over a network stay below 2⁶³
    units = {device: -(-total // 1_024) for device, total in sums.iter_rows()}
    return {device: replace(one, seat_units=units.get(device, 0)) for device, one in standings.items()}


def to_table(standings: Iterable[Standing]) -> pl.DataFrame:
    """Return REPUTATION_SCHEMA, sorted by device."""
    rows = [
        (
            one.device,
            *(
                number
                for score in (one.audit, one.online, one.read, one.checker)
                for number in (score.alpha, score.beta)
            ),
            *(one.cusum, one.state, one.since_ms, list(one.causes), one.clean, one.at_risk_bytes),
            *(one.fault_ms, one.clean_reads, one.seat_units),
        )
        for one in sorted(standings, key=lambda standing: standing.device)
    ]
    return pl.DataFrame(rows, schema=REPUTATION_SCHEMA, orient="row")
