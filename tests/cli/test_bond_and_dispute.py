"""Bonds and disputes from the command line, against a served node and its chain."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fieldstone.cli import main
from fieldstone.node.node import Node
from tests.node.conftest import Network

Run = Callable[..., str]


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    """A network whose first operator holds tokens and whose second epoch waits to be paid."""
    made = Network(tmp_path, settlement='dispute_bond = "2"')
    with made.live:
        for epoch in (1, 2):
            made.hours()
            made.clock.set(max(made.clock.now_ms(), made.live.node.state.next_end_ms))
            made.live.close_epoch()
            made.live.node.settle()
            if epoch == 1:
                made.clock.set(made.clock.now_ms() + 61_000)
        made.wallets[0].save(tmp_path / "operator.wallet")
        yield made


@pytest.fixture
def run(network: Network, capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*words: str | int, code: int = 0) -> str:
        with pytest.raises(SystemExit) as ended:
            main([*map(str, words), "--node", network.url])
        output = capsys.readouterr()
        assert ended.value.code == code, output.err
        return output.out if code == 0 else output.err

    call("claim", network.wallets[0].address)
    return call


def node_of(network: Network) -> Node:
    return network.live.node


def test_a_bond_comes_back_after_its_delay(network: Network, run: Run, tmp_path: Path) -> None:
    owner, wallet = network.wallets[0].address, tmp_path / "operator.wallet"
    device = network.keys[0].public.device_id
    run("bond", "add", "3", "--reference", "first", "--device", device, "--wallet", wallet)
    run("bond", "add", "3", "--reference", "first", "--device", device, "--wallet", wallet)  # sent once
    shown = json.loads(run("bond", "show", owner, "--device", device, "--json"))
    assert shown == {"staked_base": str(3 * 10**18), "unbonding_base": "0", "ready_s": 0, "open_cases": 0}
    assert json.loads(run("bond", "show", owner, "--json"))["staked_base"] == "0"
    run("bond", "release", "1", "--reference", "back", "--device", device, "--wallet", wallet)
    waiting = json.loads(run("bond", "show", owner, "--device", device, "--json"))
    assert (waiting["staked_base"], waiting["unbonding_base"]) == (str(2 * 10**18), str(10**18))
    assert "error" in run("bond", "withdraw", "--reference", "early", "--device", device, "--wallet", wallet, code=1)
    network.clock.set(waiting["ready_s"] * 1000 + 1000)
    before = node_of(network).chain.token_balance(owner)
    run("bond", "withdraw", "--reference", "out", "--device", device, "--wallet", wallet)
    assert node_of(network).chain.token_balance(owner) == before + 10**18


def test_a_rejected_dispute_costs_its_bond_and_the_root_pays_later(network: Network, run: Run, tmp_path: Path) -> None:
    wallet = tmp_path / "operator.wallet"
    evidence = tmp_path / "why.txt"
    evidence.write_text("epoch 2: my station was paid 0 although it reported every minute")
    before = node_of(network).chain.token_balance(network.wallets[0].address)
    opened = json.loads(run("dispute", "open", 2, "--evidence", evidence, "--wallet", wallet, "--json"))
    number = opened["dispute"]
    assert node_of(network).chain.record(2).status.name == "DISPUTED"
    assert json.loads(run("dispute", "show", number, "--json"))["outcome"] == "open"
    verifier = network.folder / "data" / "keys" / "verifier.wallet"
    signature = run("dispute", "sign", number, "--reject", "--wallet", verifier).strip()
    run("dispute", "decide", number, "--reject", "--signature", signature, "--wallet", wallet)
    assert json.loads(run("dispute", "show", number, "--json"))["outcome"] == "rejected"
    assert node_of(network).chain.record(2).status.name == "PENDING"
    assert node_of(network).chain.token_balance(network.wallets[0].address) == before - 2 * 10**18


def test_what_cannot_be_done_is_said(network: Network, run: Run, tmp_path: Path) -> None:
    wallet = tmp_path / "operator.wallet"
    assert "no dispute 7" in run("dispute", "show", 7, code=2)
    missing = run("dispute", "open", 2, "--evidence", tmp_path / "none", "--wallet", wallet, code=2)
    assert "is no file" in missing
    bad = run("dispute", "decide", 1, "--reject", "--signature", "0x:zz", "--wallet", wallet, code=2)
    assert "dispute sign" in bad
    assert "fewer tokens" in run("bond", "add", "1e9", "--reference", "x", "--wallet", wallet, code=1)
