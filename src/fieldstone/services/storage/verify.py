"""Stage 2: compare the devices, take the committees' word on reads, update standings, and decide.

    quantity   KiB-seconds that judged rounds proved, while they count (`uniqueness`); own gateway's shares weigh
               `own_gateway_ppm`, proven empty space `space_weight_ppm`
    quality    10⁶ − read_income_ppm · share of bad test reads; 0 while suspended
    usage      what gateways pay: proven KiB-seconds · quality div 10⁶, and the rise of their egress vouchers, of which
               what repaired permanent objects is told apart (`repair_reads`)

A disqualified device has quantity 0 and no usage. What a suspended one proved is paid by its customers and nobody else.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec
import polars as pl

from fieldstone.services.contract import SOLD_SCHEMA, USAGE_SCHEMA, VERDICT_SCHEMA, EpochInput, FleetVerdicts
from fieldstone.services.storage.challenge import posed_rounds, round_table
from fieldstone.services.storage.covers import COVERS, covers, kept_covers, with_product
from fieldstone.services.storage.device_tables import ANSWER_SCHEMA, HELD_SCHEMA, unnest
from fieldstone.services.storage.devices import kept_rounds
from fieldstone.services.storage.directory import ANNOUNCED, announced, have_left
from fieldstone.services.storage.epoch_reads import Reads, read_checks, with_reads
from fieldstone.services.storage.faults import at_risk, held_bytes
from fieldstone.services.storage.fleet_tables import carried, gateway_counts, kept_egress, kept_holdings, with_absent
from fieldstone.services.storage.holdings import FOREVER
from fieldstone.services.storage.live_rounds import SUSPICIONS, Suspicions, heard_in, suspicions
from fieldstone.services.storage.presence import PRESENCE
from fieldstone.services.storage.presence import to_table as to_presence
from fieldstone.services.storage.repair_reads import REPAIRS, Mended, divide, mended
from fieldstone.services.storage.repair_reads import to_table as to_repairs
from fieldstone.services.storage.reputation import (
    DISQUALIFIED,
    GOOD,
    SUSPENDED,
    Standing,
    from_table,
    starting,
    to_table,
    with_seats,
)
from fieldstone.services.storage.retrieval import Finding
from fieldstone.services.storage.schema import EGRESS, PERMANENT_REPAIR, SERVICE
from fieldstone.services.storage.secret_reads import CHAINS, SECRET_READS
from fieldstone.services.storage.uniqueness import mark
from fieldstone.units import PPM

__all__ = ["check_fleet"]

MOST_NAMED = 100  # failures, duplicates and refusals that a detail names; the counts are always whole


def check_fleet(whole: EpochInput, device_checks: pl.DataFrame) -> FleetVerdicts:
    """Decide the verdicts, the usage, and what the next epoch must know."""
    checks = device_checks.sort("device")
    operators = dict(whole.registry.select("device", "operator").iter_rows())
    held = unnest(checks, "held") if checks.height else pl.DataFrame(schema=HELD_SCHEMA)
    held = held.select(list(HELD_SCHEMA)).cast(dict(HELD_SCHEMA)).sort("device", "share", "from_position")  # type: ignore[arg-type]
    before = from_table(whole.carry.get("reputation"))
    reads = read_checks(whole, checks, held, operators, before)
    shared = suspicions(whole, held, posed_rounds(whole), heard_in(checks))
    held = with_reads(mark(held, operators, whole), reads)
    standings = _standings(whole, checks, reads, before, held_bytes(held, whole.start_ms))
    standings = with_seats(standings, held)
    covered, unreadable = covers(whole)
    repaired = mended(whole, held)
    desk = _Desk(whole, checks, with_product(held, covered), reads, standings, unreadable, shared, repaired)
    verdicts = [desk.verdict(row) for row in checks.iter_rows(named=True)]
    verdicts += [_stranger(device, whole.epoch) for device in sorted(_reporters(whole) - set(operators))]
    table = pl.DataFrame(verdicts, schema=VERDICT_SCHEMA, orient="row").sort("device")
    rounds = posed_rounds(whole)
    kept = kept_holdings(held, kept_rounds(rounds, whole), whole)
    carry = {
        "holdings": kept,
        COVERS: kept_covers(covered, kept),
        "rounds": round_table(kept_rounds(rounds, whole)),
        "answers": carried(checks, "answers", ANSWER_SCHEMA, "number"),
        "egress": kept_egress(checks, whole),
        "reads": reads.open_reports,
        SECRET_READS: reads.secret_reports,
        CHAINS: reads.chains,
        SUSPICIONS: shared.table,
        "reputation": with_absent(to_table(standings.values()), whole.carry.get("reputation"), whole),
        ANNOUNCED: announced(whole),
        PRESENCE: to_presence(checks),
    }
    usage = desk.usage()
    carry[REPAIRS] = to_repairs(repaired)
    return FleetVerdicts(table, {}, carry, usage, desk.sold())


def _standings(
    whole: EpochInput, checks: pl.DataFrame, reads: Reads, before: Mapping[str, Standing], held: Mapping[str, int]
) -> dict[str, Standing]:
    found = {}
    params = whole.params
    for device, rounds in checks.select("device", "rounds").iter_rows():
        one = before.get(device) or starting(device, params)
        for row in rounds:
            one = one.after_round(row, params)
        good, bad = reads.in_secret[device].counted if device in reads.in_secret else (0, 0)
        good, bad = good + reads.good.get(device, 0), bad + len(reads.bad.get(device, ()))
        one = one.after_reads(good, bad, whole.end_ms, params)
        against = reads.dissented.get(device, 0) + reads.withheld.get(device, 0)
        one = one.after_checks(reads.agreed.get(device, 0), against, params)
        one = one.at_end(whole.end_ms, params)
        risk_bytes = at_risk(before.get(device), one, whole.start_ms, held.get(device, 0))
        found[device] = replace(one, at_risk_bytes=risk_bytes)
    return found


class _Desk:
    """Where one device after the other gets its verdict; sums per device are taken once for all."""

    def __init__(
        self,
        whole: EpochInput,
        checks: pl.DataFrame,
        held: pl.DataFrame,
        reads: Reads,
        standings: Mapping[str, Standing],
        unreadable_covers: Mapping[str, int],
        suspected: Suspicions,
        repaired: list[Mended],
    ) -> None:
        self._live, self._repaired = suspected, repaired
        silent = checks.filter(pl.col("silent_ms") > 0)["device"].to_list()
        self._left = have_left(announced(whole), held, silent)
        self._leaving = frozenset(announced(whole).filter(pl.col("is_leaving"))["device"].to_list())
        self._whole, self._checks, self._reads, self._standings = whole, checks, reads, standings
        own_ppm = int(whole.params["own_gateway_ppm"])
        own = pl.col("own")
        live, counted = pl.col("until_position") == FOREVER, pl.col("proven_units") - pl.col("flawed_units")
        # released shares stay in the table as long as their receipts are valid; they are no holdings
        sums = held.filter(live | (pl.col("due_units") > 0) | (pl.col("until_ms") > whole.start_ms))
        sums = sums.group_by("device").agg(
            shares=live.sum(),
            due=pl.col("due_units").sum(),
            proven=counted.filter(~own).sum(),
            own=counted.filter(own).sum(),
            flawed=pl.col("flawed_units").sum(),
            stored_bytes=pl.col("size_bytes").filter(live).sum(),
        )
        self._sums = {row["device"]: row for row in sums.iter_rows(named=True)}
        self._own_ppm = own_ppm
        flawed = held.filter(pl.col("flaw") != "").select("device", "flaw", "share")
        self._flawed: dict[str, list[tuple[str, bytes]]] = defaultdict(list)
        for device, flaw, share in flawed.iter_rows():
            self._flawed[device].append((flaw, share))
        paid = (
            held.filter(pl.col("proven_units") > 0)
            .group_by("gateway", "device", "product")
            .agg(pl.col("proven_units").sum())
        )
        self._paid = paid.sort("gateway", "device", "product")
        self._gateways, self._bad_leases = gateway_counts(whole, checks)
        for gateway, count in unreadable_covers.items():
            self._bad_leases[gateway] = self._bad_leases.get(gateway, 0) + count
            self._gateways.add(gateway)
        self._quality: dict[str, int] = {}
        self._sold: dict[str, int] = {}

    def verdict(self, row: Mapping[str, Any]) -> tuple[Any, ...]:
        """Return one device's row of VERDICT_SCHEMA."""
        device, params = row["device"], self._whole.params
        standing, sums = self._standings[device], self._sums.get(device)
        rounds, failures = row["rounds"], row["failures"]
        good, bad = self._reads.good.get(device, 0), self._reads.bad.get(device, [])
        read_ppm = good * PPM // (good + len(bad)) if good + len(bad) else PPM
        secret = self._reads.in_secret.get(device)
        if secret is not None and secret.good_ppm is not None:
            read_ppm = min(read_ppm, secret.good_ppm)
        income_ppm = PPM - int(params["read_income_ppm"]) * (PPM - read_ppm) // PPM
        if standing.state == DISQUALIFIED:
            income_ppm = 0
        self._quality[device] = income_ppm
        earns = self._live.shared.get(device, device) == device
        quality_ppm = income_ppm if standing.state != SUSPENDED and earns else 0
        quantity = due = proven = 0
        if sums is not None:
            due, proven = sums["due"], sums["proven"] + sums["own"]
            quantity = sums["proven"] + sums["own"] * self._own_ppm // PPM
        self._sold[device] = quantity
        quantity += row["space_units"] * int(params["space_weight_ppm"]) // PPM
        reasons = self._reasons(row, standing, sums, rounds, failures, bad)
        enough = int(params["accept_from_ppm"])
        if standing.state == DISQUALIFIED or quantity == 0:
            verdict, quantity = "rejected", 0
            self._sold[device] = 0
        elif quality_ppm >= enough and proven * PPM >= due * enough:
            verdict = "accepted"
        else:
            verdict = "partial"
        if verdict != "accepted" and not reasons:
            reasons = ["NOT_ASKED"]
        detail = self._detail(row, standing, sums, good, bad, read_ppm)
        return (device, SERVICE, self._whole.epoch, quantity, quality_ppm, verdict, reasons, detail)

    def _reasons(
        self,
        row: Mapping[str, Any],
        standing: Standing,
        sums: Mapping[str, Any] | None,
        rounds: list[dict[str, Any]],
        failures: list[dict[str, Any]],
        bad: list[Finding],
    ) -> list[str]:
        device, reads = row["device"], self._reads
        states = {one["state"] for one in rounds}
        what = {one["what"] for one in failures}
        flaws = {flaw for flaw, _ in self._flawed.get(device, ())}
        secret = reads.in_secret.get(device)
        agreed, dissented = reads.agreed.get(device, 0), reads.dissented.get(device, 0)
        dissents = dissented and standing.checker.ppm < int(self._whole.params["checker_dissent_ppm"])
        found = {
            "DISQUALIFIED": standing.state == DISQUALIFIED,
            "SUSPENDED": standing.state == SUSPENDED,
            **{code: code in standing.causes for code in _CAUSES},
            "WRONG_LEAF": "wrong" in what,
            "MISSING_LEAF": "missing" in what,
            "SILENT": row["silent_ms"] > 0 and sums is not None,
            "MISSED_ROUND": "silent" in states,
            "LATE": any(one["late_ms"] for one in rounds),
            "SHARED_DISK": device in self._live.shared,
            "DUPLICATE_SEGMENT": "DUPLICATE_SEGMENT" in flaws,
            "COPIED_SHARE": "COPIED_SHARE" in flaws,
            "NO_PAYER": "NO_PAYER" in flaws,
            "RETRIEVAL_FAILING": bool(bad) or (secret is not None and secret.counted[1] > 0),
            "SERVES_TESTS_ONLY": secret is not None
            and secret.good_ppm is not None
            and 2 * secret.good_ppm < PPM
            and reads.good.get(device, 0) > 9 * len(bad),
            "BAD_VOUCHER": row["bad_vouchers"] > 0,
            "EGRESS_CAPPED": any(one["held_back_bytes"] for one in row["egress"]),
            "BAD_LEASE": self._bad_leases.get(device, 0) > 0,
            "OWN_GATEWAY": sums is not None and sums["own"] > 0,
            "DISSENTING_CHECKER": bool(dissents) or (dissented > agreed),
            "CHECK_NOT_DONE": reads.silent.get(device, 0) > 0,
            "UNASKED_CHECK": reads.unasked.get(device, 0) + self._live.unasked.get(device, 0) > 0,
            "BAD_REPORT": row["bad_reports"] + reads.bad_reports.get(device, 0) + self._live.bad.get(device, 0) > 0,
            "SPACE_UNPROVEN": row["bad_space"] > 0,
            "GATEWAY": sums is None and device in self._gateways,
            "LEAVING": device in self._leaving,
            "LEFT": device in self._left and standing.state == GOOD,
            "VANISHED": row["silent_ms"] > 0 and (sums is None or not sums["shares"]),
            "NO_HOLDINGS": sums is None and device not in self._gateways,
            "NOT_ASKED": sums is not None and not rounds,
        }
        return [code for code, is_so in found.items() if is_so]

    def _detail(
        self,
        row: Mapping[str, Any],
        standing: Standing,
        sums: Mapping[str, Any] | None,
        good: int,
        bad: list[Finding],
        read_ppm: int,
    ) -> str:
        device, reads = row["device"], self._reads
        rounds, failures = row["rounds"], row["failures"]
        states: dict[str, int] = defaultdict(int)
        for one in rounds:
            states[one["state"]] += 1
        tree: dict[str, Any] = {
            "audit": {name: sum(one[name] for one in rounds) for name in ("asked", "right", "wrong", "missing")},
            "rounds": dict(states),
            "scores_ppm": {
                "audit": standing.audit.ppm,
                "availability": standing.online.ppm,
                "checker": standing.checker.ppm,
                "retrieval": standing.read.ppm,
            },
            "standing": {
                "causes": list(standing.causes),
                "clean_questions": standing.clean,
                "cusum_micronats": standing.cusum,
                "since_ms": standing.since_ms,
                "state": standing.state,
                **({"at_risk_bytes": standing.at_risk_bytes} if standing.at_risk_bytes else {}),
                **({"heard_ms": row["heard_ms"], "silent_ms": row["silent_ms"]} if row["silent_ms"] else {}),
                **self._forecast(standing),
            },
            "test_reads": {"bad": len(bad), "good": good, "share_good_ppm": read_ppm},
        }
        secret = reads.in_secret.get(device)
        if secret is not None:
            tree["secret_reads"] = {
                "bad": secret.bad,
                "good": secret.good,
                "operators": secret.operators,
                "share_good_ppm": secret.good_ppm,  # null: too few operators read
            }
        if device in self._leaving:
            left = 0 if sums is None else sums["shares"]
            tree["leaving"] = {"is_done": left == 0, "shares_left": left}
        if device in self._live.shared:
            group = [one for one, leader in self._live.shared.items() if leader == self._live.shared[device]]
            tree["shared_disk"] = {"devices": group, "earns": self._live.shared[device]}
        elif device in self._live.placed:  # told, and of no consequence but for placement
            first = self._live.placed[device]
            tree["shared_line"] = {"devices": [one for one, leader in self._live.placed.items() if leader == first]}
        if sums is not None:
            tree["units"] = {
                "due": sums["due"],
                "not_counted": sums["flawed"],
                "own_gateway": sums["own"],
                "proven": sums["proven"] + sums["own"],
            }
            tree["shares"], tree["stored_bytes"] = sums["shares"], sums["stored_bytes"]
        listed: dict[str, list[Any]] = {
            "failures": [
                {"byte": one["start"], "round": one["number"], "share": one["share"].hex(), "what": one["what"]}
                for one in failures
            ],
            "unpaid_rounds": [
                {"late_ms": one["late_ms"], "round": one["number"], "state": one["state"]}
                for one in rounds
                if one["weight_ppm"] == 0
            ],
            "bad_reads": [
                {
                    "checkers": len(one.agree) + len(one.dissent),
                    "leaf": one.task.leaf_index,
                    "outcome": one.outcome,
                    "round": one.task.number,
                    "share": one.task.share.hex(),
                }
                for one in bad
            ],
            "duplicates": [{"reason": flaw, "share": share.hex()} for flaw, share in self._flawed.get(device, ())],
            "refused_leases": [
                {"cause": one["cause"], "gateway": one["gateway"], "share": one["share"].hex()}
                for one in row["refused"]
            ],
            "egress": [one for one in row["egress"] if one["counted_bytes"] or one["held_back_bytes"]],
        }
        for name, entries in listed.items():
            if entries:
                tree[name] = entries[:MOST_NAMED]
                tree[f"{name}_count"] = len(entries)
        for name, count in (
            ("bad_lease_lines", self._bad_leases.get(device, 0)),
            ("bad_reports", row["bad_reports"] + reads.bad_reports.get(device, 0)),
            ("checks_not_done", reads.silent.get(device, 0)),
            ("checks_dissenting", reads.dissented.get(device, 0)),
            ("checks_unasked", reads.unasked.get(device, 0)),
        ):
            if count:
                tree[name] = count
        return msgspec.json.encode(tree, order="sorted").decode()

    def _forecast(self, standing: Standing) -> dict[str, int]:
        """Say what comes next, before it comes: failures until the alarm, or when a suspension ends in disqualification."""
        params = self._whole.params
        if standing.state == SUSPENDED:
            return {"disqualified_ms": standing.since_ms + int(params["appeal_s"]) * 1_000}
        left = int(params["cusum_alarm_micronats"]) - standing.cusum
        return {"failures_until_suspension": -(-left // max(1, int(params["cusum_wrong_micronats"])))}

    def usage(self) -> pl.DataFrame:
        """Return USAGE_SCHEMA. Call it after all verdicts."""
        rows: list[tuple[str, str, str, int]] = []
        for gateway, device, product, units in self._paid.iter_rows():
            rows.append((gateway, device, product, units * self._quality[device] // PPM))
        enrolled = set(self._whole.registry["device"].to_list())
        read = {
            (one["gateway"], device): one["counted_bytes"]
            for device, egress in self._checks.select("device", "egress").iter_rows()
            if self._standings[device].state != DISQUALIFIED
            for one in egress
        }
        repair = divide(self._repaired, read)
        for (gateway, device), count in read.items():
            part = repair.get((gateway, device), 0)
            rows += [(gateway, device, EGRESS, count - part), (gateway, device, PERMANENT_REPAIR, part)]
        paid = [row for row in rows if row[3] > 0 and row[0] in enrolled]
        return pl.DataFrame(paid, schema=USAGE_SCHEMA, orient="row").sort("payer", "device", "product")

    def sold(self) -> pl.DataFrame:
        """Return SOLD_SCHEMA: what customers' own data made of each quantity. Call it after all verdicts."""
        rows = [(device, units) for device, units in sorted(self._sold.items()) if units > 0]
        return pl.DataFrame(rows, schema=SOLD_SCHEMA, orient="row")


_CAUSES = ("DATA_LOSS", "LOW_AUDIT_SCORE", "LOW_AVAILABILITY", "LOW_RETRIEVAL_SCORE")


def _reporters(whole: EpochInput) -> set[str]:
    return {device for table in whole.evidence.values() for device in table["device"].unique().to_list()}


def _stranger(device: str, epoch: int) -> tuple[Any, ...]:
    detail = msgspec.json.encode({"check": "enrolment"}).decode()
    return (device, SERVICE, epoch, 0, 0, "rejected", ["NOT_ENROLLED"], detail)
