"""Sealing gives back the exact entries, in order, however many parts it took; tampering is found."""

from __future__ import annotations

from pathlib import Path

import duckdb
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldstone.clock import SetClock
from fieldstone.errors import CheckFailed
from fieldstone.journal import EntryKind, Journal, NewEntry
from fieldstone.journal.manifest import FileInfo, Manifest, check_files, parse_manifest, read_manifest, write_manifest
from fieldstone.journal.seal import SEALED_SCHEMA, seal, unseal

entries = st.lists(
    st.builds(NewEntry, st.sampled_from(list(EntryKind)), st.sampled_from(["a", "b", "é", ""]), st.binary(max_size=20)),
    min_size=1,
    max_size=40,
)


@settings(max_examples=20, deadline=None)
@given(new=entries, rows_at_once=st.integers(1, 50), data=st.data())
def test_unseal_is_the_inverse_of_seal(
    tmp_path_factory: pytest.TempPathFactory, new: list[NewEntry], rows_at_once: int, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("epoch")
    first = data.draw(st.integers(1, len(new)))
    last = data.draw(st.integers(first - 1, len(new)))
    with Journal.open(folder / "j.sqlite", clock=SetClock(9)) as journal:
        for entry in new:
            journal.append([entry])
        files = seal(journal, first, last, folder / "sealed", rows_at_once=rows_at_once)
        wanted = list(journal.read(first, last)) if last >= first else []
    assert list(unseal(folder / "sealed", rows_at_once=rows_at_once)) == wanted
    assert sum(info.rows for info in files.values()) == len(wanted)
    assert set(files) == {f"journal-{entry.kind.value}.parquet" for entry in wanted}
    assert {path.name for path in (folder / "sealed").iterdir()} == set(files), "no temporary files stay"
    if "journal-report.parquet" in files:
        table = pl.read_parquet(folder / "sealed" / "journal-report.parquet")
        assert table.equals(table.sort("subject", "position"))


def test_an_epoch_of_several_parts_is_merged_by_subject(tmp_path: Path) -> None:
    """More entries than fit in memory at once: every seal of a large network goes this way."""
    new = [NewEntry(EntryKind.REPORT, f"d{number % 7}", b"r%d" % number) for number in range(40)]
    with Journal.open(tmp_path / "j.sqlite", clock=SetClock(9)) as journal:
        journal.append(new)
        seal(journal, 1, 40, tmp_path / "sealed", rows_at_once=9)
        assert list(unseal(tmp_path / "sealed", rows_at_once=9)) == list(journal.read())
    table = pl.read_parquet(tmp_path / "sealed" / "journal-report.parquet")
    assert table["subject"].to_list() == sorted(entry.subject for entry in new)


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    with Journal.open(tmp_path / "j.sqlite", clock=SetClock(9)) as journal:
        journal.append([NewEntry(EntryKind.REPORT, f"d{n % 3}", b"r%d" % n) for n in range(30)])
        journal.append([NewEntry(EntryKind.PRICE, "", b"p")])
        files = seal(journal, 1, 31, tmp_path / "epoch=1")
    manifest = Manifest(
        network_id="net", epoch=1, start_ms=0, end_ms=10, first_position=1, last_position=31, files=files
    )
    write_manifest(tmp_path / "epoch=1", manifest)
    return tmp_path / "epoch=1"


def test_a_manifest_comes_back_as_it_was(sealed: Path) -> None:
    manifest = check_files(sealed)
    assert manifest == read_manifest(sealed)
    assert (sealed / "manifest.json").read_bytes() == manifest.to_json()
    assert manifest.files["journal-report.parquet"].rows == 30


def test_other_tools_read_the_sealed_files(sealed: Path) -> None:
    rows = duckdb.sql(
        f"select subject, count(*), min(body) from '{sealed}/journal-report.parquet' group by 1 order by 1"
    )
    assert rows.fetchall() == [("d0", 10, b"r0"), ("d1", 10, b"r1"), ("d2", 10, b"r11")]


def test_every_tampering_is_named(sealed: Path) -> None:
    path = sealed / "journal-report.parquet"
    good = path.read_bytes()
    flipped = bytearray(good)
    flipped[len(good) // 2] ^= 1
    for bad in (bytes(flipped), good + b"\0", good[:-1]):
        path.write_bytes(bad)
        with pytest.raises(CheckFailed, match=r"journal-report.parquet was changed"):
            check_files(sealed)
    path.unlink()
    with pytest.raises(CheckFailed, match=r"journal-report.parquet is missing"):
        check_files(sealed)
    path.write_bytes(good)
    check_files(sealed)
    (sealed / "journal-credit.parquet").write_bytes(good)
    with pytest.raises(CheckFailed, match=r"journal-credit.parquet is not named"):
        check_files(sealed)
    assert len(list(unseal(sealed))) == 31, "a slipped-in file is not read"


def test_a_folder_without_a_manifest_is_no_epoch(sealed: Path) -> None:
    (sealed / "manifest.json").unlink()
    with pytest.raises(CheckFailed, match="no sealed epoch"):
        check_files(sealed)


@pytest.mark.parametrize("name", ["../journal-report.parquet", "/etc/passwd", ".hidden", "a/b", "", "manifest.json"])
def test_a_manifest_names_files_of_its_own_folder_only(sealed: Path, name: str) -> None:
    manifest = read_manifest(sealed)
    files = {**manifest.files, name: FileInfo("0" * 64, 1, 1)}
    hostile = Manifest(network_id="n", epoch=1, start_ms=0, end_ms=1, first_position=1, last_position=1, files=files)
    with pytest.raises(CheckFailed, match="plain file name"):
        parse_manifest(hostile.to_json())


@given(st.binary(max_size=200))
def test_any_bytes_as_a_manifest_are_refused_in_words(text: bytes) -> None:
    with pytest.raises(CheckFailed):
        parse_manifest(text)


def test_a_manifest_has_one_form(sealed: Path) -> None:
    with pytest.raises(CheckFailed, match="canonical"):
        parse_manifest(read_manifest(sealed).to_json() + b"\n")


def test_sealing_what_is_not_there(tmp_path: Path) -> None:
    with Journal.open(tmp_path / "j.sqlite", clock=SetClock(9)) as journal:
        journal.append([NewEntry(EntryKind.REPORT, "d", b"r")])
        with pytest.raises(CheckFailed, match="ends at 1"):
            seal(journal, 1, 2, tmp_path / "epoch=1")
    assert list((tmp_path / "epoch=1").iterdir()) == []


def test_a_sealed_file_with_other_columns_is_refused(tmp_path: Path) -> None:
    pl.DataFrame({"position": [1]}).write_parquet(tmp_path / "journal-report.parquet")
    with pytest.raises(CheckFailed, match="columns"):
        list(unseal(tmp_path))
    (tmp_path / "journal-report.parquet").write_bytes(b"no parquet")
    with pytest.raises(CheckFailed, match="not readable"):
        list(unseal(tmp_path))
    (tmp_path / "journal-report.parquet").unlink()
    pl.DataFrame(schema=SEALED_SCHEMA).write_parquet(tmp_path / "journal-invented.parquet")
    with pytest.raises(CheckFailed, match="no kind"):
        list(unseal(tmp_path))
