"""A chain with Fieldstone's contracts on it, reached in both ways: in process and by JSON-RPC over real HTTP.

Imports stay inside the fixtures: the contract tests next door run in an environment without py-evm's wrapper.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.chain.world import START_MS, Network, serve


@pytest.fixture
def clock() -> Any:
    from fieldstone.clock import SetClock

    return SetClock(START_MS)


@pytest.fixture
def chain(tmp_path: Path, clock: Any) -> Iterator[Any]:
    from fieldstone.chain.embedded import EmbeddedChain

    opened = EmbeddedChain(tmp_path / "chain.sqlite3", clock=clock)
    yield opened
    opened.close()


@pytest.fixture
def rpc_url(chain: Any) -> Iterator[str]:
    from fieldstone.chain.jsonrpc import JsonRpcApp

    with serve(JsonRpcApp(chain)) as url:
        yield url


@pytest.fixture(params=["embedded", "rpc"])
def port(request: Any, chain: Any) -> Any:
    """The chain, through each of the two ports."""
    if request.param == "embedded":
        return chain
    from fieldstone.chain.rpc import RpcPort

    return RpcPort(request.getfixturevalue("rpc_url"))


@pytest.fixture
def outbox(tmp_path: Path, clock: Any) -> Iterator[Any]:
    from fieldstone.chain.outbox import Outbox

    opened = Outbox(tmp_path / "outbox.sqlite3", clock=clock)
    yield opened
    opened.close()


@pytest.fixture
def wallet() -> Any:
    from fieldstone.identity.wallet import Wallet

    return Wallet.from_secret(b"\x11" * 32)


@pytest.fixture
def verifiers() -> list[Any]:
    """Three verifiers in ascending order of address."""
    from fieldstone.identity.wallet import Wallet

    return sorted((Wallet.from_secret(bytes([n]) * 32) for n in (1, 2, 3)), key=lambda w: int(w.address, 16))


@pytest.fixture
def network(port: Any, outbox: Any, wallet: Any, verifiers: list[Any], chain: Any, clock: Any) -> Network:
    """Two-of-three verifiers, an hour of delay, no rule about epoch ends."""
    from fieldstone.chain.deploy import DeployPlan, deploy
    from fieldstone.chain.settlement import Settlement

    plan = DeployPlan(
        network_id="test",
        signers=tuple(verifier.address for verifier in verifiers),
        threshold=2,
        treasury=wallet.address,
        guardian=wallet.address,
        price_poster=wallet.address,
    )
    addresses = deploy(port, outbox, wallet, plan)
    return Network(Settlement(port, addresses, outbox=outbox, signer=wallet), plan, verifiers, chain, clock)
