"""Read and write leaves and trees: CSV (`address,amount`), OpenZeppelin's JSON dump, and columns (Parquet and npy).

A leaf file decides who is paid, so the reader accepts nothing it would have to guess about: every fault is an error
that names the line.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from fieldstone.chain.merkle import UINT256_MAX, Tree, is_address
from fieldstone.errors import CheckFailed, UsageError
from fieldstone.identity.wallet import checksum_address

COLUMNS = ("address", "amount")
_MAX_DIGITS = 78  # of 2^256 − 1


def read_csv(path: Path) -> list[tuple[str, int]]:
    """Return the leaves of a CSV file in order. Amounts are whole base units; other columns are ignored.

    Raises UsageError naming the 1-based line: missing header, bad or repeated address, wrong EIP-55 checksum of a
    mixed-case address, an amount that is no whole number in 0 … 2²⁵⁶ − 1, a row of the wrong length, no rows.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as handle:
            return _read_rows(path, csv.reader(handle, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path} cannot be read as CSV: {error}") from None


def _read_rows(path: Path, reader: Any) -> list[tuple[str, int]]:
    header = [name.strip() for name in next(reader, [])]
    if not header:
        raise UsageError(f"{path} is empty; it needs a header line `address,amount` and one line per account")
    for name in COLUMNS:
        if header.count(name) != 1:
            raise UsageError(
                f"{path}: line 1: the header must name the column {name!r} once; it reads {','.join(header)!r}"
            )
    at_address, at_amount, width = header.index("address"), header.index("amount"), len(header)
    leaves: list[tuple[str, int]] = []
    line_of: dict[str, int] = {}
    for row in reader:
        if not row:
            continue  # a blank line, usually the last
        line = reader.line_num
        if len(row) != width:
            raise UsageError(f"{path}: line {line}: {len(row)} fields where the header has {width}")
        address, text = row[at_address].strip(), row[at_amount].strip()
        try:
            account, amount = _read_address(address), _read_amount(text)
        except ValueError as error:
            raise UsageError(f"{path}: line {line}: {error}") from None
        first_line = line_of.setdefault(account.lower(), line)
        if first_line != line:
            raise UsageError(f"{path}: line {line}: address {account} stands on line {first_line} already; sum the two")
        leaves.append((account, amount))
    if not leaves:
        raise UsageError(f"{path} holds a header but no accounts; a tree needs at least one")
    return leaves


def _read_address(text: str) -> str:
    if not is_address(text):
        raise ValueError(f"{text[:64]!r} is not an address: write 0x and 40 hexadecimal digits")
    digits = text[2:]
    if digits != digits.lower() and digits != digits.upper():
        try:
            checksum_address(text)
        except UsageError as error:
            raise ValueError(str(error)) from None
    return text


def _read_amount(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        what = "is negative" if text.startswith("-") else "is not a whole number of base units"
        raise ValueError(f"amount {text[:90]!r} {what}")
    digits = text.lstrip("0")
    if len(digits) > _MAX_DIGITS or (amount := int(digits or "0")) > UINT256_MAX:
        raise ValueError(f"amount {text[:90]} is above 2^256 − 1")
    return amount


def write_csv(path: Path, balances: Mapping[str, int]) -> None:
    """Write account → cumulative base units, sorted by account, at once or not at all (the leaf file of an epoch)."""

    def write(handle: IO[Any]) -> None:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(COLUMNS)
        rows: list[tuple[str, int]] = sorted(balances.items(), key=lambda row: row[0].lower())
        writer.writerows(rows)

    _replace(path, write)


def write_dump(path: Path, tree: Tree) -> None:
    """Write what OpenZeppelin's `StandardMerkleTree.load` reads."""
    _replace(path, lambda handle: json.dump(tree.dump(), handle, separators=(",", ":")))


def read_dump(path: Path) -> Tree:
    """Read a dump of ours or of OpenZeppelin's and rebuild it. Raises UsageError, or CheckFailed when it is forged."""
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not a JSON dump: {error}") from None
    if not isinstance(body, dict):
        raise UsageError(f"{path} is not a JSON dump: it holds no object")
    return Tree.load(body)


def write_columns(folder: Path, tree: Tree) -> None:
    """Write `leaves.parquet` (address, amount, tree_index) and `nodes.npy` (2n − 1 rows of 32 bytes).

    A proof is then index arithmetic (module `merkle`), in any language, without building the tree again.
    """
    import numpy as np
    import polars as pl

    folder.mkdir(parents=True, exist_ok=True)
    pl.DataFrame(
        {"address": tree.addresses, "amount": [str(amount) for amount in tree.amounts], "tree_index": tree.tree_index}
    ).write_parquet(folder / "leaves.parquet", compression="zstd")
    np.save(folder / "nodes.npy", tree.nodes, allow_pickle=False)


def read_columns(folder: Path) -> Tree:
    """Read `write_columns` back and rebuild. Raises UsageError, or CheckFailed when the nodes do not follow."""
    import numpy as np
    import polars as pl

    try:
        table = pl.read_parquet(folder / "leaves.parquet")
        nodes = np.load(folder / "nodes.npy", allow_pickle=False)
        leaves = list(zip(table["address"].to_list(), map(int, table["amount"].to_list()), strict=True))
    except (OSError, ValueError, TypeError, EOFError, pl.exceptions.PolarsError) as error:
        raise UsageError(f"{folder} holds no tree columns: {error}") from None
    tree = Tree(leaves)
    if nodes.tobytes() != tree.nodes.tobytes() or table["tree_index"].to_list() != tree.tree_index.tolist():
        raise CheckFailed(f"{folder}: nodes.npy does not follow from leaves.parquet, whose root is {tree.root_hex}")
    return tree


def _replace(path: Path, write: Callable[[IO[Any]], None]) -> None:
    partial = path.with_name(path.name + ".partial")
    with open(partial, "w", newline="", encoding="utf-8") as handle:
        write(handle)
        handle.flush()
        os.fsync(handle.fileno())
    os.replace(partial, path)
