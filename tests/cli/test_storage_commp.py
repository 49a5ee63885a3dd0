"""`fieldstone storage commp` and `storage root` from outside: output, exit codes, no tracebacks."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

from fieldstone.cli import main
from tests.services.storage.codes.payloads import payload, vectors

PIECE = vectors("storage_commp.json")["random"][-1]
ARWEAVE = vectors("storage_arweave.json")["data"][-1]
ZERO_SECTOR = vectors("storage_sia.json")["zero_sector_root"]


@dataclass
class Result:
    returncode: int
    stdout: str
    stderr: str


Run = Callable[..., Result]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: object, stdin: bytes = b"") -> Result:
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(stdin)))
        with pytest.raises(SystemExit) as stop:
            main(["storage", *map(str, arguments)])
        printed = capsys.readouterr()
        return Result(int(stop.value.code or 0), printed.out, printed.err)

    return call


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "payload"
    path.write_bytes(payload(PIECE["size"]))
    return path


def test_commp_prints_the_cid_and_nothing_else(run: Run, file: Path) -> None:
    assert run("commp", file) == Result(0, PIECE["cid"] + "\n", "")
    assert run("commp", file, "--v1").stdout == PIECE["cid_v1"] + "\n"
    assert run("commp", "-", stdin=file.read_bytes()).stdout == PIECE["cid"] + "\n"


def test_commp_json_says_everything(run: Run, file: Path) -> None:
    body = json.loads(run("commp", file, "--json").stdout)
    assert body == {
        "cid": PIECE["cid"],
        "cid_v1": PIECE["cid_v1"],
        "payload_bytes": PIECE["size"],
        "padding_bytes": PIECE["padding"],
        "piece_bytes": 2 ** (PIECE["height"] + 5),
        "height": PIECE["height"],
        "data_leaves": body["data_leaves"],
        "root": PIECE["root"],
    }
    assert body["data_leaves"] == 2 ** PIECE["height"] - 128 * PIECE["padding"] // 127 // 32


def test_arweave_root(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(payload(ARWEAVE["size"]))
    assert run("root", "--scheme", "arweave", path) == Result(0, ARWEAVE["data_root"] + "\n", "")
    body = json.loads(run("root", "--scheme", "arweave", path, "--json").stdout)
    assert body == {"scheme": "arweave", "root": ARWEAVE["data_root"], "size_bytes": ARWEAVE["size"], "chunks": 8}


def test_sia_root_says_what_was_padded(run: Run) -> None:
    assert run("root", "--scheme", "sia", "-", stdin=bytes(4 * 2**20)).stdout == ZERO_SECTOR + "\n"
    body = json.loads(run("root", "--scheme", "sia", "-", "--json", stdin=bytes(4 * 2**20 + 1)).stdout)
    assert body["sector_roots"] == [ZERO_SECTOR, ZERO_SECTOR]
    assert (body["sectors"], body["padding_bytes"], body["size_bytes"]) == (2, 4 * 2**20 - 1, 4 * 2**20 + 1)
    assert body["root"] != ZERO_SECTOR


@pytest.mark.parametrize("verb", [("commp",), ("root", "--scheme", "arweave"), ("root", "--scheme", "sia")])
def test_files_that_cannot_be_read_end_with_a_sentence(run: Run, tmp_path: Path, verb: tuple[str, ...]) -> None:
    for name, code, words in (
        (tmp_path / "nothing", 2, "does not exist"),
        (tmp_path, 2, "is a folder"),
        (tmp_path / "file" / "below", 2, "does not exist"),
        ("a" * 5000, 3, "cannot be read"),
        ("a\0b", 2, "is not the name of a file"),
    ):
        (tmp_path / "file").touch()
        result = run(*verb, name)
        assert (result.returncode, result.stdout) == (code, ""), result
        assert words in result.stderr
        assert "Traceback" not in result.stderr


def test_empty_input(run: Run) -> None:
    assert run("commp", "-").stdout == "bafkzcibcp4bdomn3tgwgrh3g532zopskstnbrd2n3sxfqbze7rxt7vqn7veigmy\n"
    for scheme in ("arweave", "sia"):
        result = run("root", "--scheme", scheme, "-")
        assert (result.returncode, result.stdout) == (2, "")
        assert "no bytes" in result.stderr


def test_a_missing_or_unknown_scheme_is_a_usage_error(run: Run, file: Path) -> None:
    assert run("root", file).returncode == 2
    assert run("root", "--scheme", "ipfs", file).returncode == 2


@pytest.mark.parametrize("sector", vectors("storage_sia.json")["sectors"], ids=lambda one: one["root"][:8])
def test_sia_roots_that_others_publish(run: Run, sector: dict) -> None:
    runs = sector.get("runs")
    data = b"".join(bytes([byte]) * count for byte, count in runs) if runs else bytes(range(256)) * (2**22 // 256)
    assert len(data) == 2**22
    assert run("root", "--scheme", "sia", "-", stdin=data) == Result(0, sector["root"] + "\n", "")


@pytest.mark.parametrize("piece", vectors("storage_commp.json")["texts"], ids=lambda one: one["text"])
def test_piece_cids_that_others_publish(run: Run, piece: dict) -> None:
    assert run("commp", "-", stdin=piece["text"].encode()) == Result(0, piece["cid"] + "\n", "")
