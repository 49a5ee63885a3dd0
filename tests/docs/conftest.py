"""One network for all pages: the one that the tutorial builds and leaves running."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.shell import DOCS, Shell


@pytest.fixture(scope="session")
def tutorial(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """Run the tutorial; its network keeps running in `my-network`."""
    if shutil.which("curl") is None:
        pytest.skip("the pages' commands use curl, which is not installed")
    folder: Path = tmp_path_factory.mktemp("docs")
    shell = Shell(folder)
    try:
        shell.run(DOCS / "tutorial.md")
        yield shell
    finally:
        shell.stop()
