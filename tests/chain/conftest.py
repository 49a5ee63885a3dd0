"""A chain with Fieldstone's contracts on it, reached in both ways: in process and by JSON-RPC over real HTTP.

Imports stay inside the fixtures: the contract tests next door run in an environment without py-evm's wrapper.
"""

from __future__ import annotations

import shutil
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
def chain(request: Any, tmp_path: Path, clock: Any) -> Iterator[Any]:
    from fieldstone.chain.embedded import EmbeddedChain

    if "network" in request.fixturenames:
        for name in ("chain.sqlite3", "outbox.sqlite3"):
            shutil.copy(request.getfixturevalue("deployed") / name, tmp_path / name)
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
def outbox(chain: Any, tmp_path: Path, clock: Any) -> Iterator[Any]:
    from fieldstone.chain.outbox import Outbox

    opened = Outbox(tmp_path / "outbox.sqlite3", clock=clock)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def wallet() -> Any:
    from fieldstone.identity.wallet import Wallet

    return Wallet.from_secret(b"\x11" * 32)


@pytest.fixture(scope="session")
def verifiers() -> list[Any]:
    """Three verifiers in ascending order of address."""
    from fieldstone.identity.wallet import Wallet

    return sorted((Wallet.from_secret(bytes([n]) * 32) for n in (1, 2, 3)), key=lambda w: int(w.address, 16))


@pytest.fixture(scope="session")
def plan(wallet: Any, verifiers: list[Any]) -> Any:
    """Two-of-three verifiers, an hour of delay, no rule about epoch ends."""
    from fieldstone.chain.deploy import DeployPlan

    return DeployPlan(
        network_id="test",
        signers=tuple(verifier.address for verifier in verifiers),
        threshold=2,
        treasury=wallet.address,
        guardian=wallet.address,
        price_poster=wallet.address,
    )


@pytest.fixture(scope="session")
def deployed(tmp_path_factory: pytest.TempPathFactory, wallet: Any, plan: Any) -> Path:
    """Files of a chain with the contracts on it; a test starts from a copy, which is cheaper than deploying."""
    from fieldstone.chain.deploy import deploy
    from fieldstone.chain.embedded import EmbeddedChain
    from fieldstone.chain.outbox import Outbox
    from fieldstone.clock import SetClock

    folder = tmp_path_factory.mktemp("deployed")
    chain = EmbeddedChain(folder / "chain.sqlite3", clock=SetClock(START_MS))
    outbox = Outbox(folder / "outbox.sqlite3", clock=SetClock(START_MS))
    deploy(chain, outbox, wallet, plan).save(folder / "contracts.json")
    outbox.close()
    chain.close()
    return folder


@pytest.fixture
def network(
    port: Any, outbox: Any, wallet: Any, verifiers: list[Any], plan: Any, deployed: Path, chain: Any, clock: Any
) -> Network:
    """The deployed network of `plan`, through the port."""
    from fieldstone.chain.deploy import Addresses
    from fieldstone.chain.settlement import Settlement

    addresses = Addresses.load(deployed / "contracts.json")
    return Network(Settlement(port, addresses, outbox=outbox, signer=wallet), plan, verifiers, chain, clock)
