from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agent.doors import Door


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    running = Door(tmp_path)
    yield running
    running.stop()
