"""The direction of imports (DESIGN §3): a lower floor never imports a higher one, services never import each other."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "fieldstone"

# Floors from the ground up. A part may import its own floor's parts only where `SAME_FLOOR` says so.
FLOORS = [
    {"charts", "errors", "units", "clock", "reasons", "policy", "config", "py"},
    {"identity", "journal", "state", "ledger", "metrics"},
    {"services", "integrity", "rewards", "chain", "agent"},
    {"intake", "market", "lab", "economy", "assess"},
    {"epoch"},
    {"console", "node"},
    {"demo", "cli", "reference", "__main__"},
]
FLOOR_OF = {part: floor for floor, parts in enumerate(FLOORS) for part in parts}


def imports_of(path: Path) -> set[str]:
    """Return the first part below `fieldstone` of every import of a file, also of those inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names = [node.module] if node.module != "fieldstone" else [f"fieldstone.{a.name}" for a in node.names]
        found |= {name.split(".")[1] for name in names if name.startswith("fieldstone.")}
    return found


def parts() -> list[str]:
    return sorted(
        {
            p.name.removesuffix(".py")
            for p in SOURCE.iterdir()
            if p.name not in ("__init__.py", "py.typed", "__pycache__")
        }
    )


def test_every_part_has_a_floor() -> None:
    assert [part for part in parts() if part not in FLOOR_OF] == []


@pytest.mark.parametrize("part", parts())
def test_imports_point_downwards(part: str) -> None:
    here = SOURCE / part
    files = [here.with_suffix(".py")] if not here.is_dir() else sorted(here.rglob("*.py"))
    wrong = [
        f"{file.relative_to(SOURCE)} imports {other}"
        for file in files
        for other in sorted(imports_of(file))
        if other in FLOOR_OF and FLOOR_OF[other] > FLOOR_OF[part]
    ]
    assert wrong == []


def test_services_do_not_import_each_other() -> None:
    services = [p.name for p in (SOURCE / "services").iterdir() if p.is_dir() and p.name != "__pycache__"]
    for service in services:
        for file in (SOURCE / "services" / service).rglob("*.py"):
            text = file.read_text()
            assert not [o for o in services if o != service and f"fieldstone.services.{o}" in text], file


@pytest.mark.parametrize("words", [["--help"], ["epoch", "--help"], ["merkle", "--help"]])
def test_help_imports_nothing_heavy(words: list[str]) -> None:
    """The budget of 0.3 s CPU for `--help` is kept by importing heavy modules inside commands."""
    code = (
        "import sys\nfrom fieldstone.cli import main\n"
        f"try: main({words!r})\nexcept SystemExit: pass\n"
        "heavy = {'polars', 'web3', 'fastapi', 'eth', 'numpy', 'sqlalchemy', 'cryptography', 'scipy'} & set(sys.modules)\n"
        "print('HEAVY', sorted(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip().endswith("HEAVY []"), done.stdout[-300:] + done.stderr[-300:]


def test_no_vague_file_names() -> None:
    vague = {"utils.py", "util.py", "helpers.py", "helper.py", "common.py", "misc.py", "manager.py", "base.py"}
    assert [str(p) for p in SOURCE.rglob("*.py") if p.name in vague] == []
