from __future__ import annotations

import httpx
import pytest

from fieldstone.epoch.replay import replay
from fieldstone.epoch.store import EpochStore
from fieldstone.identity.wallet import Wallet

from .conftest import HOSTILE_NAME, Network


@pytest.fixture(scope="module")
def closed(tmp_path_factory):
    """One closed epoch for all tests here: a node takes seconds to start, and none of them changes what another reads."""
    served = Network(tmp_path_factory.mktemp("api"))
    served.hours()
    served.live.close_epoch()
    served.live.node.settle()
    yield served
    served.close()


def test_health_readiness_metrics(network: Network) -> None:
    with httpx.Client(base_url=network.url) as client:
        assert client.get("/healthz").json() == {"status": "ok"}
        assert client.get("/readyz").status_code == 200
        network.clock.set(network.clock.now_ms() + 10 * 21_600_000)
        overdue = client.get("/readyz")
        assert overdue.status_code == 503 and "epoch 1" in overdue.json()["problems"]["epoch"]
        metrics = client.get("/metrics")
        assert metrics.status_code == 200 and "fieldstone_" in metrics.text


def test_statements_of_everyone_and_of_one(closed: Network) -> None:
    with httpx.Client(base_url=closed.url) as client:
        everyone = client.get("/v1/epochs/1/statements").json()["statements"]
        device = closed.keys[1].public.device_id
        one = client.get("/v1/epochs/1/statements", params={"device": device}).json()["statements"]
        assert [row["device"] for row in one] == [device]
        assert len(everyone) >= 3 and int(one[0]["total_base"]) > 0


def test_a_device_can_be_looked_up_with_its_refusals(closed: Network) -> None:
    with httpx.Client(base_url=closed.url) as client:
        device = closed.keys[0].public.device_id
        seen = client.get(f"/v1/devices/{device}").json()
        assert seen["name"] == HOSTILE_NAME and seen["statements"]
        missing = client.get("/v1/devices/did:key:zNobody")
        assert missing.status_code == 404 and missing.json()["code"] == "NOT_FOUND"


@pytest.mark.parametrize("name", ["..%2f..%2fkeys%2fnetwork.key", "manifest.json%00", "state.json.partial", "%2e%2e"])
def test_only_named_files_leave_the_house(closed: Network, name: str) -> None:
    with httpx.Client(base_url=closed.url) as client:
        answer = client.get(f"/v1/epochs/1/files/{name}")
        assert answer.status_code in (404, 400), answer.text
        assert "PRIVATE" not in answer.text


def test_a_downloaded_epoch_replays(closed: Network, tmp_path) -> None:
    from fieldstone.epoch.fetch import fetch_epoch

    with httpx.Client(base_url=closed.url) as client:
        fetch_epoch(client, 1, tmp_path / "fetched")
    assert replay(EpochStore(tmp_path / "fetched"), 1).agrees


@pytest.mark.parametrize(
    "body",
    [
        {"verifier": "0x" + "11" * 20, "attempt": 0, "signature": "00" * 65},
        {"verifier": "0x" + "11" * 20, "attempt": 0, "signature": "ff" * 65},
        {"verifier": "nobody", "attempt": 0, "signature": "zz"},
        {"attempt": -1},
    ],
)
def test_a_strangers_signature_is_refused(closed: Network, body) -> None:
    with httpx.Client(base_url=closed.url) as client:
        answer = client.post("/v1/epochs/1/signatures", json=body)
        assert answer.status_code == 422 and answer.json()["code"] == "BAD_REQUEST"


def test_a_valid_signature_of_a_stranger_is_refused(closed: Network) -> None:
    stranger = Wallet.generate()
    signature = stranger.sign_digest(closed.live.node.desk.digest(1, 0)).hex()
    with httpx.Client(base_url=closed.url) as client:
        body = {"verifier": stranger.address, "attempt": 0, "signature": signature}
        answer = client.post("/v1/epochs/1/signatures", json=body)
    assert answer.status_code == 422 and "not from a verifier" in answer.json()["detail"]


def test_a_claim_proof_appears_after_the_activation_delay(closed: Network) -> None:
    operator = closed.wallets[0].address
    with httpx.Client(base_url=closed.url) as client:
        assert client.get(f"/v1/claims/{operator}").status_code == 404
        closed.clock.set(closed.clock.now_ms() + 120_000)
        closed.live.node.port.mine()
        proof = client.get(f"/v1/claims/{operator}").json()
        assert int(proof["claimable_base"]) > 0 and proof["epoch"] == 1
        assert client.get("/v1/claims/0x123").status_code == 422


@pytest.mark.parametrize("path", ["/v1/admin/entries", "/v1/admin/close"])
def test_the_founders_door_is_shut(closed: Network, path: str) -> None:
    with httpx.Client(base_url=closed.url) as client:
        for headers in ({}, {"Authorization": "Basic eA=="}, {"Authorization": "Bearer wrong"}):
            answer = client.post(path, json={"entries": [{"kind": "price", "body": ""}]}, headers=headers)
            assert answer.status_code == 401, answer.text


def test_pages_escape_what_strangers_wrote(closed: Network) -> None:
    with httpx.Client(base_url=closed.url) as client:
        for path in ("/", "/devices", f"/devices/{closed.keys[0].public.device_id}", "/epochs", "/epochs/1", "/api"):
            page = client.get(path)
            assert page.status_code == 200, path
            assert "<script" not in page.text
            assert page.headers["content-security-policy"].startswith("default-src 'none'")
        assert "&lt;script&gt;" in client.get("/devices").text
        assert client.get("/devices/nobody").status_code == 404
        assert client.get("/epochs/99").status_code == 404
        assert client.get("/devices", params={"q": "<script>"}).text.count("<script>") == 0


def test_the_chains_port_answers_wallets(closed: Network) -> None:
    request = {"jsonrpc": "2.0", "id": 1, "method": "eth_chainId", "params": []}
    assert httpx.post(f"{closed.url}/rpc", json=request).json()["result"] == hex(31_337)


def test_an_epochs_page_shows_the_shared_figures(closed: Network) -> None:
    """Nobody bought anything in this epoch: all that operators received is subsidy."""
    from fieldstone.console.facts import epoch_facts

    found = epoch_facts(closed.live.node.store, 1)
    assert found.subsidy_ratio == 1.0
    assert found.reward_gini is not None and 0 <= found.reward_gini < 1
    with httpx.Client(base_url=closed.url) as client:
        page = client.get("/epochs/1").text
    assert "100.0 %</b> of what operators received no customer paid" in page
    assert "Gini of rewards" in page
