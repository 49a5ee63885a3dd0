"""`fieldstone merkle` from outside: output, exit codes, no tracebacks."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from fieldstone.cli import main

ROOT = "0x7fd2dddedb1d33da2990a5e4dee9cd93cda75bd2d759756239521e598c9e2574"
TEN = "0x" + f"{10:040x}"
Run = Callable[..., "Result"]


@pytest.fixture(scope="module")
def golden_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("merkle") / "list.csv"
    rows = "".join(f"0x{i + 1:040x},{(i + 1) * 10**15}\n" for i in range(10_000))
    path.write_text("address,amount\n" + rows)
    return path


@dataclass
class Result:
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """Run the command's own `main`, in this process: starting Python anew would cost most of the test's time."""

    def call(*arguments: object, stdin: str = "") -> Result:
        monkeypatch.setattr(sys, "argv", ["fieldstone", "merkle", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        try:
            code = main()
        except SystemExit as stop:
            code = stop.code
        printed = capsys.readouterr()
        return Result(int(code or 0), printed.out, printed.err)

    return call


def test_root_prints_the_published_root_and_nothing_else(run: Run, golden_csv: Path, tmp_path: Path) -> None:
    assert run("root", golden_csv).stdout == ROOT + "\n"
    result = run("root", golden_csv, "--json", "--dump", tmp_path / "tree.json", "--columns", tmp_path / "columns")
    assert json.loads(result.stdout)["root"] == ROOT
    assert json.loads(result.stdout)["leaves"] == 10_000
    assert run("root", tmp_path / "tree.json").stdout == ROOT + "\n"
    assert sorted(entry.name for entry in (tmp_path / "columns").iterdir()) == ["leaves.parquet", "nodes.npy"]


def test_a_proof_verifies_and_a_changed_one_exits_1(run: Run, golden_csv: Path, tmp_path: Path) -> None:
    lines = run("proof", golden_csv, TEN).stdout.split()
    body = json.loads(run("proof", golden_csv, TEN, "--json").stdout)
    assert body["proof"] == lines and len(lines) in (13, 14)
    assert run("verify", "-", "--root", ROOT, stdin=json.dumps(body)).stdout == f"ok {ROOT}\n"
    body["amount"] = str(int(body["amount"]) + 1)
    (tmp_path / "proof.json").write_text(json.dumps(body))
    result = run("verify", tmp_path / "proof.json")
    assert result.returncode == 1 and "does not lead to root" in result.stderr


def test_a_list_is_compared_with_a_root(run: Run, golden_csv: Path) -> None:
    assert run("verify", golden_csv, "--root", ROOT).returncode == 0
    result = run("verify", golden_csv, "--root", "0x" + "00" * 32)
    assert result.returncode == 1 and ROOT in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("root", "missing.csv"),
        ("proof", "missing.csv", "0x12"),
        ("verify", "missing.csv"),
        ("verify", "missing.json"),
        ("verify", "-"),
        ("verify", "missing.csv", "--root", "0x12"),
    ],
)
def test_mistakes_exit_2_without_a_traceback(run: Run, arguments: tuple[str, ...]) -> None:
    result = run(*arguments)
    assert result.returncode == 2 and result.stderr.startswith("error: ") and "Traceback" not in result.stderr


def test_an_account_that_is_not_in_the_list_is_a_clear_error(run: Run, golden_csv: Path) -> None:
    result = run("proof", golden_csv, "0x" + "ff" * 20)
    assert result.returncode == 2 and "is not a leaf" in result.stderr
