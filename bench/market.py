"""What a sale costs: quote, order, download and ledger posts, in CPU seconds, against a plain scan of the same table.

Run by hand: `python bench/market.py [stations] [rows per station]`. Bounded to about a minute.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from fieldstone.clock import SystemClock
from fieldstone.journal.log import Journal
from fieldstone.journal.manifest import Manifest, file_info, write_manifest
from fieldstone.ledger import Ledger, Line, Transaction
from fieldstone.market import DataFormat, Market, Query, Source
from fieldstone.market.sealed import REGISTRY_TABLE
from fieldstone.policy import Policy
from fieldstone.services import load_service
from fieldstone.state import open_state

VARIABLES = ("temperature_c", "humidity_pct", "pressure_hpa", "pm2_5_ugm3")
TABLE = "sellable-sensing-readings.parquet"


def seal(folder: Path, epoch: int, stations: int, rows: int) -> None:
    place = folder / f"epoch={epoch}"
    place.mkdir(parents=True)
    random = np.random.default_rng(epoch)
    count = stations * rows
    devices = np.repeat([f"did:key:z6Mk{n:040d}" for n in range(stations)], rows)
    t_ms = np.tile(np.arange(rows) * 16_000 + epoch * 86_400_000, stations)
    columns: dict[str, Any] = {"device": devices, "t_ms": t_ms, "received_ms": t_ms + 50}
    columns |= {name: np.round(random.normal(20, 5, count), 2) for name in VARIABLES}
    pl.DataFrame(columns).with_columns(quality_ppm=pl.lit(950_000, pl.Int64)).write_parquet(place / TABLE)
    ids = [f"did:key:z6Mk{n:040d}" for n in range(stations)]
    registry = {"device": ids, "lat": random.uniform(-60, 70, stations), "lon": random.uniform(-180, 180, stations)}
    pl.DataFrame(registry).write_parquet(place / REGISTRY_TABLE)
    files = {name: file_info(place / name, count) for name in (TABLE, REGISTRY_TABLE)}
    manifest = Manifest(
        network_id="bench", epoch=epoch, start_ms=0, end_ms=1, first_position=0, last_position=0, files=files
    )
    write_manifest(place, manifest)


def cpu(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


def main(stations: int, rows: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for epoch in (1, 2):
            seal(folder / "sealed", epoch, stations, rows)
        journal = Journal.open(folder / "journal.db", clock=SystemClock())
        policy = Policy(network_id="bench")
        engine = open_state(folder / "state.db")
        service = load_service("sensing")
        market = Market(
            engine, journal, folder / "sealed", lambda: policy, SystemClock(), [service], deliveries=folder / "sold"
        )
        customer = market.customers.add("bench").id
        holder = market.authenticate(market.customers.add_key(customer).secret)
        market.topup(customer, 10**12, Source.FIAT, "bench")
        query = Query(service="sensing", product="observations", start_ms=0, end_ms=10**12, variables=VARIABLES)

        def scan() -> int:
            table = pl.scan_parquet(folder / "sealed" / "*" / TABLE)
            return int(table.group_by("device").agg(pl.col(VARIABLES).count()).collect(engine="streaming").height)

        scan_s, _ = cpu(scan)
        first_s, _ = cpu(lambda: market.quote(holder, query))
        quote_s, quote = cpu(lambda: market.quote(holder, query))
        order_s, order = cpu(lambda: market.order(holder, quote.id))
        print(
            f"{stations} stations × {rows} rows × {len(VARIABLES)} variables × 2 epochs = {quote.body.readings:,} readings"
        )
        print(f"{'step':<28}{'CPU s':>9}{'readings/CPU-s':>18}{'× plain scan':>14}")
        steps = [("plain scan and count", scan_s), ("first quote (hashes files)", first_s), ("quote", quote_s)]
        steps.append(("order (write, meter, book)", order_s))
        for form in DataFormat:
            spent_s, size = cpu(lambda form=form: sum(map(len, market.data(holder, order.id, form))))
            steps.append((f"download {form.value} ({size / 1e6:.0f} MB)", spent_s))
        for label, spent_s in steps:
            print(
                f"{label:<28}{spent_s:>9.2f}{quote.body.readings / max(spent_s, 1e-9):>18,.0f}{spent_s / scan_s:>14.1f}"
            )
        small = Query(
            service="sensing", product="observations", start_ms=86_400_000, end_ms=86_416_001, variables=VARIABLES[:1]
        )
        quotes = [market.quote(holder, small).id for _ in range(20)]
        small_s, _ = cpu(lambda: [market.order(holder, one) for one in quotes])
        print(f"small order ({2 * stations} readings): {small_s / 20 * 1000:.1f} CPU ms")
        ledger = Ledger(engine)

        def post(n: int) -> None:
            ledger.post(Transaction(f"bench:{n}", "bench", "", 1, (Line("external:fiat", -1), Line("customer:x", 1))))

        post_s, _ = cpu(lambda: [post(n) for n in range(500)])
        print(f"ledger post, durable: {post_s / 500 * 1000:.2f} CPU ms")
        journal.close()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 500, int(sys.argv[2]) if len(sys.argv) > 2 else 2000)
