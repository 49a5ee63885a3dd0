"""`fieldstone verify storage` on plain files gives what the network's own run gave; broken files are named."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from fieldstone.errors import UsageError
from fieldstone.services.offline import verify_files
from fieldstone.services.storage import service
from fieldstone.services.storage.lab_providers import Drops
from fieldstone.services.storage.lab_world import START_MS
from tests.services.storage.worlds import fleet

HOUR_MS = 3_600_000
OURS = {"new_days": 0}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pl.DataFrame]:
    folder = tmp_path_factory.mktemp("evidence")
    world = fleet(71, honest=3, shares=8, drops=Drops(share_dropped=0.3))
    tables: dict[str, list[pl.DataFrame]] = {}
    rounds, verdicts = [], []
    for _ in range(2):
        whole, result = world.run(3.0)
        for kind, table in whole.evidence.items():
            tables.setdefault(kind, []).append(table)
        rounds += [(one.number, one.position, one.issued_ms, one.seed) for one in whole.rounds]
        verdicts.append(result.verdicts)
    for kind, parts in tables.items():
        pl.concat(parts).write_parquet(folder / f"{kind}.parquet")
    columns = ["number", "position", "issued_ms", "seed"]
    pl.DataFrame(rounds, schema=columns, orient="row").write_parquet(folder / "rounds.parquet")
    world.registry.write_parquet(folder.with_name("registry.parquet"))
    return folder, pl.concat(verdicts).sort("epoch", "device")


def verified(folder: Path, **more: object) -> pl.DataFrame:
    registry = folder.with_name("registry.parquet")
    return verify_files(service, registry, folder, params=OURS, epoch_ms=3 * HOUR_MS, **more).verdicts  # type: ignore[arg-type]


def test_plain_files_give_the_networks_verdicts(files: tuple[Path, pl.DataFrame]) -> None:
    folder, expected = files
    assert START_MS % (3 * HOUR_MS) == 0
    assert verified(folder).equals(expected)


def test_without_rounds_nothing_was_asked(files: tuple[Path, pl.DataFrame], tmp_path: Path) -> None:
    folder = tmp_path / "evidence"
    folder.mkdir()
    (folder / "lease.parquet").write_bytes((files[0] / "lease.parquet").read_bytes())
    (tmp_path / "registry.parquet").write_bytes(files[0].with_name("registry.parquet").read_bytes())
    assert {code for codes in verified(folder)["reasons"] for code in codes} <= {"NOT_ASKED", "GATEWAY"}


def test_broken_files_are_named(files: tuple[Path, pl.DataFrame], tmp_path: Path) -> None:
    (tmp_path / "registry.parquet").write_bytes(files[0].with_name("registry.parquet").read_bytes())
    folder = tmp_path / "evidence"
    folder.mkdir()
    lease = pl.read_parquet(files[0] / "lease.parquet")
    lease.with_columns(body=pl.lit("text")).write_parquet(folder / "lease.parquet")
    with pytest.raises(UsageError, match="'body' must be bytes"):
        verified(folder)
    lease.write_parquet(folder / "lease.parquet")
    rounds = pl.read_parquet(files[0] / "rounds.parquet")
    for broken in (rounds.with_columns(seed=pl.lit(b"short")), pl.concat([rounds, rounds])):
        broken.write_parquet(folder / "rounds.parquet")
        with pytest.raises(UsageError, match=r"rounds\.parquet"):
            verified(folder)
    with pytest.raises(UsageError, match="no folder"):
        verify_files(service, tmp_path / "registry.parquet", folder / "lease.parquet")
