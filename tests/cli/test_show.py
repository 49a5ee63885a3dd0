"""Results on terminals of any width, and what strangers wrote as what it is."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import redirect_stdout

import pytest

from fieldstone.cli.show import facts, printable, table


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """`narrow(call, *arguments)`: what a terminal of eighty columns shows."""
    monkeypatch.setenv("COLUMNS", "80")

    def show(call: Callable[..., None], *words: object, **named: object) -> str:
        with redirect_stdout(Terminal()) as shown:
            call(*words, **named)
        return shown.getvalue()

    return show


def test_facts_fit_a_terminal_and_lose_nothing(narrow: Callable[..., str]) -> None:
    text = "word " * 40 + "did:key:" + "z" * 48
    shown = narrow(facts, {"name": text, "a longer name": "short"})
    lines = shown.splitlines()
    assert max(map(len, lines)) <= 80 and len(lines) > 3
    assert " ".join(shown.split()) == f"name {' '.join(text.split())} a longer name short"
    assert lines[1].startswith(" " * 15 + "word")


def test_facts_stay_on_one_line_for_other_programs(capsys: pytest.CaptureFixture[str]) -> None:
    facts({"name": "word " * 40})
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_a_table_that_is_too_wide_goes_row_by_row(narrow: Callable[..., str]) -> None:
    rows = [["d" * 20, *"abcdefghijkl"], ["e" * 20, *"abcdefghijk", ""]]
    lines = narrow(table, ["device", *(f"column{n}" for n in range(12))], rows).splitlines()
    assert max(map(len, lines)) <= 80
    assert f"device    {'d' * 20}" in lines and "column11  l" in lines and lines.count("column10  k") == 2


def test_a_table_that_fits_is_one(narrow: Callable[..., str]) -> None:
    shown = narrow(table, ["device", "score"], [["one", 1], ["two", 2]], title="scores")
    assert shown.count("device") == 1 and len(shown.splitlines()) >= 5


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ☃ ü", "plain ☃ ü"),
        ("two\nlines", "two\nlines"),
        ("\x1b[2J\x07\x9b", "\\x1b[2J\\x07\\x9b"),
        ("\u202eabc", "\\u202eabc"),
        ("\udcff", "\\udcff"),
        ("5\u202f%", "5\u202f%"),
    ],
)
def test_what_steers_a_terminal_is_made_visible(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_cells_cannot_steer_either(capsys: pytest.CaptureFixture[str]) -> None:
    table(["name"], [["\x1b]0;title\x07[red]x"]])
    assert "\\x1b]0;title\\x07[red]x" in capsys.readouterr().out
