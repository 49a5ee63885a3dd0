"""Contract tests run in .venv-contracts (vyper, titanoboa); elsewhere this folder is not collected."""

from __future__ import annotations

import copy
import importlib.util
from collections.abc import Iterator

import pytest

HAS_BOA = importlib.util.find_spec("boa") is not None
collect_ignore_glob = [] if HAS_BOA else ["*.py"]

if HAS_BOA:
    import boa
    from contract_world import World

    @pytest.fixture(scope="session")
    def deployed() -> World:
        """Deploy all contracts once."""
        return World()

    @pytest.fixture
    def world(deployed: World) -> Iterator[World]:
        """All contracts in their first state; everything a test does is undone after it, time included."""
        with boa.env.anchor():
            boa.env.timestamp = deployed.start_s
            yield copy.copy(deployed)
