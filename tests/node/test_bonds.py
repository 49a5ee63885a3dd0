"""A node that asks for bonds: what stands on chain at an epoch's end is what the next epoch counts, and verifiers look."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fieldstone.chain.bonds import Bond
from fieldstone.chain.outbox import Outbox
from fieldstone.chain.rpc import RpcPort
from fieldstone.chain.settlement import Settlement
from fieldstone.chain.view import NO_ROOT, ContractsView
from fieldstone.config import load
from fieldstone.epoch.verifier import Verifier
from fieldstone.errors import ConfigError, Retryable
from fieldstone.identity.wallet import Wallet
from fieldstone.node import bonds as bonds_module
from fieldstone.node.node import Node
from fieldstone.units import TOKEN_BASE
from tests.node.conftest import TOML, Network

VERIFIER = Wallet.from_secret(b"\x0b" * 32)
SERVICES = '[services.sensing]\nshare_ppm = 500000\n[services.storage]\nshare_ppm = 500000\nbond_per_unit = "10"\n'


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    served = Network(tmp_path, stations=1, settlement=f'verifiers = ["{VERIFIER.address}"]\n{SERVICES}')
    yield served
    served.close()


@pytest.fixture
def treasury(network: Network, tmp_path: Path) -> Iterator[Settlement]:
    node = network.live.node
    outbox = Outbox(tmp_path / "treasury-outbox.db", clock=network.clock)
    yield Settlement(node.port, node.addresses, outbox=outbox, signer=node.layout.wallet("treasury"))
    outbox.close()


def close(network: Network) -> None:
    network.clock.set(max(network.clock.now_ms(), network.live.node.state.next_end_ms))
    network.live.close_epoch()


def counted(network: Network) -> dict[tuple[str, str], int]:
    snapshot = network.live.node.state.bonds
    assert snapshot is not None and snapshot.epoch == network.live.node.state.epoch
    return dict(snapshot.staked())


def verifier(network: Network, tmp_path: Path, *, with_chain: bool = True) -> Verifier:
    node = network.live.node
    port = RpcPort(f"{network.url}/rpc", expected_chain_id=node.policy.chain_id)
    chain = ContractsView(port, node.addresses) if with_chain else None
    return Verifier(network.url, VERIFIER, tmp_path / f"verifier-{with_chain}", chain=chain)


def test_bonds_count_from_the_epoch_that_begins_after_them(
    network: Network, treasury: Settlement, tmp_path: Path
) -> None:
    """Also: a bond for one block has to stay for the whole unbonding delay, and what is on its way out covers nothing."""
    owner = network.wallets[0].address
    treasury.bond(owner, NO_ROOT, 7 * TOKEN_BASE, "for an operator")
    treasury.bond(treasury.sender, NO_ROOT, 3 * TOKEN_BASE, "flash")  # just before the boundary
    close(network)
    treasury.unbond(NO_ROOT, 3 * TOKEN_BASE, "flash")  # just after it
    close(network)
    operator, flash = (owner.lower(), NO_ROOT.hex()), (treasury.sender.lower(), NO_ROOT.hex())
    assert counted(network) == {operator: 7 * TOKEN_BASE, flash: 3 * TOKEN_BASE}
    delay_s = network.live.node.chain.unbonding_delay_s()
    assert delay_s >= 604_800 + 86_400 + 2 * network.live.node.policy.epoch.length_s  # no fault goes unnamed before
    assert network.live.node.bonds.short_delay() == ""
    close(network)
    assert counted(network) == {operator: 7 * TOKEN_BASE, flash: 0}
    opinions = verifier(network, tmp_path).step()
    assert [(one.agrees, one.unchecked) for one in opinions] == [(True, ())] * 3
    blind = verifier(network, tmp_path, with_chain=False).step()
    assert all(one.agrees for one in blind)
    assert [bool(one.unchecked) for one in blind] == [False, True, True]
    assert "not compared with the chain" in blind[1].unchecked[0]


def test_a_node_that_writes_a_false_snapshot_is_refused_and_the_owner_named(
    network: Network, treasury: Settlement, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    treasury.bond(treasury.sender, NO_ROOT, TOKEN_BASE, "mine")
    friend = Bond(network.wallets[0].address, NO_ROOT.hex(), 10**24, 0)
    true = bonds_module.bonds_at
    monkeypatch.setattr(bonds_module, "bonds_at", lambda *asked: [*true(*asked), friend])
    close(network)
    close(network)
    assert counted(network)[friend.owner.lower(), friend.key] == 10**24
    first, second = verifier(network, tmp_path).step()
    assert first.agrees and not second.agrees
    assert friend.owner.lower() in second.reason and "the chain 0 and 0" in second.reason
    assert [refusal.verifier for refusal in network.live.node.book.refusals(2)] == [VERIFIER.address]


def test_a_chain_that_does_not_answer_stops_nothing_and_is_named(
    network: Network, treasury: Settlement, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*asked: object) -> list[Bond]:
        raise Retryable("the chain's node is away")

    node = network.live.node
    treasury.bond(treasury.sender, NO_ROOT, TOKEN_BASE, "mine")
    close(network)
    close(network)
    before = counted(network)
    with monkeypatch.context() as broken:
        broken.setattr(bonds_module, "bonds_at", away)
        close(network)
        assert "those of epoch 3 stay" in node.bonds.problem or "those of epoch 2 stay" in node.bonds.problem
        close(network)
    assert node.state.bonds is not None and node.state.bonds.epoch == 3 and node.state.bonds.staked() == before
    # it answers again: the same block is asked for, though the head is elsewhere by now
    treasury.bond(treasury.sender, NO_ROOT, TOKEN_BASE, "more")
    network.clock.set(network.clock.now_ms() + 11_000)
    node.bonds.write_due()
    assert node.bonds.problem == "" and not node.bonds.write_due(at_once=True)
    close(network)
    assert counted(network) == before
    missing = verifier(network, tmp_path).step()
    assert all(one.agrees for one in missing)
    assert "no snapshot of the bonds: those of epoch 3 stay" in missing[3].unchecked[0]


def test_a_bond_for_what_has_no_capacity_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "network.toml").write_text(TOML.format(settlement='[services.sensing]\nbond_per_unit = "1"'))
    with pytest.raises(ConfigError, match="nothing that a bond answers for"):
        Node(load(tmp_path / "network.toml", {}))


def test_a_network_without_bonds_writes_none(tmp_path: Path) -> None:
    served = Network(tmp_path, stations=1)
    close(served)
    close(served)
    assert served.live.node.state.bonds is None and served.live.node.bonds.problem == ""
    assert "bond" not in served.live.node.store.sealed(2).manifest.counts
    served.close()
