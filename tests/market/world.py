"""A small market over real parts: SQLite state, the real journal, sealed epochs with real manifests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl

from fieldstone.clock import SetClock
from fieldstone.errors import Retryable
from fieldstone.journal.entries import EntryKind, NewEntry
from fieldstone.journal.log import Journal
from fieldstone.journal.manifest import Manifest, file_info, write_manifest
from fieldstone.market import Market, Query
from fieldstone.market.customers import KeyHolder
from fieldstone.market.metering import decode
from fieldstone.market.orders import Order
from fieldstone.market.sealed import REGISTRY_TABLE
from fieldstone.policy import MarketPolicy, Policy
from fieldstone.services.contract import Column, Product
from fieldstone.services.sensing.schema import KIND, PRODUCTS, VARIABLES
from fieldstone.state import open_state

START_MS = 1_700_000_000_000
HOUR_MS = 3_600_000


@dataclass(frozen=True)
class Sensing:
    """What the market sees of a service: its name, kinds and products."""

    name: str = "sensing"
    quantity_unit: str = "reading"
    kinds: dict[str, tuple[Column, ...]] = field(default_factory=lambda: {KIND: VARIABLES})
    products: tuple[Product, ...] = PRODUCTS


def station(device: str, lat: float, lon: float) -> dict[str, Any]:
    return {"device": device, "lat": lat, "lon": lon}


def row(device: str, t_ms: int, quality_ppm: int = 1_000_000, **values: float | None) -> dict[str, Any]:
    return {"device": device, "t_ms": t_ms, "received_ms": t_ms + 5, "quality_ppm": quality_ppm, **values}


_VALUES = {name: pl.Float64() for name in ("temperature_c", "humidity_pct", "pm2_5_ugm3")}
_TABLE = {"device": pl.String(), "t_ms": pl.Int64(), "received_ms": pl.Int64(), **_VALUES, "quality_ppm": pl.Int64()}


def seal_epoch(folder: Path, number: int, rows: list[dict[str, Any]], stations: list[dict[str, Any]]) -> Path:
    """Write `epoch=N` as the node does: tables first, the manifest last."""
    place = folder / f"epoch={number}"
    place.mkdir(parents=True, exist_ok=True)
    tables = {
        "sellable-sensing-readings.parquet": pl.DataFrame(rows, schema=_TABLE),
        REGISTRY_TABLE: pl.DataFrame(stations, schema={"device": pl.String, "lat": pl.Float64, "lon": pl.Float64}),
    }
    files = {}
    for name, table in tables.items():
        table.write_parquet(place / name)
        files[name] = file_info(place / name, table.height)
    manifest = Manifest(
        network_id="testnet",
        epoch=number,
        start_ms=START_MS + (number - 1) * HOUR_MS,
        end_ms=START_MS + number * HOUR_MS,
        first_position=0,
        last_position=0,
        files=files,
        root=f"{number:064x}",
    )
    write_manifest(place, manifest)
    return place


STATIONS = [station("did:key:a", 52.5, 13.4), station("did:key:b", 52.6, 13.5), station("did:key:c", -17.8, 179.9)]


def two_epochs(folder: Path) -> None:
    """Epoch 1: stations a, b, c with 3 × 2 readings each, one value missing; epoch 2: station a with 2 readings."""
    rows = []
    for device, quality in (("did:key:a", 1_000_000), ("did:key:b", 900_000), ("did:key:c", 600_000)):
        for n in range(3):
            rows.append(row(device, START_MS + n * 60_000, quality, temperature_c=10.0 + n, humidity_pct=50.0))
    rows[0]["humidity_pct"] = None
    seal_epoch(folder, 1, rows, STATIONS)
    seal_epoch(folder, 2, [row("did:key:a", START_MS + HOUR_MS, temperature_c=-4.5, humidity_pct=60.0)], STATIONS)


ALL_READINGS = 19  # 3 × 3 × 2 − 1 + 2


class Flaky:
    """The real journal, failing on demand before or after an entry became durable."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.fail = ""

    def append(self, entries: Sequence[NewEntry]) -> Any:
        if self.fail == "before":
            raise Retryable("disk full")
        commit = self.journal.append(entries)
        if self.fail == "after":
            raise Retryable("answer lost")
        return commit

    def __getattr__(self, name: str) -> Any:
        return getattr(self.journal, name)


@dataclass
class World:
    """A market with one rich customer."""

    folder: Path
    clock: SetClock
    journal: Journal
    market: Market
    holder: KeyHolder
    key: str
    customer: str
    reopen: Callable[[], World]

    @property
    def epochs(self) -> Path:
        return self.folder / "epochs"

    def query(self, **changes: Any) -> Query:
        asked = {"service": "sensing", "product": "observations", "start_ms": 0, "end_ms": START_MS + 9 * HOUR_MS}
        return Query(**{**asked, **changes})

    def credits(self) -> int:
        return self.market.account(self.holder).credits_micro_usd

    def flaky(self) -> Flaky:
        """Put a journal that can fail under the market."""
        flaky = Flaky(self.journal)
        market = self.market
        for part in (market, market._fulfilment, market._refunds, market.usage, market.funds):
            part._journal = flaky  # type: ignore[attr-defined]
        return flaky

    def buy(self, **changes: Any) -> Order:
        return self.market.order(self.holder, self.market.quote(self.holder, self.query(**changes)).id)

    def metering(self) -> list[Any]:
        return [decode(entry.body) for entry in self.journal.read(kinds=[EntryKind.METERING])]

    def healthy(self) -> None:
        """Assert every invariant that holds after any sequence of calls."""
        assert self.market.reconcile() == []
        assert self.market.ledger.trial_balance().faults == ()
        assert self.market.escrow.totals().adds_up


@cache
def _migrated() -> bytes:
    """An empty state database: migrating once is enough, the migrations have their own tests."""
    with TemporaryDirectory() as folder:
        engine = open_state(Path(folder) / "state.sqlite")
        with engine.connect() as connection:
            connection.exec_driver_sql("COMMIT")
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        engine.dispose()
        return (Path(folder) / "state.sqlite").read_bytes()


def make_world(folder: Path, clock: SetClock, policy: Policy, service: Sensing | None = None, **options: Any) -> World:
    journal = Journal.open(folder / "journal.sqlite", clock=clock)
    if not (folder / "state.sqlite").exists():
        (folder / "state.sqlite").write_bytes(_migrated())
    market = Market(
        open_state(folder / "state.sqlite"),
        journal,
        folder / "epochs",
        lambda: policy,
        clock,
        [service or Sensing()],  # type: ignore[list-item]
        deliveries=folder / "deliveries",
        network_name="Test network",
        **options,
    )

    def reopen() -> World:
        journal.close()
        again = make_world(folder, clock, policy, service, **options)
        again.holder, again.key, again.customer = world.holder, world.key, world.customer
        return again

    world = World(folder, clock, journal, market, None, "", "", reopen)  # type: ignore[arg-type]
    return world


POLICY = Policy(network_id="testnet", market=MarketPolicy(min_quality_ppm=500_000))
