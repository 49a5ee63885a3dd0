"""`fieldstone storage gateway` before it serves, and `storage keys`: mistakes are named before anything is made."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fieldstone.cli import main
from fieldstone.cli.storage_gateway_start import alone, profile_words
from fieldstone.errors import EnvironmentProblem
from fieldstone.services.storage.pool import profile_named


def call(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    try:
        main(["storage", *map(str, words)])
        code: object = 0
    except SystemExit as stop:
        code = stop.code
    said = capsys.readouterr()
    return int(code or 0), said.out, said.err  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "--network URL"),
        (("--network", "http://127.0.0.1:1", "--profile", "30/20"), "k = 30 of n = 20"),
        (("--network", "http://127.0.0.1:1", "--listen", "9000"), "write HOST:PORT"),
        (("--network", "http://127.0.0.1:1", "--admin", "here"), "write HOST:PORT"),
        (("--network", "http://127.0.0.1:1", "--wallet", "no.wallet"), "fieldstone device wallet"),
    ],
)
def test_what_is_mistyped_makes_no_keys(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    says: str,
) -> None:
    monkeypatch.delenv("FIELDSTONE_NODE", raising=False)
    code, out, err = call(capsys, "gateway", "--dir", tmp_path / "gateway", *words)
    assert (code, out) == (2, "") and says in err
    assert not (tmp_path / "gateway").exists()


def test_a_second_gateway_on_a_folder_is_refused(tmp_path: Path) -> None:
    with alone(tmp_path), pytest.raises(EnvironmentProblem, match="a folder each"), alone(tmp_path):
        pass
    with alone(tmp_path):
        pass


def test_keys_are_listed_added_and_revoked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = tmp_path / "gateway"
    assert call(capsys, "keys", "--dir", home)[0] == 2 and not home.exists()
    assert call(capsys, "gateway", "--dir", home, "--create-account", "alice")[0] == 0
    assert "storage keys --add" in call(capsys, "gateway", "--dir", home, "--create-account", "alice")[2]
    code, out, _ = call(capsys, "keys", "--dir", home, "--add", "alice", "--json")
    made = json.loads(out)
    assert code == 0 and made["account"] == "alice" and made["secret_key"]
    old, new = (key["access_key"] for key in json.loads(call(capsys, "keys", "--dir", home, "--json")[1]))
    assert made["access_key"] == new
    assert call(capsys, "keys", "--dir", home, "--revoke", old)[0] == 0
    shown = call(capsys, "keys", "--dir", home)[1]
    assert old not in shown and new in shown and made["secret_key"] not in shown
    assert call(capsys, "keys", "--dir", home, "--revoke", "nothing")[0] == 2
    assert "no account 'bob'" in call(capsys, "keys", "--dir", home, "--add", "bob")[2]


def test_a_lost_master_key_is_not_replaced_by_one_that_opens_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(capsys, "gateway", "--dir", tmp_path, "--create-account", "alice")[0] == 0
    (tmp_path / "master.key").rename(tmp_path / "elsewhere")
    code, _, err = call(capsys, "gateway", "--dir", tmp_path, "--create-account", "bob")
    assert code == 2 and "bring your copy back" in err and not (tmp_path / "master.key").exists()


@pytest.mark.parametrize(
    ("profile", "providers", "says"),
    [
        ("20/40", 6, "6 providers of the 40 needed"),
        ("20/40", 6, "3/6 or auto"),
        ("", 0, "0 providers of the 1 needed"),
        ("", 1, "One disk holds everything"),
        ("", 12, "auto, now 6/12"),
        ("4/6", 6, "any 4 of 6"),
    ],
)
def test_the_start_says_whether_there_are_providers_enough(profile: str, providers: int, says: str) -> None:
    assert says in profile_words(profile_named(profile) if profile else None, providers)
