"""One small scenario, studied once for all tests of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from fieldstone.economy.experiments import ScenarioFile, Study, load, study

SMALL = Path(__file__).parent / "small.toml"


@pytest.fixture(scope="session")
def file() -> ScenarioFile:
    return load(SMALL)


@pytest.fixture(scope="session")
def small(file: ScenarioFile) -> Study:
    return study(file, samples=16)
