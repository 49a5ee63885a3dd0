"""Make one plot; a process of its own, so that it can be stopped and stays out of the provider's way.

python -m fieldstone.services.storage.provider.space.plot FOLDER NAME K PLOT_ID_HEX
"""

from __future__ import annotations

import importlib
import os
import sys

_MEMORY_MIB = 300
_BUCKETS, _STRIPE = 32, 2_000


def main(folder: str, name: str, k: str, plot_id: str) -> None:
    """Write FOLDER/NAME."""
    chiapos = importlib.import_module("chiapos")  # an optional extra without types
    os.nice(19)
    chiapos.DiskPlotter().create_plot_disk(
        folder,
        folder,
        folder,
        name,
        int(k),
        b"fieldstone",
        bytes.fromhex(plot_id),
        _MEMORY_MIB,
        _BUCKETS,
        _STRIPE,
        1,
        False,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
