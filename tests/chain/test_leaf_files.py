"""Leaf files: what is read, and that every fault names its line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fieldstone.chain.leaf_files import read_columns, read_csv, read_dump, write_columns, write_csv, write_dump
from fieldstone.chain.merkle import Tree
from fieldstone.errors import CheckFailed, UsageError

A, B = "0x" + "11" * 20, "0x" + "22" * 20
MIXED = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"  # EIP-55's own example


def test_reads_rows_in_order_with_bom_windows_lines_quotes_and_more_columns(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_bytes(f'\ufeffamount,name,address\r\n5,"a, b",{A}\r\n007,x,{MIXED}\r\n\r\n'.encode())
    assert read_csv(path) == [(A, 5), (MIXED, 7)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("address,amount\n", "no accounts"),
        (f"{A},5\n", "line 1: the header must name the column 'address'"),
        (f"address,amount,amount\n{A},1,2\n", "'amount' once"),
        ("address,amount\n0x123,5\n", "line 2: '0x123' is not an address"),
        (f"address,amount\n{A},5\n{A[2:]},5\n", "line 3"),
        (f"address,amount\n{MIXED.replace('aA', 'Aa')},5\n", "line 2: .*checksum"),
        (f"address,amount\n{A},-5\n", "line 2: amount '-5' is negative"),
        (f"address,amount\n{A},1.5\n", "line 2: amount '1.5' is not a whole number"),
        (f"address,amount\n{A},1e18\n", "line 2"),
        (f"address,amount\n{A},1_000\n", "line 2"),
        (f"address,amount\n{A},\n", "line 2: amount ''"),
        (f"address,amount\n{A},١٢\n", "line 2"),
        (f"address,amount\n{A},{2**256}\n", "line 2: .*above 2\\^256"),
        (f"address,amount\n{A},{'9' * 5000}\n", "line 2: .*above 2\\^256"),
        (f"address,amount\n{A},1\n{B},2\n0x{'11' * 20},3\n", "line 4: .* on line 2 already"),
        (f"address,amount\n{'0x' + 'ab' * 20},1\n{'0x' + 'AB' * 20},3\n", "line 3: .* on line 2 already"),
        (f"address,amount\n{A},1,2\n", "line 2: 3 fields where the header has 2"),
        (f"address,amount\n{A}\n", "line 2: 1 fields"),
        (f'address,amount\n"{A},1\n', "cannot be read as CSV"),
    ],
)
def test_a_bad_row_is_refused_by_line(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "list.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=words):
        read_csv(path)


def test_a_missing_or_binary_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_csv(tmp_path / "none.csv")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(UsageError, match="cannot be read"):
        read_csv(tmp_path / "binary.csv")


def test_the_largest_amount_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text(f"address,amount\n{A},{2**256 - 1}\n")
    assert read_csv(path) == [(A, 2**256 - 1)]


def test_a_written_leaf_file_is_sorted_and_reads_back(tmp_path: Path) -> None:
    write_csv(tmp_path / "leaves.csv", {B: 2, A: 2**200})
    assert (tmp_path / "leaves.csv").read_text() == f"address,amount\n{A},{2**200}\n{B},2\n"
    assert read_csv(tmp_path / "leaves.csv") == [(A, 2**200), (B, 2)]
    assert [entry.name for entry in tmp_path.iterdir()] == ["leaves.csv"]


def test_dumps_and_columns_round_trip_and_show_forgery(tmp_path: Path) -> None:
    tree = Tree([(f"0x{i + 1:040x}", 10**20 + i) for i in range(50)])
    write_dump(tmp_path / "tree.json", tree)
    assert read_dump(tmp_path / "tree.json").root == tree.root
    write_columns(tmp_path / "columns", tree)
    assert read_columns(tmp_path / "columns").proof(7) == tree.proof(7)

    nodes = np.load(tmp_path / "columns" / "nodes.npy")
    nodes[0, 0] ^= 1
    np.save(tmp_path / "columns" / "nodes.npy", nodes)
    with pytest.raises(CheckFailed, match=r"nodes\.npy"):
        read_columns(tmp_path / "columns")
    dump = json.loads((tmp_path / "tree.json").read_text())
    dump["tree"][0] = "0x" + "00" * 32
    (tmp_path / "tree.json").write_text(json.dumps(dump))
    with pytest.raises(CheckFailed):
        read_dump(tmp_path / "tree.json")


@pytest.mark.parametrize("text", ["", "[]", "{", '{"format": "standard-v1"}', "[" * 100_000])
def test_a_file_that_is_no_dump_is_a_usage_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "tree.json").write_text(text)
    with pytest.raises(UsageError):
        read_dump(tmp_path / "tree.json")
    with pytest.raises(UsageError, match="no tree columns"):
        read_columns(tmp_path)
