"""What ships is what the sources say: recompile and compare byte for byte."""

from __future__ import annotations

from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from typing import Any

import pytest
from contract_world import CHAIN_FOLDER

SCRIPT = CHAIN_FOLDER.parents[2] / "scripts" / "compile-contracts"


def load_script() -> Any:
    loader = SourceFileLoader("compile_contracts", str(SCRIPT))
    spec = spec_from_loader("compile_contracts", loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module


compiler = load_script()


@pytest.mark.parametrize("name", compiler.contract_names())
def test_artifact_is_the_compiled_source(name: str) -> None:
    shipped = (CHAIN_FOLDER / "contracts" / "artifacts" / f"{name}.json").read_text("utf-8")
    assert compiler.render(compiler.compile_contract(name)) == shipped, "run scripts/compile-contracts"


def test_every_artifact_has_a_source() -> None:
    shipped = {path.stem for path in (CHAIN_FOLDER / "contracts" / "artifacts").glob("*.json")}
    assert shipped == set(compiler.contract_names()) == {"Token", "Rewards", "Credits", "Stake"}
