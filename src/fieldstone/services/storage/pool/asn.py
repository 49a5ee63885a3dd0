"""Which network (autonomous system) an address belongs to, from a table that the operator brings.

The file has the format of IPtoASN's `ip2asn-combined.tsv` (also gzipped): first address, last address, number, country,
name, separated by tabs. Number 0 is "not routed". Without a file the network prefix stands in for the system.
"""

from __future__ import annotations

import gzip
import ipaddress
from bisect import bisect_right
from collections.abc import Iterable
from pathlib import Path

from fieldstone.errors import UsageError


class AsnTable:
    """Ranges of addresses and their systems. `of` answers in microseconds."""

    def __init__(self, ranges: Iterable[tuple[str, str, int]]) -> None:
        """`ranges`: first and last address, number. Raises UsageError for what are none."""
        self._starts: dict[int, list[int]] = {4: [], 6: []}
        self._rows: dict[int, list[tuple[int, int]]] = {4: [], 6: []}
        found = []
        for first, last, number in ranges:
            try:
                low, high = ipaddress.ip_address(first), ipaddress.ip_address(last)
            except ValueError as error:
                raise UsageError(f"the table of networks: {error}") from None
            if low.version != high.version or int(low) > int(high):
                raise UsageError(f"the table of networks: {first} … {last} is no range")
            found.append((low.version, int(low), int(high), number))
        for version, start, end, number in sorted(found):
            self._starts[version].append(start)
            self._rows[version].append((end, number))

    @classmethod
    def read(cls, path: Path) -> AsnTable:
        """Read a table. Raises UsageError naming file and line."""
        try:
            raw = path.read_bytes()
            text = (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode()
        except (OSError, EOFError, UnicodeDecodeError) as error:
            raise UsageError(f"{path} cannot be read as a table of networks: {error}") from None
        rows = []
        for number, line in enumerate(text.splitlines(), start=1):
            parts = line.split("\t")
            if not line.strip() or line.startswith("#"):
                continue
            if len(parts) < 3 or not parts[2].isdecimal():
                raise UsageError(f"{path}, line {number}: not first address, last address, number between tabs")
            rows.append((parts[0], parts[1], int(parts[2])))
        return cls(rows)

    def of(self, prefix: str) -> str:
        """Return "AS…" for a network prefix or an address, "" when the table does not know it."""
        try:
            address = ipaddress.ip_network(prefix, strict=False).network_address
        except ValueError:
            return ""
        place = bisect_right(self._starts[address.version], int(address)) - 1
        if place < 0:
            return ""
        end, number = self._rows[address.version][place]
        return f"AS{number}" if number and int(address) <= end else ""
