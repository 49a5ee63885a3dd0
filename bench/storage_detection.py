"""Detection of cheating in the storage lab, and what verification costs. Prints Markdown for bench/RESULTS.md.

    python bench/storage_detection.py [--seeds N] [--devices N] [--only detection|delay|live|guessing|speed|epoch]

1. detection: every attack in its own world (10 honest providers, three with trouble), two days, `--seeds` seeds.
2. delay: questions until the sequential test suspends, by share lost; false alarms at 0.1 % loss.
3. live: same-time challenges and the sealing bound, simulated; guessing: what of secret test reads can be guessed.
4. speed: proofs verified per CPU second in stage 1, receipts folded per CPU second.
5. epoch: one day of `--devices` devices, 48 rounds: CPU seconds of challenges, stage 1, stage 2.

The worlds' seeds (101 …) were not used to set any limit. CPU seconds, not wall time.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import polars as pl

from fieldstone.lab import render, score
from fieldstone.services.contract import Round
from fieldstone.services.storage import service
from fieldstone.services.storage.lab_guessing import play
from fieldstone.services.storage.lab_providers import Honest
from fieldstone.services.storage.lab_trial import ATTACKS, trial
from fieldstone.services.storage.lab_world import START_MS, World
from fieldstone.services.storage.live import fetched_from_elsewhere, shared_bottleneck
from fieldstone.services.storage.reputation import starting
from fieldstone.services.storage.rules.v1 import default_params
from fieldstone.services.storage.sealing import attack, binding

FIRST_SEED = 101


def detection(seeds: int, days: float = 2.0) -> None:
    begin = time.process_time()
    outcomes = [trial(FIRST_SEED + k, days=days) for k in range(seeds)]
    used = time.process_time() - begin
    print(f"\n## Detection ({seeds} seeds, {days:g} days, epochs of 6 h, {used:.0f} CPU s)\n")
    print(render(score(outcomes), {name: one.summary for name, one in ATTACKS.items()}))
    table = pl.concat(outcomes).filter(pl.col("label") != "original")
    print(
        "\n| who | named after, h (median) | suspended after, h (median) | suspended | income kept |\n|---|---|---|---|---|"
    )
    for (label,), part in sorted(table.group_by(["label"]), key=lambda item: str(item[0])):
        first, suspended = part["first_hours"].median(), part["suspended_hours"].median()
        share = part["suspended_hours"].is_not_null().mean()
        print(
            f"| {label} | {'–' if first is None else f'{first:g}'} | {'–' if suspended is None else f'{suspended:g}'} | "
            f"{100 * float(share or 0):.0f} % | {float(part['income_ppm'].mean() or 0) / 10_000:.1f} % |"
        )


def delay(seeds: int = 400) -> None:
    """Ask one by one, as the theory does, and in rounds of ten."""
    params = default_params()
    print(
        "\n## Questions until suspension (sequential test)\n\n| lost | mean | 95 % | in rounds of ten: mean | runs |\n|---|---|---|---|---|"
    )
    for loss in (1.0, 0.2, 0.1, 0.05, 0.03):
        one = [_until_alarm(loss, seed, 1, params) for seed in range(seeds)]
        ten = [_until_alarm(loss, seed, 10, params) for seed in range(seeds)]
        print(f"| {loss:.0%} | {np.mean(one):.0f} | {np.quantile(one, 0.95):.0f} | {np.mean(ten):.0f} | {seeds} |")
    wrong, right = int(params["cusum_wrong_micronats"]), int(params["cusum_right_micronats"])
    alarm, total, alarms = int(params["cusum_alarm_micronats"]), 40_000_000, 0
    dice, value, at = np.random.default_rng(1), 0, 0
    gaps = dice.geometric(0.001, 60_000)  # questions up to each failure
    for gap in gaps.tolist():
        at += gap
        if at > total:
            break
        value = max(0, value - right * (gap - 1)) + wrong
        if value >= alarm:
            alarms, value = alarms + 1, 0
    print(f"\nFalse alarms at 0.1 % loss: {alarms} in {min(at, total):,} questions (bound: one in ten million).")
    found = [1 - 0.99**q for q in (5, 36, 459)]
    print(
        "1 % lost, at least one failed question a day: "
        + ", ".join(f"{p:.1%}" for p in found)
        + " at 5, 36, 459 questions."
    )


def _until_alarm(loss: float, seed: int, at_once: int, params: dict) -> int:
    dice, one, asked = np.random.default_rng(seed), starting("d", params), 0
    while "DATA_LOSS" not in one.causes:
        failed = int(dice.binomial(at_once, loss))
        asked += at_once
        row = {
            "asked": at_once,
            "right": at_once - failed,
            "wrong": 0,
            "missing": failed,
            "state": "proven",
            "issued_ms": 0,
        }
        one = one.after_round(row, params)
    return asked


def live(trials: int = 2_000) -> None:
    print("\n## Live challenges (simulated; 20 measurements alone, 20 together)\n\n| case | flagged |\n|---|---|")

    def rate(make: Callable[[np.random.Generator], bool]) -> str:
        hits = sum(make(np.random.default_rng(seed)) for seed in range(trials))
        return f"{hits / trials:.2%} of {trials}"

    def pair(alone: float, together: float, jitter: float) -> Callable[[np.random.Generator], bool]:
        return lambda dice: (
            shared_bottleneck(alone + dice.gamma(2.0, jitter, 20), together + dice.gamma(2.0, jitter, 20)).is_shared
        )

    print(f"| three names on one hard disk (128 seeks of 8 ms) | {rate(pair(1_024, 3_072, 80))} |")
    print(f"| two names on one hard disk | {rate(pair(1_024, 2_048, 80))} |")
    print(f"| own hard disks, bad line | {rate(pair(1_024, 1_024, 200))} |")
    print(f"| own disks, line 30 % slower when all are asked | {rate(pair(1_024, 1_331, 120))} |")
    print(f"| three names on one flash drive (128 reads of 0.1 ms, 40 ms line) | {rate(pair(53, 79, 15))} |")

    def far(rtt: float, questions: int, seek_ms: float) -> Callable[[np.random.Generator], bool]:
        return lambda dice: (
            fetched_from_elsewhere(
                (40 + questions * seek_ms + rtt + dice.gamma(2.0, 5.0, 20)).tolist(),
                (40 + dice.gamma(2.0, 2.0, 20)).tolist(),
                questions=questions,
                seek_ms=seek_ms,
            ).is_far
        )

    print(f"| flash, bytes fetched over 80 ms, 16 leaves | {rate(far(80, 16, 0.2))} |")
    print(f"| flash, bytes fetched over 5 ms, 16 leaves | {rate(far(5, 16, 0.2))} |")
    print(f"| flash, own bytes | {rate(far(0, 128, 0.2))} |")
    print("\n| sealing: cheat without the sealed bytes, q = 128, W = 1 s, C = 78 ms | answers in time |\n|---|---|")
    for cores in (1, 8, 10, 16):
        found = attack(128, 1_000, mask_ms=78, read_ms=0.1, cores=cores, kept=0.0)
        print(f"| {cores} cores | {found.in_time:.1%} |")
    bound = binding(128, 1_000, mask_ms=78, read_ms=0.1, cheat_cores=8)
    print(
        f"\nBound: {bound.cores_needed:.1f} cores; honest flash {bound.honest_ms:.0f} ms; a hard disk needs {128 * 8} ms and fails W."
    )


def guessing(days: int = 30) -> None:
    """What a cheat gains by guessing which reads are tests."""
    params = default_params()
    print(
        f"\n## Guessing secret test reads ({days} days)\n\n| refuses | paid refused | tests failed | suspended after, days | income kept |\n|---|---|---|---|---|"
    )
    cases = [
        *((rule, more) for rule in ("hot", "lagged") for more in ({}, {"memory": 500})),
        *(("newest", {"newest": count}) for count in (25, 250)),
        ("bursts", {"beside": False}),
        ("bursts", {}),
        ("coin", {}),
    ]
    cases += [(rule, {**more, "evenly": True}) for rule, more in cases[:6]]
    for rule, more in cases:
        one = play(rule, params, days=days, **more)  # type: ignore[arg-type]
        print(
            f"| {rule} {more or ''} | {one.refused:.0%} | {one.failed:.1%} | {one.days or '–'} | {one.income_ppm / 1e4:.1f} % |"
        )


def speed() -> None:
    print(
        "\n## Verification, one core\n\n| leaf | shares | proofs | bytes of 459 proofs in a day's rounds | stage 1, CPU s | proofs per CPU s |"
        "\n|---|---|---|---|---|---|"
    )
    for leaf_bytes in (1_024, 4_096, 16_384, 65_536):
        world = World(1, leaf_bytes=leaf_bytes, share_bytes=3_200_000, overrides={"questions_per_day": 24_000})
        world.add("p", Honest())
        world.store(6)
        world.run(0.4)
        whole, _ = world.run(12.0)
        best = min(_cpu(lambda: world.stage_1(whole)) for _ in range(3))  # noqa: B023
        count = sum(row["right"] for row in world.stage_1(whole)["rounds"][0])
        count = max(
            count, int(world.stage_1(whole)["rounds"].list.eval(pl.element().struct.field("right")).list.sum().sum())
        )
        size = int(whole.evidence["proof"]["body"].bin.size().sum()) * 459 // count
        print(f"| {leaf_bytes:,} | 6 × 3.2 MB | {count:,} | {size:,} | {best:.3f} | {count / best:,.0f} |")
    world = World(2)
    world.add("p", Honest())
    world.store(5_000)
    whole = world.input(world.now_ms - 1, world.now_ms + 1, ())
    from fieldstone.services.storage import holdings

    first = _cpu(lambda: holdings.fold(whole))
    again = _cpu(lambda: holdings.fold(whole))
    print(
        f"\nReceipts folded: {5_000 / first:,.0f} per CPU s at first, {5_000 / again:,.0f} when their signatures are known."
    )


def epoch(devices: int, shares: int = 20) -> None:
    world = World(3)
    for number in range(devices):
        world.add(f"p{number}", Honest())
    world.store(shares)
    whole, _ = world.run(0.4)
    spent = {"challenges": 0.0}
    ask = service.challenges

    class Timed:
        def challenges(self, so_far, asked: Round) -> pl.DataFrame:
            begin = time.process_time()
            table = ask(so_far, asked)
            spent["challenges"] += time.process_time() - begin
            return table

        def __getattr__(self, name: str):
            return getattr(service, name)

    from fieldstone.services.storage import lab_world

    lab_world.service = Timed()  # type: ignore[assignment]
    whole, _ = world.run(24.0)
    lab_world.service = service
    world.carry = whole.carry
    begin = time.process_time()
    checks = world.stage_1(whole)
    middle = time.process_time()
    result = service.check_fleet(whole, checks)
    end = time.process_time()
    proofs = int(checks["rounds"].list.eval(pl.element().struct.field("right")).list.sum().sum())
    size = sum(int(table["body"].bin.size().sum()) for table in whole.evidence.values())
    print(
        f"\n## A day of {devices:,} devices × {shares} shares\n\n"
        f"{len(whole.rounds)} rounds, {proofs:,} proofs, {size / 2**20:,.0f} MiB of reports, "
        f"{result.usage.height:,} usage lines.\n\n"
        "| step | CPU s |\n|---|---|\n"
        f"| challenges, all rounds | {spent['challenges']:.1f} |\n"
        f"| stage 1 (one process) | {middle - begin:.1f} |\n"
        f"| stage 2 | {end - middle:.1f} |\n\n"
        f"{proofs / (middle - begin):,.0f} proofs per CPU s over all of stage 1; "
        f"{1_000 * (end - begin) / devices:.1f} CPU ms per device-day to verify."
    )


def _cpu(work: Callable[[], object]) -> float:
    begin = time.process_time()
    work()
    return time.process_time() - begin


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seeds", type=int, default=5)
    options.add_argument("--devices", type=int, default=1_000)
    options.add_argument("--only", default="")
    given = options.parse_args()
    steps: dict[str, Callable[[], None]] = {
        "detection": lambda: detection(given.seeds),
        "delay": delay,
        "live": live,
        "guessing": guessing,
        "speed": speed,
        "epoch": lambda: epoch(given.devices),
    }
    print(f"# Storage: detection and cost (world from {START_MS})")
    for name, step in steps.items():
        if given.only in ("", name):
            step()


if __name__ == "__main__":
    main()
