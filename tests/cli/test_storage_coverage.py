"""`fieldstone storage coverage` as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fieldstone.cli import main
from tests.services.storage import sealed_object


def call(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    try:
        main(["storage", "coverage", *map(str, words)])
        code: object = 0
    except SystemExit as stop:
        code = stop.code
    said = capsys.readouterr()
    return int(code or 0), said.out, said.err  # type: ignore[call-overload]


@pytest.fixture(scope="module")
def epochs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sealed_object.seal(sealed_object.world()[0], tmp_path_factory.mktemp("coverage") / "sealed")


def test_credits_are_held_against_the_newest_charges(
    epochs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """$0.002 of storage and reads in six hours is $2.92 a year, which is what there is; sensing is another matter."""
    key = tmp_path / "key"
    key.write_text(sealed_object.API_KEY)
    with sealed_object.node(epochs) as url:
        code, out, _ = call(capsys, "--network", url, "--key-file", key, "--json")
        shown = call(capsys, "--network", url, "--key-file", key)
    body = json.loads(out)
    assert (code, body["yearly_micro_usd"], body["years"][0]["years"]) == (0, 2_920_000, 1.0)
    assert shown[0] == 0 and "$2.92" in shown[1] and "1.00" in shown[1]


def test_what_was_not_paid_ends_with_1(
    epochs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FIELDSTONE_API_KEY", sealed_object.API_KEY)
    with sealed_object.node(epochs, unpaid=300) as url:
        code, _, err = call(capsys, "--network", url)
    assert code == 1 and "$0.0003 of the charges found no credits" in err


def test_mistakes_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("FIELDSTONE_API_KEY", raising=False)
    assert call(capsys, "--network", "http://127.0.0.1:1")[0::2] == (
        2,
        "error: no API key: set FIELDSTONE_API_KEY or give --key-file\n",
    )
    assert call(capsys, "--network", "http://127.0.0.1:1", "--key-file", tmp_path / "none")[0] == 2
    monkeypatch.setenv("FIELDSTONE_API_KEY", "fsk_x")
    assert call(capsys, "--network", "nowhere")[0] == 2
