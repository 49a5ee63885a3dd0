"""The folder of a store: its parts, whether it is still the one that was opened, and what of its disk is left to others."""

from __future__ import annotations

import os
from pathlib import Path

from fieldstone.errors import EnvironmentProblem
from fieldstone.services.storage.provider.incoming import sync_folder

_FREE_MARGIN = 16 * 1_048_576


def margin(disk: os.statvfs_result) -> int:
    """Leave something for the index and for others: 16 MiB, on small disks 2 %."""
    return min(_FREE_MARGIN, disk.f_blocks * disk.f_frsize // 50)


def place(folder: Path) -> tuple[int, int]:
    """Return what tells a folder from any other that has its name. Raises OSError."""
    found = os.stat(folder)
    return found.st_dev, found.st_ino


def make_folders(shares: Path, *, may_be_empty: bool) -> None:
    """Make the 256 folders at once, so that no share has to wait for its own.

    Raises OSError, and EnvironmentProblem when there are none, although there should be: not the disk that the shares are on.
    """
    names = [f"{number:02x}" for number in range(256)]
    missing = set(names) - set(os.listdir(shares))
    if len(missing) == len(names) and not may_be_empty:
        raise EnvironmentProblem(
            f"the index knows shares, but {shares} is empty: is their disk mounted? If they are gone for good, remove "
            f"{shares.parent / 'index.db'}: the network is then told so, share by share"
        )
    for name in sorted(missing):
        (shares / name).mkdir(exist_ok=True)
    if missing:
        sync_folder(str(shares))
