"""Every command that the tutorial and the how-to pages about its network mark as runnable works, on a real network."""

from __future__ import annotations

import pytest

from tests.docs.shell import DOCS, Shell, blocks
from tests.docs.test_commands_apart import APART

# In this order: the last one restarts the node under another policy.
ON_THE_TUTORIALS_NETWORK = (
    "run-a-station",
    "object-to-an-epoch",
    "buy-data",
    "assess-a-network",
    "simulate-a-network",
    "use-another-chain",
    "back-up-and-restore",
    "repay-an-epoch",
)


def test_tutorial(tutorial: Shell) -> None:
    assert (tutorial.folder / "my-network" / "data.csv").exists()


@pytest.mark.parametrize("name", ON_THE_TUTORIALS_NETWORK)
def test_how_to(tutorial: Shell, name: str) -> None:
    tutorial.run(DOCS / "how-to" / f"{name}.md", where="my-network")


def test_every_how_to_is_run() -> None:
    pages = {page.stem for page in (DOCS / "how-to").glob("*.md")}
    assert pages == {*ON_THE_TUTORIALS_NETWORK, *APART}
    assert all(blocks(DOCS / "how-to" / f"{name}.md") for name in pages)
