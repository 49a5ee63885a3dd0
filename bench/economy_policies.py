"""How fast exact monetary policies are: `python bench/economy_policies.py`. CPU time of one core.

The unit of the ratio is a million integer additions into a dict in the same run, so that figures from a busy and from
a quiet machine can be compared. Target: 20,000 Filecoin integer rewards per second per core.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from fieldstone.economy.policies import evaluate
from fieldstone.economy.policies.arweave import base_inflation
from fieldstone.economy.policies.filecoin import ONE, RewardState, epoch_reward, simple_q128

ROUNDS = 20_000


def counting_s() -> float:
    """Return the CPU seconds of the reference loop."""
    begin, sums = time.process_time(), {}
    for i in range(1_000_000):
        sums[i % 1000] = sums.get(i % 1000, 0) + i
    return time.process_time() - begin


def run_state(rounds: int) -> None:
    """Pay consecutive reward rounds of a network below its baseline."""
    state = RewardState.start()
    for _ in range(rounds):
        state, _ = state.reward_round(10**18)


def each(function: Callable[[int], object]) -> Callable[[int], None]:
    """Return a loop that calls `function` with distinct epochs."""

    def loop(rounds: int) -> None:
        for i in range(rounds):
            function(i * 127)

    return loop


CASES: dict[str, Callable[[int], None]] = {
    "filecoin simple reward": each(lambda epoch: simple_q128(epoch) >> 128),
    "filecoin simple + baseline reward": each(lambda e: epoch_reward(e, e * ONE - 33_333, e * ONE + ONE)),
    "filecoin state step with reward": run_state,
    "… simple reward by name and text": each(lambda e: evaluate("filecoin.simple_reward", {"epoch": str(e)})),
    "arweave exact block inflation": each(base_inflation),
}


def main() -> None:
    """Print one line per case."""
    reference = counting_s()
    print("policy                                per second   µs each   × a counted million per 1,000")
    for name, case in CASES.items():
        begin = time.process_time()
        case(ROUNDS)
        spent = time.process_time() - begin
        print(
            f"{name:36}  {ROUNDS / spent:10,.0f}  {spent / ROUNDS * 1e6:8.1f}  {spent / ROUNDS * 1000 / reference:12.2f}"
        )


if __name__ == "__main__":
    main()
