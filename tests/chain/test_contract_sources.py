"""Each shipped artifact names the exact sources it was built from (recompiling is tested beside the contracts)."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

import fieldstone.chain.digest

FOLDER = Path(fieldstone.chain.digest.__file__).parent / "contracts"
ARTIFACTS = sorted((FOLDER / "artifacts").glob("*.json"))


def test_the_four_contracts_ship() -> None:
    assert [path.stem for path in ARTIFACTS] == ["Credits", "Rewards", "Stake", "Token"]


@pytest.mark.parametrize("path", ARTIFACTS, ids=lambda path: path.stem)
def test_recorded_hashes_are_those_of_the_sources(path: Path) -> None:
    artifact = json.loads(path.read_text("utf-8"))
    assert f"{path.stem}.vy" in artifact["source_sha256"]
    for file, recorded in artifact["source_sha256"].items():
        assert hashlib.sha256((FOLDER / file).read_bytes()).hexdigest() == recorded, (
            f"{file} changed; run scripts/compile-contracts"
        )


@pytest.mark.parametrize("path", ARTIFACTS, ids=lambda path: path.stem)
def test_runtime_fits_the_contract_size_limit(path: Path) -> None:
    """EIP-170: 24,576 bytes."""
    artifact = json.loads(path.read_text("utf-8"))
    assert 0 < (len(artifact["bytecode_runtime"]) - 2) // 2 <= 24_576
    assert artifact["compiler"] == "vyper 0.4.3"
