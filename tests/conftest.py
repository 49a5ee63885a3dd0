"""Settings of every test."""

from pathlib import Path

import pytest
from hypothesis import settings

# How long an example takes says something about the machine's other work, not about the code.
settings.register_profile("fieldstone", deadline=None)
settings.load_profile("fieldstone")

# A worker takes whole files. The longest go first, so that no worker is left alone with one at the end.
LONGEST_FIRST = (
    "docs/test_commands.py",
    "docs/test_commands_apart.py",
    "services/storage/s3/clients/test_commands.py",
    "demo/test_run.py",
    "cli/test_storage_report_live.py",
    "chain/test_settlement.py",
    "epoch/test_verifier.py",
    "cli/test_up.py",
    "cli/test_storage_provide.py",
    "economy/experiments/report/test_files.py",
    "services/storage/provider/space/test_filling.py",
    "services/storage/s3/conformance/test_behaviours.py",
    "node/test_bonds.py",
    "rewards/test_allocation.py",
    "services/storage/test_verify.py",
    "rewards/test_lint.py",
    "services/storage/test_secret_reads.py",
    "intake/test_crash.py",
    "cli/test_bond_and_dispute.py",
    "cli/test_simulate.py",
    "services/storage/test_service.py",
)
_RANK = {Path(__file__).parent / name: rank for rank, name in enumerate(LONGEST_FIRST)}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order files by `LONGEST_FIRST`, the others after them as they were found."""
    items.sort(key=lambda item: _RANK.get(item.path, len(_RANK)))
