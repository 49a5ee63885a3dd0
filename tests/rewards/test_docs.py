"""The explanation page promises invariants by name; each must be a test, and each module must name only real ones."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import fieldstone.rewards
from fieldstone.policy import RewardPolicy, ServicePolicy
from fieldstone.services.storage.rules.v1 import PARAMETERS

ROOT = Path(__file__).parents[2]
TESTS = "\n".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py"))
MODULES = sorted(Path(fieldstone.rewards.__file__).parent.glob("*.py"))


def test_every_invariant_of_the_page_is_a_test() -> None:
    page = (ROOT / "docs/explanation/rewards.md").read_text(encoding="utf-8")
    named = {word for word in re.findall(r"`([a-z_]+)`", page) if word.count("_") >= 2}
    invariants = {word for word in named if f"def test_{word}(" in TESTS}
    assert named - {*RewardPolicy.__struct_fields__, *ServicePolicy.__struct_fields__, *PARAMETERS} == invariants
    assert len(invariants) >= 8


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)
def test_every_invariant_of_a_module_is_a_test(module: Path) -> None:
    doc = module.read_text(encoding="utf-8").split('"""')[1]
    promised = re.findall(r"`([a-z_]+)`", doc.partition("Invariants")[2])
    assert all(f"def test_{name}(" in TESTS for name in promised), promised
