"""The same for the how-to pages that need no network, or begin with their own: each in a folder of its own."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.shell import DOCS, Shell

APART = (
    "provide-storage",
    "use-the-s3-gateway",
    "keep-for-ever",
    "know-what-is-stored",
    "verify-your-own-files",
    "add-a-service",
    "be-a-verifier",
)


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    if shutil.which("curl") is None:
        pytest.skip("the pages' commands use curl, which is not installed")
    shell = Shell(tmp_path)
    yield shell
    shell.stop()


@pytest.mark.parametrize("name", APART)
def test_how_to(shell: Shell, name: str) -> None:
    shell.run(DOCS / "how-to" / f"{name}.md")
