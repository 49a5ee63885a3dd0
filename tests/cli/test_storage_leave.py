from __future__ import annotations

from pathlib import Path

import pytest

from fieldstone.cli.storage_leave import command
from fieldstone.errors import UsageError


def test_leaving_is_a_mark_that_the_running_provider_reads(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no provider's folder"):
        command(tmp_path)
    (tmp_path / "device.key").touch()
    command(tmp_path)
    assert (tmp_path / "leaving").exists()
    command(tmp_path, cancel=True)
    command(tmp_path, cancel=True)
    assert not (tmp_path / "leaving").exists()
