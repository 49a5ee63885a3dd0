"""Where `fieldstone storage report` gets a sealed epoch's tables: from a folder, or the files it needs from a node."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from fieldstone.errors import CheckFailed, UsageError

if TYPE_CHECKING:
    import httpx
    import polars as pl

    from fieldstone.epoch.store import SealedEpoch
    from fieldstone.services.storage.customer_report import SealedTables

HOLDINGS, REPUTATION, REGISTRY = "carry-storage-holdings", "carry-storage-reputation", "state-registry"
COVERS, FUNDS, USAGE = "carry-storage-covers", "state-funds", "usage-storage"
_STATE = "state.json"
_FILES = (f"{REGISTRY}.parquet", f"{HOLDINGS}.parquet", f"{REPUTATION}.parquet", _STATE)
_IF_THERE = (f"{COVERS}.parquet", f"{FUNDS}.parquet", f"{USAGE}.parquet")  # where something is kept for ever


@contextmanager
def sealed_epoch(network: str | None, epochs: Path | None, number: int | None) -> Iterator[SealedEpoch]:
    """Yield a sealed epoch (None: the newest) whose needed files are those that its manifest names.

    Raises UsageError when there is none, Retryable when the node does not answer, CheckFailed when a file was changed.
    """
    from fieldstone.journal.manifest import file_info

    with tempfile.TemporaryDirectory(prefix="fieldstone-") as under:
        found = _local(epochs, number) if epochs is not None else _fetched(network, number, Path(under))
        manifest = found.manifest
        for name in (*_FILES, *_IF_THERE):
            info = manifest.files.get(name)
            if info is None and name in _IF_THERE:
                continue
            if info is None:
                raise UsageError(
                    f"epoch {manifest.epoch} of {manifest.network_id!r} has no {name}: it settled no storage yet"
                )
            if file_info(found.folder / name, info.rows) != info:
                raise CheckFailed(f"epoch {manifest.epoch}: {name} is not the file that the manifest names")
        yield found


def registry(sealed: SealedEpoch) -> pl.DataFrame:
    """Return the registry after an epoch. Raises CheckFailed when it cannot be read."""
    import polars as pl

    try:
        return sealed.table(REGISTRY)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise CheckFailed(f"the registry of epoch {sealed.manifest.epoch} cannot be read: {error}") from error


def tables(sealed: SealedEpoch, gateway: str, segments: Sequence[bytes]) -> SealedTables:
    """Return an epoch's tables, holdings cut down to a gateway's segments. Raises CheckFailed when they cannot be read."""
    import hashlib

    import msgspec
    import polars as pl

    from fieldstone.epoch.freeze import round_interval_ms
    from fieldstone.epoch.store import StateScalars
    from fieldstone.errors import FieldstoneError
    from fieldstone.journal.manifest import MANIFEST_NAME
    from fieldstone.market.catalogue import offers
    from fieldstone.policy import Policy
    from fieldstone.services import load_service
    from fieldstone.services.storage.customer_report import SealedTables
    from fieldstone.services.storage.schema import SERVICE, STORAGE

    manifest = sealed.manifest
    try:
        scalars = msgspec.json.decode((sealed.folder / _STATE).read_bytes(), type=StateScalars)
        policy = msgspec.convert(scalars.policy, Policy)
        wanted = pl.Series(values=list(segments), dtype=pl.Binary)
        everything = pl.scan_parquet(sealed.folder / f"{HOLDINGS}.parquet")
        answered = everything.group_by("device").agg(pl.col("proven_ms").max()).collect()
        holdings = everything.filter(
            (pl.col("gateway") == gateway) & pl.col("segment").is_in(wanted.implode())
        ).collect()
        sold = offers([load_service(SERVICE)], policy)
        prices = {one.product.name: one.unit_price_micro_usd for one in sold if one.service == SERVICE}
        return SealedTables(
            network_id=manifest.network_id,
            epoch=manifest.epoch,
            end_ms=manifest.end_ms,
            manifest_sha256=hashlib.sha256((sealed.folder / MANIFEST_NAME).read_bytes()).hexdigest(),
            holdings=holdings,
            answered=dict(answered.iter_rows()),
            round_ms=round_interval_ms(policy, SERVICE),
            registry=registry(sealed),
            reputation=sealed.table(REPUTATION),
            storage_micro_usd_per_gib_month=prices[STORAGE],
            start_ms=manifest.start_ms,
            covers=_if_there(sealed, COVERS),
            funds=_if_there(sealed, FUNDS),
            usage=_if_there(sealed, USAGE),
            prices_micro_usd=prices,
        )
    except (msgspec.MsgspecError, pl.exceptions.PolarsError, OSError) as error:
        raise CheckFailed(f"the tables of epoch {manifest.epoch} cannot be read: {error}") from error
    except FieldstoneError as error:
        raise CheckFailed(f"epoch {manifest.epoch} cannot be reported on: {error}") from error


def _if_there(sealed: SealedEpoch, name: str) -> pl.DataFrame | None:
    # only what the manifest names was fetched and compared
    return sealed.table(name) if f"{name}.parquet" in sealed.manifest.files else None


def _local(epochs: Path, number: int | None) -> SealedEpoch:
    from fieldstone.cli.sealed import open_store

    store = open_store(str(epochs), None)
    return store.sealed(store.latest if number is None else number)


def _fetched(network: str | None, number: int | None, under: Path) -> SealedEpoch:
    from functools import partial

    from fieldstone.cli.node_client import node_client
    from fieldstone.epoch.fetch import answered, get
    from fieldstone.epoch.store import SealedEpoch
    from fieldstone.journal.manifest import MANIFEST_NAME, parse_manifest

    if network is None:
        raise UsageError(
            "name where the sealed epochs are: the network's node (--network URL) or a folder (--epochs DIR)"
        )
    with node_client(network) as client:
        latest = int(get(client, f"/v1/epochs?after={2**53}").json()["latest"]) if number is None else number
        if latest < 1:
            raise UsageError(f"no epoch is sealed at {network} yet; ask again after the first one")
        base = f"/v1/epochs/{latest}/files"
        text = get(client, f"{base}/{MANIFEST_NAME}").content
        manifest = parse_manifest(text)
        if manifest.epoch != latest:
            raise CheckFailed(f"{network} answered for epoch {latest} with the manifest of epoch {manifest.epoch}")
        (under / MANIFEST_NAME).write_bytes(text)
        for name in (*_FILES, *_IF_THERE):
            if name in manifest.files:
                answered(partial(_save, client, f"{base}/{name}", under / name))
    return SealedEpoch(under)


def _save(client: httpx.Client, path: str, target: Path) -> httpx.Response:
    with client.stream("GET", path) as response:
        if response.is_error:
            response.read()
            return response
        with target.open("wb") as out:
            for piece in response.iter_bytes():
                out.write(piece)
    return response
