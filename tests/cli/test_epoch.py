"""How `fieldstone epoch` is told which epoch is meant. What it prints is tested by the tutorial's commands."""

from __future__ import annotations

from pathlib import Path

import pytest

from fieldstone.cli.epoch import numbered, short
from fieldstone.errors import UsageError


def test_numbers_are_taken_as_they_are(tmp_path: Path) -> None:
    assert numbered(str(tmp_path), "12") == 12


@pytest.mark.parametrize("text", ["newest", "-1", "1.5", "", "٣"])
def test_other_words_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match="neither a number nor"):
        numbered(str(tmp_path), text)


def test_latest_is_the_newest_sealed_one(tmp_path: Path) -> None:
    for number in (2, 10):
        folder = tmp_path / "sealed" / f"epoch={number}"
        folder.mkdir(parents=True)
        (folder / "manifest.json").touch()
    assert numbered(str(tmp_path), "latest") == 10


def test_latest_of_nothing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "epoch=1").mkdir()  # interrupted sealing: no manifest
    with pytest.raises(UsageError, match="no epoch is sealed yet"):
        numbered(str(tmp_path), "latest")


def test_long_ids_are_named_by_their_end() -> None:
    assert short("did:key:z6MkvQGARnAHsSKbe4GDfCCoUF9ZHitwNkaL12nmTCpNWdmm") == "…12nmTCpNWdmm"
