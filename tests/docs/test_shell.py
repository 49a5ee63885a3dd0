"""A page's marks are read, and what fails in a page fails its test."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.shell import Shell, blocks


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
