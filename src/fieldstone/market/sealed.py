"""Read sealed epochs as a seller: only what its manifest vouches for is offered.

Layout: `epoch=N/manifest.json` names every file with its SHA-256; an epoch without a manifest does not exist yet.
A file that is missing or differs from its manifest is never sold; it is named in the quote instead.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from fieldstone.errors import CheckFailed
from fieldstone.journal.manifest import MANIFEST_NAME, parse_manifest

REGISTRY_TABLE = "state-registry.parquet"  # as of the epoch's end
_FOLDER = re.compile(r"epoch=(\d{1,15})")


@dataclass(frozen=True, slots=True)
class SealedEpoch:
    """One sealed epoch. `root` is the settlement root ("" when the manifest names none), `files` name → SHA-256."""

    number: int
    folder: Path
    root: str
    manifest_sha256: str
    files: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class TableFacts:
    """A checked file: its hash, number of rows, and first and last `t_ms` (None when it is empty).

    `ordered`: its (device, t_ms) rise from row to row, so it needs no sorting and holds no row twice.
    """

    path: Path
    sha256: str
    rows: int
    first_ms: int | None
    last_ms: int | None
    ordered: bool


class SealedEpochs:
    """The folder of sealed epochs. Files are hashed once and remembered by size and time of change. Thread-safe."""

    def __init__(self, folder: Path, stations: Callable[[int], pl.DataFrame] | None = None) -> None:
        """`stations(epoch)` → (device, lat, lon); by default the registry sealed with the epoch."""
        self._folder = folder
        self._stations = stations
        self._manifests: dict[Path, tuple[tuple[int, int], SealedEpoch]] = {}
        self._facts: dict[Path, tuple[tuple[int, int], TableFacts]] = {}
        self._lock = threading.Lock()

    def epochs(self) -> tuple[list[SealedEpoch], dict[int, str]]:
        """Return all sealed epochs, oldest first, and those whose manifest cannot be read with why."""
        found, damaged = [], {}
        for folder in self._folder.glob("epoch=*"):
            match = _FOLDER.fullmatch(folder.name)
            if not match or not (folder / MANIFEST_NAME).is_file():
                continue
            try:
                found.append(self._epoch(int(match[1]), folder))
            except CheckFailed as error:
                damaged[int(match[1])] = str(error)
        return sorted(found, key=lambda epoch: epoch.number), damaged

    def table(self, epoch: SealedEpoch, name: str) -> TableFacts | None:
        """Return the checked file `name`; None when the epoch has no such table. Raises CheckFailed when it is damaged."""
        if name not in epoch.files:
            return None
        path = epoch.folder / name
        try:
            stat = path.stat()
        except OSError as error:
            raise CheckFailed(f"epoch {epoch.number}: {name} is missing ({error.strerror})") from error
        stamp = (stat.st_size, stat.st_mtime_ns)
        with self._lock:
            known = self._facts.get(path)
        if known is None or known[0] != stamp:
            known = (stamp, _facts(path))
            with self._lock:
                self._facts[path] = known
        if known[1].sha256 != epoch.files[name]:
            raise CheckFailed(f"epoch {epoch.number}: {name} differs from its manifest")
        return known[1]

    def stations(self, epoch: SealedEpoch) -> pl.DataFrame:
        """Return where the stations stood (device, lat, lon). Raises CheckFailed when the sealed registry is damaged."""
        if self._stations is not None:
            return self._stations(epoch.number).select("device", "lat", "lon")
        facts = self.table(epoch, REGISTRY_TABLE)
        if facts is None:
            raise CheckFailed(f"epoch {epoch.number}: has no {REGISTRY_TABLE}")
        return pl.read_parquet(facts.path, columns=["device", "lat", "lon"])

    def _epoch(self, number: int, folder: Path) -> SealedEpoch:
        path = folder / MANIFEST_NAME
        try:
            stat = path.stat()
            stamp = (stat.st_size, stat.st_mtime_ns)
            with self._lock:
                known = self._manifests.get(path)
            if known is not None and known[0] == stamp:
                return known[1]
            body = path.read_bytes()
            manifest = parse_manifest(body)
        except (CheckFailed, OSError) as error:
            raise CheckFailed(f"epoch {number}: {error}") from error
        if manifest.epoch != number:
            raise CheckFailed(f"epoch {number}: its manifest is that of epoch {manifest.epoch}")
        files = {name: info.sha256 for name, info in manifest.files.items()}
        epoch = SealedEpoch(number, folder, manifest.root, hashlib.sha256(body).hexdigest(), files)
        with self._lock:
            self._manifests[path] = (stamp, epoch)
        return epoch


def _facts(path: Path) -> TableFacts:
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    try:
        table = pl.scan_parquet(path)
        if "t_ms" not in table.collect_schema():
            rows = table.select(pl.len()).collect().item()
            return TableFacts(path, sha256, rows, None, None, False)
        device, t_ms = pl.col("device"), pl.col("t_ms")
        rises = (device > device.shift(1)) | ((device == device.shift(1)) & (t_ms > t_ms.shift(1)))
        low, high, rows, ordered = (
            table.select(
                t_ms.min().alias("low"),
                t_ms.max().alias("high"),
                pl.len().alias("rows"),
                # the first row has none before it; a null anywhere else could hide a repeated row
                (rises.fill_null(True).all() & (device.null_count() + t_ms.null_count() == 0)).alias("ordered"),
            )
            .collect()
            .row(0)
        )
    except (pl.exceptions.PolarsError, OSError) as error:
        raise CheckFailed(f"{path.parent.name}: {path.name} is not a Parquet file: {error}") from error
    return TableFacts(path, sha256, rows, low, high, ordered)
