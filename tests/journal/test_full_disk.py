"""A full or failing disk, for real: no acknowledgement, still readable, healthy again after recovery."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from fieldstone.clock import SetClock
from fieldstone.errors import Retryable
from fieldstone.journal import EntryKind, Journal, NewEntry

BIG = NewEntry(EntryKind.REPORT, "did:key:zA", os.urandom(100_000))
SMALL = NewEntry(EntryKind.REPORT, "did:key:zA", b"small")


def fill(journal: Journal) -> int:
    """Append until the journal refuses; return the last acknowledged position."""
    acknowledged = 0
    for _ in range(500):
        try:
            acknowledged = journal.append([BIG]).last
        except Retryable as refusal:
            assert "not durable" in str(refusal) and "free space" in str(refusal)
            return acknowledged
    pytest.fail("the disk never filled up")


def test_a_full_database_refuses_stays_readable_and_recovers(tmp_path: Path) -> None:
    with Journal.open(tmp_path / "j.sqlite", clock=SetClock(1)) as journal:
        journal._connection.execute("PRAGMA max_page_count = 100")
        acknowledged = fill(journal)
        assert acknowledged > 0 and not journal.healthy and "SQLITE_FULL" in str(journal.failure)
        with pytest.raises(Retryable, match="not healthy"):
            journal.append([SMALL])  # it would fit, but a failed journal promises nothing until it was checked
        assert [entry.position for entry in journal.read()] == list(range(1, acknowledged + 1))
        generation = journal.generation
        assert journal.recover()  # a new connection has no such limit: space was freed
        assert journal.healthy and journal.generation == generation + 1
        assert journal.append([SMALL]).first == journal.head > acknowledged


LIMITED = textwrap.dedent(
    """
    import resource, signal, sys
    from fieldstone.clock import SetClock
    from fieldstone.errors import Retryable
    from fieldstone.journal import EntryKind, Journal, NewEntry

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    journal = Journal.open(sys.argv[1], clock=SetClock(1))
    entry = NewEntry(EntryKind.REPORT, "d", bytes(50_000))
    journal.append([entry])
    resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, resource.RLIM_INFINITY))
    try:
        while True:
            acknowledged = journal.append([entry]).last
    except Retryable as error:
        print("refused", type(error.__cause__).__name__, file=sys.stderr)
    assert not journal.healthy
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
    assert not journal.recover() and not journal.healthy, "nothing at all can be written"
    assert len(list(journal.read())) == acknowledged
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert journal.recover(), journal.failure
    print(acknowledged, journal.append([entry]).last, len(list(journal.read())))
    """
)


def test_the_kernel_refusing_writes_is_a_refusal_not_a_crash(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path / "j.sqlite")], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    acknowledged, last, count = map(int, done.stdout.split())
    assert acknowledged >= 5
    assert last == count > acknowledged, "gapless after recovery; the failed entry may or may not be there"


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_a_full_file_system(tmp_path: Path) -> None:
    mount = tmp_path / "small"
    mount.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", mount], capture_output=True).returncode:
        pytest.skip("this machine does not allow mounting, even for root")
    try:
        ballast = mount / "ballast"
        ballast.write_bytes(bytes(500_000))
        journal = Journal.open(mount / "j.sqlite", clock=SetClock(1))
        acknowledged = fill(journal)
        assert not journal.healthy
        assert [entry.position for entry in journal.read()] == list(range(1, acknowledged + 1))
        journal.count_rejection("UNAVAILABLE", "did:key:zA")
        ballast.unlink()
        remount = ["mount", "-o", "remount,size=16m", str(mount)]
        subprocess.run(remount, check=True, capture_output=True)
        assert journal.recover(), journal.failure
        assert journal.append([SMALL]).last == journal.head
        assert [row.count for row in journal.rejections(0, 10)] == [1]

        subprocess.run(["mount", "-o", "remount,ro", str(mount)], check=False, capture_output=True)
        journal.close()
    finally:
        subprocess.run(["umount", "-l", mount], check=False, capture_output=True)


def test_a_disk_that_vanishes_under_the_file(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path / "j.sqlite", clock=SetClock(1))
    assert journal.append([SMALL]).last == 1
    target = os.stat(tmp_path / "j.sqlite-wal").st_ino
    for name in os.listdir("/proc/self/fd"):
        descriptor = int(name)
        try:
            if os.fstat(descriptor).st_ino == target:
                read_only = os.open("/dev/null", os.O_RDONLY)
                os.dup2(read_only, descriptor)  # every write through this descriptor now fails
                os.close(read_only)
        except OSError:
            continue
    with pytest.raises(Retryable, match="not durable"):
        journal.append([SMALL])
    assert not journal.healthy
    assert journal.recover(), journal.failure
    commit = journal.append([SMALL])
    assert journal.head == commit.last == len(list(journal.read()))
    journal.close()
