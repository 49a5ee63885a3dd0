"""Rule version 1 of the storage service: every limit as data, with unit and source. The reference page is generated."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from fieldstone.errors import UsageError
from fieldstone.services.storage.rules.parameter import Parameter

__all__ = ["PARAMETERS", "RULE_VERSION", "default_params", "with_overrides"]

RULE_VERSION = 1

OWN = "own choice"
STORJ = "Storj satellite reputation rules"
CUSUM = "Page 1954; H0 0.1 % and H1 5 % lost"

PARAMETERS: dict[str, Parameter] = {
    # rounds and questions
    "round_s": Parameter(1_800, "s", "time between rounds", "PDP proving window, 30 min"),
    "answer_within_s": Parameter(900, "s", "an answer counts when it is received this soon after its round", OWN),
    "questions_per_day": Parameter(
        459, "chunks", "asked of a device in a day", "1 % lost found with 99 %: ln 0.01/ln 0.99"
    ),
    "new_questions_per_day": Parameter(
        4_603, "chunks", "asked of a new or suspected device in a day", "0.1 % lost found with 99 %"
    ),
    "new_days": Parameter(7, "days", "a device is new for so long after its enrolment", OWN),
    "proof_chunk_bytes": Parameter(
        1_024, "bytes", "of a leaf at most that a question asks for: BLAKE3's chunk, never another", "BLAKE3 2.4"
    ),
    "max_questions_per_round": Parameter(1_024, "chunks", "never more in one round", OWN),
    "gateways_per_round": Parameter(
        8,
        "gateways",
        "of a device's customers get one question of their own, so that nobody's data hides among others'",
        OWN,
    ),
    "reask_rounds": Parameter(
        3, "rounds", "questions of silent rounds are asked again for so long", f"{STORJ}: 3 re-asks"
    ),
    "silent_s": Parameter(
        14_400,
        "s",
        "without an answer in time: the device's shares count as failed until it answers again",
        f"{STORJ}: re-asked, then failed; four hours' grace against repairing outages",
    ),
    # leases
    "leaf_bytes_allowed": Parameter(
        [1_024, 4_096, 16_384, 65_536], "bytes", "leaf sizes that a receipt may commit to", OWN
    ),
    "max_share_bytes": Parameter(2**32, "bytes", "largest share", OWN),
    "receipt_valid_s": Parameter(86_400, "s", "a receipt can become a lease for so long after it was signed", OWN),
    "delete_order_life_s": Parameter(
        600, "s", "before its end an order to delete was signed, as gateways sign them", OWN
    ),
    "segment_shares_per_operator": Parameter(
        1, "shares", "of one segment earn the bootstrap with one operator", "no two copies on one disk"
    ),
    "own_gateway_ppm": Parameter(0, "ppm", "weight in quantity of shares leased by the operator's own gateway", OWN),
    # audit score and sequential test
    "audit_decay_ppm": Parameter(999_000, "ppm", "memory of the audit score per question", STORJ),
    "audit_start": Parameter(1_000, "questions", "answered rightly in advance, as the score begins", STORJ),
    "audit_suspend_ppm": Parameter(960_000, "ppm", "audit score below which a device is suspended", STORJ),
    "cusum_wrong_micronats": Parameter(3_912_023, "10⁻⁶ nat", "a failed question adds ln(0.05/0.001)", CUSUM),
    "cusum_right_micronats": Parameter(50_293, "10⁻⁶ nat", "a right answer subtracts −ln(0.95/0.999)", CUSUM),
    "cusum_alarm_micronats": Parameter(
        16_118_096, "10⁻⁶ nat", "alarm at ln(10⁷): once in 10⁷ questions at most", CUSUM
    ),
    "suspect_micronats": Parameter(
        3_000_000, "10⁻⁶ nat", "sum from which a device is asked as often as a new one", OWN
    ),
    # availability
    "online_decay_ppm": Parameter(998_000, "ppm", "memory of the availability score per round", OWN),
    "online_start": Parameter(500, "rounds", "answered in advance, as the score begins", OWN),
    "online_suspend_ppm": Parameter(600_000, "ppm", "availability below which a device is suspended", STORJ),
    # retrieval
    "check_every_rounds": Parameter(4, "rounds", "a device is test-read about once in so many rounds", OWN),
    "committee": Parameter(
        5, "checkers", "of distinct operators read the same leaf", "P(bad majority) 0.86 % at 10 % bad"
    ),
    "committee_quorum": Parameter(3, "checkers", "that must report before a test read counts", OWN),
    "check_within_s": Parameter(1_500, "s", "a checker's report counts when it is received this soon", OWN),
    "slow_ms": Parameter(15_000, "ms", "a test read that takes longer failed", STORJ),
    "read_decay_ppm": Parameter(990_000, "ppm", "memory of the retrieval score per test read", OWN),
    "read_start": Parameter(100, "reads", "good in advance, as the score begins", OWN),
    "read_suspend_ppm": Parameter(800_000, "ppm", "retrieval score below which a device is suspended", OWN),
    "read_income_ppm": Parameter(
        200_000, "ppm", "part of storage income that depends on test reads", "design: pay on retrieval"
    ),
    "secret_every_rounds": Parameter(
        8, "rounds", "a gateway reads in secret from a provider of its own about once in so many rounds", OWN
    ),
    "secret_quorum": Parameter(
        3, "operators", "of gateways that must have read in secret before their median counts", OWN
    ),
    "secret_proven_per_round": Parameter(
        4, "leaves", "of those read in secret in the round before must be proven by a chunk, drawn anew", OWN
    ),
    "checker_decay_ppm": Parameter(980_000, "ppm", "memory of a checker's weight per report", OWN),
    "checker_start": Parameter(20, "reports", "in agreement in advance, as a checker's weight begins", OWN),
    "checker_dissent_ppm": Parameter(700_000, "ppm", "weight below which a checker is told that it dissents", OWN),
    # same-time challenges
    "live_every_rounds": Parameter(2, "rounds", "a gateway asks two providers and a third at once so often", OWN),
    "live_questions": Parameter(
        16,
        "chunks",
        "in one challenge at the same moment: 128 ms of a hard disk's seeks, 20 ms of a 10 Mbit/s line",
        OWN,
    ),
    "live_slowed_ppm": Parameter(1_500_000, "ppm", "of the time alone, from which an answer counts as slowed", OWN),
    "live_slowed_us": Parameter(3_000, "µs", "…and at least so much longer", OWN),
    "live_disk_times": Parameter(
        2, "times", "as much slower for chunks all over than for chunks side by side: a disk, else a line", OWN
    ),
    "live_hit_micronats": Parameter(
        1_609_438, "10⁻⁶ nat", "both slowed and the third not: adds ln(0.5/0.1)", "Page 1954; H0 10 %, H1 50 %"
    ),
    "live_miss_micronats": Parameter(587_787, "10⁻⁶ nat", "not so: subtracts −ln(0.5/0.9)", "as before"),
    "live_alarm_micronats": Parameter(
        13_815_511, "10⁻⁶ nat", "alarm of one operator's gateways at ln(10⁶)", "one in 10⁶ measurements at most"
    ),
    "live_quorum": Parameter(2, "operators", "of gateways must raise the alarm about a pair", "nobody accuses alone"),
    "live_stake_ppm": Parameter(
        200_000,
        "ppm",
        "of what each of the two proves for customers must be paid by those who raised the alarm",
        "wallets are free, proven bytes are not",
    ),
    # paid once
    "repair_claim_s": Parameter(
        86_400,
        "s",
        "reads that repaired a permanent object are claimed this soon after the epoch of its new lease",
        OWN,
    ),
    # standing
    "appeal_s": Parameter(604_800, "s", "a suspended device has so long to recover or appeal", f"{STORJ}: 168 h"),
    "recover_questions": Parameter(459, "chunks", "answered without a failure after a suspension reinstate", OWN),
    "recover_s": Parameter(
        172_800,
        "s",
        "without any failure reinstate who is suspended for availability or reads only, at the threshold",
        "a score that fades in a week cannot recover in a week",
    ),
    "recover_reads": Parameter(20, "reads", "good in a row are needed besides, if it was reads that failed", OWN),
    # pay held back from new devices (rewards.held)
    "held_pay_ppm_by_month": Parameter(
        [0],
        "ppm",
        "of a provider's pay is held back in its first, second … month after enrolment; Storj holds 750,000 for three "
        "months, 500,000 for three, 250,000 for three",
        "off: a founder's choice",
    ),
    "held_pay_release_month": Parameter(15, "months", "after enrolment, when a part of the held pay is paid", STORJ),
    "held_pay_release_ppm": Parameter(
        500_000, "ppm", "of the held pay is paid then, the rest when the device leaves cleanly", STORJ
    ),
    # what is paid
    "accept_from_ppm": Parameter(990_000, "ppm", "quality and proven time from which the verdict is accepted", OWN),
    "egress_line_bytes_s": Parameter(
        1_250_000_000, "bytes/s", "egress of a device is never counted faster", "10 Gbit/s line"
    ),
    "egress_stored_times_day": Parameter(50, "×", "a gateway's shares on a device may be read so often a day", OWN),
    "egress_floor_bytes": Parameter(2**30, "bytes", "…and this much a day in any case", OWN),
    "space_every_rounds": Parameter(
        48, "rounds", "empty space is proven in every so many-th round", "3 ms of checking a proof"
    ),
    "space_most_proofs": Parameter(256, "proofs", "of one claim are checked and counted", OWN),
    "space_weight_ppm": Parameter(
        10_000, "ppm", "weight of proven empty capacity in quantity", "never a customer's storage"
    ),
}


def default_params(rule_version: int = RULE_VERSION) -> dict[str, Any]:
    """Return the parameters as plain values. Raises UsageError for a rule version that does not exist."""
    if rule_version != RULE_VERSION:
        raise UsageError(f"storage has no rule version {rule_version}; known: {RULE_VERSION}")
    return {"rule_version": RULE_VERSION, **{name: copy.copy(one.value) for name, one in PARAMETERS.items()}}


def with_overrides(params: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return `params` with keys replaced.

    Raises UsageError for a key that does not exist, a value of another kind, or one below 0 (1 for times and counts
    that divide).
    """
    tree = dict(params)
    for key, value in overrides.items():
        old = tree.get(key)
        if key not in PARAMETERS:
            raise UsageError(f"parameter {key!r} does not exist in storage rule version {RULE_VERSION}")
        numbers = value if isinstance(old, list) else [value]
        whole = isinstance(numbers, list | tuple) and all(type(number) is int and number >= 0 for number in numbers)
        if not whole or (isinstance(old, list) and not numbers):
            raise UsageError(f"parameter {key!r} must be a value like {old!r}, not {value!r}")
        if min(numbers) < 1 and key in _POSITIVE:
            raise UsageError(f"parameter {key!r} must be at least 1, not {value!r}")
        if key == "held_pay_ppm_by_month" and max(numbers) > 1_000_000:
            raise UsageError(f"parameter {key!r} holds shares of at most 1,000,000 ppm, not {value!r}")
        if key == "proof_chunk_bytes" and value != old:
            raise UsageError(f"parameter {key!r} is {old}, the chunk of BLAKE3, and not a choice")
        if key.endswith("_ppm") and value > 1_000_000 and key not in _ABOVE_ONE:
            raise UsageError(f"parameter {key!r} is a share of at most 1,000,000 ppm, not {value!r}")
        tree[key] = list(numbers) if isinstance(old, list) else value
    return tree


_ABOVE_ONE = {"live_slowed_ppm"}  # ratios, not shares
_POSITIVE = {
    "round_s",
    "answer_within_s",
    "leaf_bytes_allowed",
    "max_share_bytes",
    "segment_shares_per_operator",
    "audit_start",
    "online_start",
    "read_start",
    "checker_start",
    "check_every_rounds",
    "committee",
    "committee_quorum",
    "secret_every_rounds",
    "secret_quorum",
    "live_every_rounds",
    "live_questions",
    "live_quorum",
    "space_every_rounds",
}
