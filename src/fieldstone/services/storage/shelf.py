"""What one device holds, as arrays, and how a place among all its bytes is found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fieldstone.services.storage.codes.chunk_opening import starts_of

__all__ = ["Shelf", "shelves"]


@dataclass(frozen=True)
class Shelf:
    """One device's holdings in the order of the fold (share, from_position). `sizes`, `leaf_bytes`: bytes, of each share."""

    device: str
    shares: list[bytes]
    sizes: NDArray[np.int64]
    leaf_bytes: NDArray[np.int64]
    from_position: NDArray[np.int64]
    until_position: NDArray[np.int64]
    gateways: list[str]
    from_ms: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))

    @cached_property
    def leaves(self) -> NDArray[np.int64]:
        """How many leaves each share has."""
        found: NDArray[np.int64] = -(-self.sizes // self.leaf_bytes)
        return found

    def held(self, position: int) -> NDArray[np.int64]:
        """Return the places of the shares held when the journal was at `position`."""
        return np.flatnonzero((self.from_position < position) & (self.until_position > position))

    def chunks_with(self, rows: NDArray[np.int64], bytes_: Sequence[int]) -> list[tuple[int, int]]:
        """Return (place, first byte of the chunk) for bytes numbered through the shares at `rows`; each chunk once."""
        edges = np.cumsum(self.sizes[rows])
        numbers = np.asarray(bytes_, dtype=np.int64)
        places = np.searchsorted(edges, numbers, side="right")
        row = rows[places]
        starts = starts_of(numbers - edges[places] + self.sizes[row], self.leaf_bytes[row])
        return list(dict.fromkeys(zip(row.tolist(), starts.tolist(), strict=True)))

    def leaf_range(self, row: int, leaf: int) -> tuple[int, int]:
        """Return the bytes (half open) of a leaf of the share at `row`."""
        low = leaf * int(self.leaf_bytes[row])
        return low, min(low + int(self.leaf_bytes[row]), int(self.sizes[row]))

    def leaf_at(self, row: int, byte: int) -> tuple[int, int]:
        """Return (place, leaf index) of the leaf that a byte of the share at `row` is in."""
        return row, byte // int(self.leaf_bytes[row])


def shelves(holdings: pl.DataFrame) -> Iterator[Shelf]:
    """Cut HOLDING_SCHEMA, sorted by device and share, into shelves. Devices without a row have none."""
    if not holdings.height:
        return
    names = holdings["device"]
    starts = np.flatnonzero(np.append(True, (names[1:] != names[:-1]).to_numpy())).tolist()
    sizes, leaf_bytes = holdings["size_bytes"].to_numpy(), holdings["leaf_bytes"].to_numpy()
    low, high = holdings["from_position"].to_numpy(), holdings["until_position"].to_numpy()
    from_ms = holdings["from_ms"].to_numpy()
    for start, end in pairwise([*starts, holdings.height]):
        shares, gateways = holdings["share"][start:end].to_list(), holdings["gateway"][start:end].to_list()
        part = slice(start, end)
        yield Shelf(names[start], shares, sizes[part], leaf_bytes[part], low[part], high[part], gateways, from_ms[part])
