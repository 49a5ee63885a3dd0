"""The demo's three days: enrol, report, close, verify, sell, settle, claim, replay. Returns what happened, as data."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from fieldstone.chain.claims import fetch_documents, pay
from fieldstone.chain.outbox import Outbox
from fieldstone.chain.rpc import RpcPort
from fieldstone.chain.settlement import Settlement
from fieldstone.clock import SetClock
from fieldstone.config import load
from fieldstone.demo import fleet
from fieldstone.demo.live import LiveNode, Verifiers, wait_until
from fieldstone.epoch.replay import Replay, replay
from fieldstone.epoch.store import EpochStore
from fieldstone.errors import CheckFailed, UsageError
from fieldstone.identity.wallet import Wallet
from fieldstone.market.credits import Source
from fieldstone.node.node import Node
from fieldstone.units import DAY_MS, HOUR_MS, USD_MICRO

DAYS = 3
REPORT_EVERY_MS = 3 * HOUR_MS
MARKER = ".fieldstone-demo"
VERIFIERS = 3
SENDERS = 12  # devices that talk at once; they share each fsync

NETWORK_TOML = """\
# Written by `fieldstone demo`. Run `fieldstone up` in this folder to keep the network going on the real clock.
[node]
name = "Fieldstone demo"
port = {port}
device_reports_per_minute = 100000

[network]
network_id = "demo"

[epoch]
length_s = 86400
first_start_ms = {start_ms}

[rewards]
take_ppm = 100000              # 10 % of what customers pay goes to the treasury
token_price_usd = "0.05"
bootstrap_per_epoch = "1000"   # tokens an epoch for verified but unsold work; fades as customers pay more
r_half_usd = "100"

[market.prices_usd]
observations = "0.0002"        # dollars a reading

[settlement]
verifiers = [{verifiers}]
threshold = 2
activation_delay_s = 3600
"""

Progress = Callable[[str], None]


@dataclass
class Purchase:
    """What one customer bought."""

    customer: str
    what: str
    readings: int
    price_micro_usd: int
    invoice: str
    data_sha256: str


@dataclass
class Story:
    """What happened in the demo."""

    folder: Path
    url: str
    devices: list[fleet.DemoDevice]
    reports: int = 0
    readings_sold: int = 0
    purchases: list[Purchase] = field(default_factory=list)
    claim: dict[str, Any] = field(default_factory=dict)
    active_epoch: int = 0
    active_root: str = ""
    replayed: Replay | None = None
    seconds: float = 0.0


def run(folder: Path, progress: Progress, *, now_ms: int, port: int = 0) -> Story:
    """Run the demo in `folder`, which must be new or an earlier demo's. Three days that end at the last midnight UTC."""
    began = time.monotonic()
    start_ms = now_ms // DAY_MS * DAY_MS - DAYS * DAY_MS
    _prepare(folder, start_ms, port)
    clock = SetClock(start_ms - HOUR_MS)  # devices enrol before the first epoch begins
    progress("opening the network: journal, chain, contracts")
    with LiveNode(Node(load(folder / "network.toml", {}), clock)) as live:
        progress("enrolling devices")
        devices = fleet.build(start_ms)
        fleet.enrol_all(devices, live.url, live.node.policy, lambda: clock.set(clock.now_ms() + 1_000))
        fleet.connect(devices, live.url, folder / "agents")
        story = Story(folder, live.url, devices)
        customers = _customers(live.node)
        with Verifiers(live.url, [folder / f"verifier-{i}" for i in range(1, VERIFIERS + 1)]):
            for day in range(DAYS):
                progress(f"day {day + 1}: {len(devices)} devices report")
                _day(story, clock, start_ms + day * DAY_MS)
                if day:
                    progress(f"day {day + 1}: customers buy day {day}'s data")
                    _sales(story, customers, start_ms + (day - 1) * DAY_MS)
                clock.set(start_ms + (day + 1) * DAY_MS)
                progress(f"day {day + 1}: closing the epoch; three verifiers replay it")
                closed = live.close_epoch()
                _wait_for_root(live, closed)
            clock.set(clock.now_ms() + 2 * HOUR_MS)  # past the activation delay
            progress("claiming")
            _claim(story, live, clock)
        progress("replaying the last epoch from its sealed files")
        story.replayed = replay(EpochStore(live.node.layout.sealed), DAYS)
        (folder / MARKER).write_text(str(DAYS))
    story.seconds = time.monotonic() - began
    return story


def _wait_for_root(live: LiveNode, epoch: int) -> None:
    wait_until(lambda: live.node.chain.live_epoch() >= epoch, f"the root of epoch {epoch} on chain")


