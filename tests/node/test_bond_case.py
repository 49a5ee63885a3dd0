"""From a bond to a slash on the embedded chain: bond, do the work, stop, be named, accused, replayed, decided, cut.

The service is the small one of `asking` with bonds; what storage names as a fault is tested beside storage.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import fieldstone.services
from fieldstone.chain.outbox import Outbox
from fieldstone.chain.settlement import Settlement
from fieldstone.chain.view import NO_ROOT
from fieldstone.cli import main
from fieldstone.epoch.verifier import Verifier
from fieldstone.identity.wallet import Wallet
from fieldstone.rewards.bonded import key_of
from fieldstone.services.bonding import BondTerms
from fieldstone.units import HOUR_MS, TOKEN_BASE

from .asking import Asking
from .conftest import START_MS, Network
from .test_rounds import answer, wait_for_round

VERIFIERS = [Wallet.from_secret(bytes([i]) * 32) for i in (11, 12, 13)]
Run = Callable[..., str]


class BondedAsking(Asking):
    """A device that answered nothing answers with its bond for one site."""

    def bond_terms(self, params: Mapping[str, Any]) -> BondTerms:
        return BondTerms("site", 1, 0)

    def carried_capacity(self, carry: Mapping[str, Any]) -> Mapping[str, int]:
        return {}

    def fault(self, verdict: Mapping[str, Any], end_ms: int) -> int:
        return int(verdict["verdict"] == "rejected")


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Network]:
    entry = SimpleNamespace(name="asking", load=BondedAsking)
    found = fieldstone.services._installed()
    monkeypatch.setattr(fieldstone.services, "_installed", lambda: {**found, entry.name: entry})
    listed = ", ".join(f'"{one.address}"' for one in VERIFIERS)
    services = '[services.asking]\nbond_per_unit = "10"\n'
    made = Network(tmp_path, stations=1, settlement=f"verifiers = [{listed}]\nthreshold = 2\n{services}")
    with made.live:
        yield made


@pytest.fixture
def run(network: Network, capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*words: str | int | Path, code: int = 0) -> str:
        with pytest.raises(SystemExit) as ended:
            main([*map(str, words), *(("--node", network.url) if words[2] != "evidence" else ())])
        output = capsys.readouterr()
        assert ended.value.code == code, output.err
        lines = (output.out if code == 0 else output.err).strip().splitlines()
        return "\n".join(line for line in lines if not line.startswith("20"))  # the node's log, of this process, too

    return call


def close(network: Network) -> None:
    network.clock.set(max(network.clock.now_ms(), network.live.node.state.next_end_ms))
    network.live.close_epoch()


def test_from_a_bond_to_a_slash(network: Network, run: Run, tmp_path: Path) -> None:
    node, device = network.live.node, network.keys[0].public.device_id
    owner, device_key = network.wallets[0].address, key_of(network.keys[0].public.device_id)
    node.layout.wallet("treasury").save(tmp_path / "treasury.wallet")
    outbox = Outbox(tmp_path / "bonds.db", clock=network.clock)
    treasury = Settlement(node.port, node.addresses, outbox=outbox, signer=node.layout.wallet("treasury"))
    treasury.bond(owner, bytes.fromhex(device_key), 4 * TOKEN_BASE, "device")
    treasury.bond(owner, NO_ROOT, 10 * TOKEN_BASE, "operator")
    outbox.close()
    close(network)
    network.clock.set(START_MS + 7 * HOUR_MS)
    wait_for_round(network)
    answer(network, network.agents[0])  # it holds what it was given
    close(network)
    shown = run("bond", "show", owner)
    assert "covers     1.40 site of asking, at 10" in shown
    assert "epoch 2" in shown and "0.00 of 0.00 site covered" in shown  # one answer in six hours is not much of a site
    told = json.loads(run("bond", "show", owner, "--device", device, "--json"))["cover"]
    assert told["staked_base"] == {"": str(10 * TOKEN_BASE), device: str(4 * TOKEN_BASE)} == told["counted_base"]
    (covered,) = told["devices"]
    assert covered["covered_base"] == covered["needed_base"] == str(-(-10 * TOKEN_BASE // 21_600))
    close(network)  # it does not any more
    folders = [tmp_path / f"verifier-{i}" for i in range(2)]
    for wallet, folder in zip(VERIFIERS, folders, strict=False):
        assert all(one.agrees for one in Verifier(network.url, wallet, folder).step())
        wallet.save(folder / "verifier.wallet")

    assert "has no verdict" in run("bond", "case", "evidence", device, "--epoch", 2, "--at", network.url, code=2)
    words = ("bond", "case", "evidence", device, "--epoch", 3, "--out", tmp_path, "--json")
    own, shared = told = json.loads(run(*words, "--at", network.url))
    assert json.loads(run(*words, "--at", network.folder)) == told  # the same bytes from everywhere
    # half of ten tokens: all four of the device's own bond, and one of the ten of its operator's
    assert [(one["key"], one["fraction_ppm"]) for one in told] == [(device_key, 1_000_000), (NO_ROOT.hex(), 100_000)]

    wallet = ("--wallet", tmp_path / "treasury.wallet")
    number = json.loads(run("bond", "case", "open", "--evidence", shared["file"], *wallet, "--json"))["case"]
    assert json.loads(run("bond", "case", "show", number, "--json"))["outcome"] == "open"
    false = tmp_path / "false.json"
    false.write_text(Path(shared["file"]).read_text().replace("100000", "900000"))
    refused = run("bond", "case", "sign", number, "--evidence", false, "--folder", folders[0], code=1)
    assert "names other evidence" in refused
    signed = [run("bond", "case", "sign", number, "--evidence", shared["file"], "--folder", one) for one in folders]
    decide = ("bond", "case", "decide", number, "--uphold", "--evidence", shared["file"], *wallet)
    assert "Collect the signatures" in run(*decide, "--signature", signed[0], code=1)
    run(*decide, "--signature", signed[0], "--signature", signed[1])
    assert node.chain.bonded(owner) == 9 * TOKEN_BASE
    assert node.chain.bonded(owner, bytes.fromhex(device_key)) == 4 * TOKEN_BASE  # no slashing without its own case

    again = json.loads(run("bond", "case", "open", "--evidence", own["file"], *wallet, "--json"))["case"]
    signed = [run("bond", "case", "sign", again, "--evidence", own["file"], "--folder", one) for one in folders]
    words = ("bond", "case", "decide", again, "--uphold", "--evidence", own["file"], *wallet)
    run(*words, "--signature", signed[0], "--signature", signed[1])
    close(network)
    close(network)
    bonds = node.state.bonds
    assert bonds is not None and bonds.staked() == {(owner.lower(), NO_ROOT.hex()): 9 * TOKEN_BASE}

    # a loss is paid for once, however often it is accused
    outbox = Outbox(tmp_path / "again.db", clock=network.clock)
    treasury = Settlement(node.port, node.addresses, outbox=outbox, signer=node.layout.wallet("treasury"))
    third = treasury.open_case(owner, NO_ROOT, bytes.fromhex(shared["sha256"]))
    outbox.close()
    refused = run("bond", "case", "sign", third, "--evidence", shared["file"], "--folder", folders[0], code=1)
    assert "paid for once" in refused


def test_a_case_whose_evidence_nobody_has_can_be_rejected(network: Network, run: Run, tmp_path: Path) -> None:
    """An accusation of nothing keeps a bond from being withdrawn until it is decided, and undecided it costs nothing."""
    node, owner = network.live.node, network.wallets[0].address
    wallet = ("--wallet", tmp_path / "treasury.wallet")
    node.layout.wallet("treasury").save(wallet[1])
    outbox = Outbox(tmp_path / "bonds.db", clock=network.clock)
    treasury = Settlement(node.port, node.addresses, outbox=outbox, signer=node.layout.wallet("treasury"))
    treasury.bond(owner, NO_ROOT, TOKEN_BASE, "operator")
    number = treasury.open_case(owner, NO_ROOT, b"\x01" * 32)
    outbox.close()
    folders = [tmp_path / f"verifier-{i}" for i in range(2)]
    for one, folder in zip(VERIFIERS, folders, strict=False):
        folder.mkdir()
        one.save(folder / "verifier.wallet")
    assert "--evidence FILE" in run("bond", "case", "sign", number, "--folder", folders[0], code=2)
    signed = [run("bond", "case", "sign", number, "--reject", "--folder", folder) for folder in folders]
    words = ("bond", "case", "decide", number, "--reject", *wallet)
    assert "is rejected" in run(*words, "--signature", signed[0], "--signature", signed[1])
    assert json.loads(run("bond", "case", "show", number, "--json"))["outcome"] == "rejected"
    assert node.chain.bonded(owner) == TOKEN_BASE
