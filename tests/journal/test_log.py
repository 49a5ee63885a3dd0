"""The journal on a real SQLite file: order, durability rules, one writer, backup, damage."""

from __future__ import annotations

import hashlib
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldstone.clock import SetClock
from fieldstone.errors import EnvironmentProblem, Retryable, Terminal
from fieldstone.journal import Entry, EntryKind, Journal, NewEntry, tree

KINDS = list(EntryKind)


def report(body: bytes, subject: str = "did:key:zA") -> NewEntry:
    return NewEntry(EntryKind.REPORT, subject, body)


@pytest.fixture
def clock() -> SetClock:
    return SetClock(1_000)


@pytest.fixture
def journal(tmp_path: Path, clock: SetClock) -> Iterator[Journal]:
    with Journal.open(tmp_path / "journal.sqlite", clock=clock) as opened:
        yield opened


class FallingClock:
    def __init__(self, *times_ms: int) -> None:
        self._times_ms = list(times_ms)

    def now_ms(self) -> int:
        return self._times_ms.pop(0)


new_entries = st.lists(
    st.builds(NewEntry, st.sampled_from(KINDS), st.text(max_size=8), st.binary(max_size=60)), min_size=1, max_size=6
)


@settings(max_examples=25, deadline=None)
@given(commits=st.lists(new_entries, max_size=8), kinds=st.sets(st.sampled_from(KINDS), min_size=1), data=st.data())
def test_read_gives_back_what_was_appended(
    tmp_path_factory: pytest.TempPathFactory, commits: list[list[NewEntry]], kinds: set[EntryKind], data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("journal") / "j.sqlite"
    with Journal.open(path, clock=SetClock(5)) as journal:
        expected = []
        for entries in commits:
            commit = journal.append(entries)
            assert commit.first == len(expected) + 1 and commit.last == len(expected) + len(entries)
            assert commit.digests == tuple(hashlib.sha256(entry.body).digest() for entry in entries)
            assert commit.root == tree.root(commit.digests)
            expected += [
                Entry(commit.first + i, commit.received_ms, e.kind, e.subject, e.body) for i, e in enumerate(entries)
            ]
    with Journal.open(path, clock=SetClock(5), read_only=True) as journal:
        first = data.draw(st.integers(-1, len(expected) + 2))
        last = data.draw(st.none() | st.integers(0, len(expected) + 2))
        wanted = [e for e in expected if e.position >= first and (last is None or e.position <= last)]
        assert list(journal.read(first, last)) == wanted
        assert list(journal.read(first, last, kinds)) == [e for e in wanted if e.kind in kinds]
        for entry in expected:
            assert journal.entry(entry.position) == entry
        assert journal.entry(0) is None and journal.entry(len(expected) + 1) is None
        assert journal.head == len(expected)


def test_read_crosses_its_own_chunks(journal: Journal) -> None:
    for start in range(0, 5_000, 250):
        journal.append([report(b"%d" % number) for number in range(start, start + 250)])
        journal.append([NewEntry(EntryKind.PRICE, "", b"%d" % start)])
    assert [e.position for e in journal.read()] == list(range(1, journal.head + 1))
    assert [e.body for e in journal.read(kinds=[EntryKind.PRICE])] == [b"%d" % n for n in range(0, 5_000, 250)]
    assert [e.position for e in journal.read(2_100, 4_300)] == list(range(2_100, 4_301))


def test_received_ms_never_falls(tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    with Journal.open(path, clock=FallingClock(100, 50, 120)) as journal:
        assert [journal.append([report(b"x")]).received_ms for _ in range(3)] == [100, 100, 120]
    with Journal.open(path, clock=FallingClock(7)) as journal:
        assert journal.append([report(b"x")]).received_ms == 120


def test_exclusive_pins_the_time_of_receipt(tmp_path: Path) -> None:
    with Journal.open(tmp_path / "j.sqlite", clock=FallingClock(100, 500)) as journal:
        with journal.exclusive() as received_ms:
            assert received_ms == 100
            assert journal.append([report(b"x")]).received_ms == 100
        assert journal.append([report(b"y")]).received_ms == 500


@given(gaps=st.lists(st.integers(0, 3), min_size=1, max_size=12), sizes=st.data())
@settings(max_examples=15, deadline=None)
def test_position_at_is_the_last_before(
    tmp_path_factory: pytest.TempPathFactory, gaps: list[int], sizes: st.DataObject
) -> None:
    clock = SetClock(10)
    with Journal.open(tmp_path_factory.mktemp("j") / "j.sqlite", clock=clock) as journal:
        for gap in gaps:
            clock.set(clock.now_ms() + gap)
            journal.append([report(b"x")] * sizes.draw(st.integers(1, 4)))
        everything = list(journal.read())
        for time_ms in range(8, clock.now_ms() + 3):
            assert journal.position_at(time_ms) == sum(entry.received_ms < time_ms for entry in everything)


def test_an_empty_commit_is_a_bug_of_the_caller(journal: Journal) -> None:
    with pytest.raises(ValueError, match="at least one"):
        journal.append([])
    assert journal.head == 0 and journal.healthy


def test_a_second_writer_is_refused_and_readers_are_not(journal: Journal, clock: SetClock) -> None:
    journal.append([report(b"x")])
    with pytest.raises(Retryable, match="another process"):
        Journal.open(journal.path, clock=clock)
    with Journal.open(journal.path, clock=clock, read_only=True) as reader:
        assert reader.head == 1
        journal.append([report(b"y")])
        assert [entry.body for entry in reader.read()] == [b"x", b"y"]
        with pytest.raises(Retryable, match="reading only"):
            reader.append([report(b"z")])


def test_threads_append_without_gaps(journal: Journal) -> None:
    def work(name: int) -> None:
        for number in range(30):
            journal.append([report(b"%d-%d" % (name, number))] * 2)

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [entry.position for entry in journal.read()] == list(range(1, 241))


def test_backup_of_a_live_journal_is_a_journal(journal: Journal, tmp_path: Path, clock: SetClock) -> None:
    journal.append([report(b"%d" % n) for n in range(100)])
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            journal.append([report(b"more")] * 50)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        heads = [journal.backup(tmp_path / "copies" / f"{n}.sqlite") for n in range(3)]
    finally:
        stop.set()
        writer.join()
    assert journal.backup(tmp_path / "copies" / "0.sqlite") == journal.head, "an older copy is replaced"
    for number, head in enumerate(heads[1:], start=1):
        with Journal.open(tmp_path / "copies" / f"{number}.sqlite", clock=clock) as copy:
            assert copy.head == head >= 100
            assert copy.commit_of(head) is not None
            assert [e.body for e in copy.read()] == [e.body for e in journal.read(1, head)]
            copy.append([report(b"goes on")])


def test_backup_onto_a_folder_that_is_a_file(journal: Journal, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Retryable, match="backup"):
        journal.backup(tmp_path / "file" / "copy.sqlite")


def test_a_file_that_is_no_journal(tmp_path: Path, clock: SetClock) -> None:
    path = tmp_path / "j.sqlite"
    path.write_bytes(b"something else entirely, and long enough to have a header" * 20)
    with pytest.raises(Terminal, match="backup"):
        Journal.open(path, clock=clock)
    with pytest.raises(EnvironmentProblem, match="no journal"):
        Journal.open(tmp_path / "absent.sqlite", clock=clock, read_only=True)
    path.unlink()
    Journal.open(path, clock=clock).close()  # the failed open left no lock behind


def test_a_newer_format_is_not_guessed_at(journal: Journal, clock: SetClock) -> None:
    journal.close()
    with sqlite3.connect(journal.path) as raw:
        raw.execute("UPDATE meta SET value = 99 WHERE key = 'format'")
    raw.close()
    with pytest.raises(Terminal, match="format 99"):
        Journal.open(journal.path, clock=clock)


def test_tampering_with_a_block_is_found(journal: Journal) -> None:
    commit = journal.append([report(b"true"), report(b"also true")])
    with sqlite3.connect(journal.path) as raw:
        raw.execute("UPDATE commits SET block = CAST(replace(block, x'74727565', x'66616B65') AS BLOB)")
    raw.close()
    with pytest.raises(Terminal, match="not what was committed"):
        journal.commit_of(commit.first)


def test_commit_of_finds_the_same_commit_again(journal: Journal) -> None:
    commits = [journal.append([report(b"%d" % n)] * (n + 1)) for n in range(5)]
    for commit in commits:
        for position in range(commit.first, commit.last + 1):
            assert journal.commit_of(position) == commit
    assert journal.commit_of(journal.head + 1) is None


def test_last_report_before_looks_back_only_so_far(journal: Journal) -> None:
    journal.append([report(b"old", "a"), report(b"b", "b")])
    journal.append([NewEntry(EntryKind.REGISTRY, "a", b"old"), report(b"c", "b")])
    head = journal.head + 1
    found = journal.last_report_before(head, "a", lambda body: body == b"old", limit=100)
    assert found is not None and found.position == 1
    assert journal.last_report_before(head, "a", lambda body: body == b"old", limit=2) is None
    assert journal.last_report_before(1, "a", lambda body: True, limit=100) is None
    assert journal.last_report_before(head, "b", lambda body: True, limit=100).position == 4  # type: ignore[union-attr]


def test_a_closed_journal_refuses_in_words(journal: Journal) -> None:
    journal.close()
    journal.close()
    assert not journal.healthy
    with pytest.raises(Retryable, match="closed"):
        journal.append([report(b"x")])
    with pytest.raises(Retryable, match="closed"):
        list(journal.read(1, 1))
    assert not journal.recover()


def test_checkpoints_belong_to_one_journal_and_never_lead_it(journal: Journal, tmp_path: Path, clock: SetClock) -> None:
    journal.append([report(b"x")] * 3)
    assert journal.load_checkpoint("marks") is None
    journal.save_checkpoint("marks", 2, b"older")
    journal.save_checkpoint("marks", 3, b"newer")
    assert journal.load_checkpoint("marks") == (3, b"newer")
    journal.save_checkpoint("marks", 4, b"ahead of the journal, as after a restored backup")
    assert journal.load_checkpoint("marks") is None
    journal.save_checkpoint("marks", 1, b"x")
    side = journal.path.with_name("journal.side.sqlite")
    assert side.exists()
    with Journal.open(tmp_path / "other.sqlite", clock=clock) as other:
        other.append([report(b"x")] * 3)
        other.close()
        side.rename(tmp_path / "other.side.sqlite")
    with Journal.open(tmp_path / "other.sqlite", clock=clock) as other:
        assert other.load_checkpoint("marks") is None