def _prepare(folder: Path, start_ms: int, port: int) -> None:
    if folder.exists() and any(folder.iterdir()):
        if not (folder / MARKER).exists():
            raise UsageError(f"{folder} is not empty and no earlier demo; name another folder")
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARKER).write_text("running")
    addresses = []
    for number in range(1, VERIFIERS + 1):
        own = folder / f"verifier-{number}"
        own.mkdir()
        wallet = Wallet.generate()
        wallet.save(own / "verifier.wallet")
        addresses.append(f'"{wallet.address}"')
    text = NETWORK_TOML.format(start_ms=start_ms, port=port, verifiers=", ".join(addresses))
    (folder / "network.toml").write_text(text)


def _day(story: Story, clock: SetClock, day_ms: int) -> None:
    """Let every device report every three hours; the last window ends a second before midnight."""
    for window in range(DAY_MS // REPORT_EVERY_MS):
        first_ms = day_ms + window * REPORT_EVERY_MS
        end_ms = first_ms + REPORT_EVERY_MS
        clock.set(max(clock.now_ms(), end_ms - 1_000))
        with ThreadPoolExecutor(SENDERS) as senders:
            sent = [senders.submit(fleet.report, device, first_ms, end_ms - 1_000) for device in story.devices]
            story.reports += sum(future.result() for future in sent)


def _customers(node: Node) -> dict[str, str]:
    """Register two customers with dollars on account; return name → API key."""
    keys = {}
    for name, dollars in (("City of Vienna", 40), ("Harvest Insurance", 25)):
        customer = node.market.customers.add(name)
        node.market.topup(customer.id, dollars * USD_MICRO, Source.FIAT, f"bank transfer {name}")
        limit = 20 * USD_MICRO
        keys[name] = node.market.customers.add_key(customer.id, label="demo", limit_micro_usd=limit).secret
    return keys


def _sales(story: Story, customers: dict[str, str], day_ms: int) -> None:
    city = {"south": 48.0, "west": 16.1, "north": 48.4, "east": 16.7}
    wishes: dict[str, tuple[str, dict[str, Any]]] = {
        "City of Vienna": (
            "temperature and wind over the city",
            {"variables": ["temperature_c", "wind_speed_ms"], "box": city},
        ),
        "Harvest Insurance": ("rain everywhere", {"variables": ["rain_mm"]}),
    }
    for name, (what, query) in wishes.items():
        body = {**query, "start_ms": day_ms, "end_ms": day_ms + DAY_MS}
        with httpx.Client(
            base_url=story.url, headers={"Authorization": f"Bearer {customers[name]}"}, timeout=30
        ) as client:
            quote = _ok(client.post("/v1/market/quotes", json=body))
            order = _ok(client.post("/v1/market/orders", json={"quote_id": quote["id"]}))
            data = client.get(f"/v1/market/orders/{order['id']}/data", params={"format": "parquet"})
            if data.status_code != 200:
                raise CheckFailed(f"the data of {order['id']} did not come: {data.text[:200]}")
        invoice = order["invoices"][0] if order["invoices"] else ""
        story.purchases.append(
            Purchase(name, what, quote["readings"], order["price_micro_usd"], invoice, order["data_sha256"])
        )
        story.readings_sold += quote["readings"]


def _claim(story: Story, live: LiveNode, clock: SetClock) -> None:
    """The best-earning operator claims through the chain's JSON-RPC port with its own wallet, as anyone could."""
    chain = live.node.chain
    live.node.port.mine()  # type: ignore[attr-defined]
    story.active_epoch, story.active_root = chain.active_epoch(), chain.active_root().hex()
    leaves = live.node.store.sealed(story.active_epoch).leaves()
    operators = {device.wallet.address: device.wallet for device in story.devices}
    wallet = max((w for a, w in operators.items() if a in leaves), key=lambda w: leaves[w.address])
    documents = fetch_documents(story.url, [wallet.address])
    port = RpcPort(f"{story.url}/rpc")
    outbox = Outbox(story.folder / "claim-outbox.db", clock=clock)
    try:
        settlement = Settlement(port, live.node.addresses, outbox=outbox, signer=wallet)
        results = pay(settlement, documents)
        story.claim = {
            "operator": wallet.address,
            "paid_base": sum(result.paid_base for result in results),
            "transaction": "0x" + (results[0].tx_hash or b"").hex(),
            "gas_used": results[0].gas_used,
            "balance_base": settlement.token_balance(wallet.address),
        }
    finally:
        outbox.close()


def _ok(response: httpx.Response) -> dict[str, Any]:
    if response.status_code >= 300:
        raise CheckFailed(f"{response.request.url.path} answered {response.status_code}: {response.text[:300]}")
    body: dict[str, Any] = response.json()
    return body
