"""Every command that the tutorial and the how-to pages mark as runnable works, on a real network."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.shell import DOCS, Shell, blocks

# In this order: the last ones restart the node under another policy.
HOW_TO = (
    "run-a-station",
    "provide-storage",
    "use-the-s3-gateway",
    "keep-for-ever",
    "know-what-is-stored",
    "object-to-an-epoch",
    "buy-data",
    "verify-your-own-files",
    "assess-a-network",
    "simulate-a-network",
    "add-a-service",
    "use-another-chain",
    "back-up-and-restore",
    "repay-an-epoch",
    "be-a-verifier",
)


def test_tutorial(tutorial: Shell) -> None:
    assert (tutorial.folder / "my-network" / "data.csv").exists()


@pytest.mark.parametrize("name", HOW_TO)
def test_how_to(tutorial: Shell, name: str) -> None:
    tutorial.run(DOCS / "how-to" / f"{name}.md", where="my-network")


def test_every_how_to_is_run() -> None:
    pages = {page.stem for page in (DOCS / "how-to").glob("*.md")}
    assert pages == set(HOW_TO)
    assert all(blocks(DOCS / "how-to" / f"{name}.md") for name in HOW_TO)


def test_marks_are_read(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# Page\n\n<!-- test retry shows: hello -->\n```sh\necho hello\n```\n\n<!-- test-only\nfalse || true\n-->\n"
        "\n```sh\nnot run\n```\n"
    )
    first, second = blocks(page)
    assert (first.code, first.words, first.retry, first.line) == ("echo hello\n", "hello", True, 3)
    assert (second.code, second.words) == ("false || true\n", "")
    page.write_text("<!-- test show: hello -->\n```sh\necho hello\n```\n")
    with pytest.raises(AssertionError, match="malformed"):
        blocks(page)


def test_a_failing_command_fails_the_page(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- test -->\n```sh\ntrue\n```\n<!-- test -->\n```sh\nfalse\necho never\n```\n")
    shell = Shell(tmp_path)
    with pytest.raises(AssertionError, match=r"page.md:5 ended with 1"):
        shell.run(page)
    page.write_text("<!-- test shows: hello -->\n```sh\necho good bye\n```\n")
    with pytest.raises(AssertionError, match="does not show 'hello'"):
        shell.run(page)
    shell.stop()
