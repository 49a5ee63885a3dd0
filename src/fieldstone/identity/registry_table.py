"""The registry as a table, for sealed epochs: what services read first, then everything a replay has to know."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import polars as pl

from fieldstone.errors import CheckFailed, Rejected
from fieldstone.identity.keys import PublicKey
from fieldstone.identity.registry import Device

# The first seven are `fieldstone.services.contract.REGISTRY_SCHEMA`; a test compares them.
SCHEMA: dict[str, pl.DataType] = {
    "device": pl.String(),
    "operator": pl.String(),
    "model": pl.String(),
    "lat": pl.Float64(),
    "lon": pl.Float64(),
    "elevation_m": pl.Float64(),
    "enrolled_ms": pl.Int64(),
    "accuracy_m": pl.Float64(),
    "moved_ms": pl.Int64(),
    "revoked_ms": pl.Int64(),
    "issuer": pl.String(),
    "name": pl.String(),
    "public": pl.String(),  # did:key of the key that signs now
    "nonce": pl.Int64(),
    "retired": pl.List(pl.String()),  # did:key of earlier keys, oldest first
    "recovery_key": pl.String(),
    "recovery_ms": pl.Int64(),
}


def to_table(devices: Iterable[Device]) -> pl.DataFrame:
    """Return one row per device in the given order."""
    rows = []
    for device in devices:
        row: dict[str, Any] = {name: getattr(device, name) for name in SCHEMA}
        row["public"] = device.public.device_id
        row["retired"] = list(device.retired)
        rows.append(row)
    return pl.DataFrame(rows, schema=SCHEMA)


def from_table(table: pl.DataFrame) -> list[Device]:
    """Return the devices of a table. Raises CheckFailed when columns, types or keys are not those of `to_table`."""
    if dict(table.schema) != SCHEMA:
        raise CheckFailed(f"the registry table has columns {dict(table.schema)}, expected are {SCHEMA}")
    devices = []
    for row in table.iter_rows(named=True):
        try:
            public = PublicKey.from_device_id(row["public"] or "")
            for old in row["retired"] or ():
                PublicKey.from_device_id(old)
        except Rejected as error:
            raise CheckFailed(f"the registry table names a bad key for {row['device']}: {error}") from None
        devices.append(Device(**{**row, "public": public, "retired": tuple(row["retired"] or ())}))
    return devices
