"""Kill a settling process at random moments and compare what it promised with what the chain holds."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import signal
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.chain.settlement_process import ACCOUNTS, balances_of, open_network, settle_until_killed


@dataclass(frozen=True)
class Outcome:
    """What `kills` kills left behind.

    `unheard_roots`: how often a root was on chain, but the kill came before its promise. `begun_and_finished`: how often
    the next process found a signed transaction that was not final and finished it. All after these must be 0.
    """

    kills: int
    epochs: int
    claims: int
    unheard_roots: int
    begun_and_finished: int
    posted_twice: int
    lost_roots: int
    paid_twice: int
    lost_payouts: int
    torn_blocks: int


def run(folder: Path, kills: int, seed: int) -> Outcome:
    """Start, kill after a random time, start again, `kills` times; then look at the chain.

    Each victim is a process of its own, forked from a server that has imported everything already.
    """
    chance = random.Random(seed)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.chain.settlement_process"])
    promises: list[dict[str, Any]] = []
    unheard = begun = known = 0
    step_s = 0.2  # how long one promise takes on this machine, learnt on the way
    for _ in range(kills):
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=settle_until_killed, args=(folder, theirs))
        process.start()
        theirs.close()
        opened = ours.recv()  # the work is to be hit, more than the opening
        unheard += opened["open"] > known
        begun += opened["begun"] > 0
        for _ in range(chance.randrange(4)):
            started = time.monotonic()
            promises.append(ours.recv())
            step_s += (time.monotonic() - started - step_s) / 8
        time.sleep(chance.uniform(0.0, 1.5 * step_s))  # anywhere in the next step or the one after it
        assert process.pid is not None and process.is_alive(), "the process ended by itself"
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        with contextlib.suppress(EOFError, OSError):  # a promise cut off in the middle is none
            while True:
                promises.append(ours.recv())
        known = max([opened["open"], *(entry["posted"] for entry in promises if "posted" in entry)])
    return _judge(folder, kills, promises, unheard, begun)


def _judge(folder: Path, kills: int, promises: list[dict[str, Any]], unheard: int, begun: int) -> Outcome:
    chain, outbox, settlement, _ = open_network(folder)
    try:
        events = settlement.events(settlement.rewards)
        posted = Counter(event.fields["epoch"] for event in events if event.name == "RootPosted")
        roots = {
            event.fields["epoch"]: "0x" + event.fields["root"].hex() for event in events if event.name == "RootPosted"
        }
        paid: Counter[str] = Counter()
        for event in events:
            if event.name == "Claimed":
                paid[event.fields["account"].lower()] += event.fields["amount"]
        newest = balances_of(settlement.live_epoch())
        promised = {entry["posted"]: entry["root"] for entry in promises if "posted" in entry}
        promised_pay: Counter[str] = Counter()
        for entry in promises:
            for account, amount in entry.get("amounts", {}).items():
                promised_pay[account.lower()] += amount
        torn = sum(chain.block(number) is None for number in range(chain.head().number + 1))
        balances = {account: settlement.token_balance(account) for account in ACCOUNTS}
        return Outcome(
            kills=kills,
            epochs=settlement.live_epoch(),
            claims=sum(event.name == "Claimed" for event in events),
            unheard_roots=unheard,
            begun_and_finished=begun,
            posted_twice=sum(count - 1 for count in posted.values()),
            lost_roots=sum(roots.get(epoch) != root for epoch, root in promised.items()),
            paid_twice=sum(balances[account] > newest.get(account, 0) for account in ACCOUNTS)
            + sum(balances[account] != paid[account] for account in ACCOUNTS),
            lost_payouts=sum(balances[account] < promised_pay[account] for account in ACCOUNTS),
            torn_blocks=torn,
        )
    finally:
        outbox.close()
        chain.close()
