from __future__ import annotations

from pathlib import Path

import pytest

from fieldstone.cli.storage_leave import command
from fieldstone.errors import EnvironmentProblem, UsageError


def test_leaving_is_a_mark_that_the_running_provider_reads(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no provider's folder"):
        command(tmp_path)
    (tmp_path / "device.key").touch()
    command(tmp_path)
    assert (tmp_path / "leaving").exists()
    command(tmp_path, cancel=True)
    command(tmp_path, cancel=True)
    assert not (tmp_path / "leaving").exists()


def test_a_gateways_folder_is_not_a_providers(tmp_path: Path) -> None:
    """Both hold a device.key; the mark would lie there unread while the provider went on."""
    for name in ("device.key", "gateway.db"):
        (tmp_path / name).touch()
    with pytest.raises(UsageError, match="a gateway's folder"):
        command(tmp_path)
    assert not (tmp_path / "leaving").exists()


@pytest.mark.parametrize("cancel", [False, True])
def test_a_mark_that_cannot_be_set_or_taken_away_is_said(tmp_path: Path, cancel: bool) -> None:
    (tmp_path / "device.key").touch()
    (tmp_path / "leaving").mkdir()
    with pytest.raises(EnvironmentProblem, match="leaving is no file"):
        command(tmp_path, cancel=cancel)


def test_names_that_no_folder_has_are_the_users_mistake(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name in ("file", "file/below", "nul\0byte"):
        with pytest.raises(UsageError):
            command(tmp_path / name)
    with pytest.raises((EnvironmentProblem, UsageError)):
        command(tmp_path / ("x" * 300))
