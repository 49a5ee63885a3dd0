"""The share store: a folder of its own, in which nothing is acknowledged before it is durable.

    shares/ab/<32 hex digits>   one file per share (`sharefile`)
    tmp/                        shares on their way in; swept at every start
    index.db                    `index`
    lock                        held while a process uses the folder

A share is hashed while it arrives, written to `tmp/`, renamed, synced, its folder synced, and only then acknowledged: its
file says all that the index would, so its entry may follow (`commit`). A `kill -9` at any moment leaves either no trace but a
stray file in `tmp/`, or a complete file that the next start enters into the index (`recovery`). Only what the index already
knows otherwise, a share that was bad, lost or deleted before, is entered before it is acknowledged. Room is reserved before
the first byte is written.

Reads and proofs check what they hand out: a group of 128 KiB is hashed when it is read for the first time since the
start, or after `RECHECK_MS`, or after its file changed. What does not fit its tree is marked and refused, not served.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import sqlite3
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path

from fieldstone.clock import Clock, SystemClock
from fieldstone.errors import EnvironmentProblem, Rejected, UsageError
from fieldstone.services.storage.codes.fast_tree import LEAF_BYTES
from fieldstone.services.storage.provider import index as index_
from fieldstone.services.storage.provider import sharefile
from fieldstone.services.storage.provider.commit import Change, Committer
from fieldstone.services.storage.provider.folder import make_folders, margin, place
from fieldstone.services.storage.provider.incoming import Incoming
from fieldstone.services.storage.provider.index import Index, Totals
from fieldstone.services.storage.provider.reading import Checked, OpenShare
from fieldstone.services.storage.provider.recovery import Recovered, recover
from fieldstone.services.storage.provider.refusals import disk_refusal, refuse, refusing
from fieldstone.services.storage.provider.sharefile import Damaged
from fieldstone.services.storage.records import ChunkProof

_LOG = logging.getLogger("fieldstone.storage")
_MOST_CHECKED = 100_000
_FORGET_DELETED_MS = 7 * 86_400_000
_MOST_MISSED = 10_000
_MOST_ENTERED = 10_000  # shares that wait for an index that cannot be written; a start would have to read them all


class Store:
    """All methods may be called from any thread; those that touch the disk say so."""

    def __init__(
        self,
        root: Path,
        capacity_bytes: int,
        *,
        clock: Clock | None = None,
    ) -> None:
        """Open or create the folder and recover. `capacity_bytes`: the most that shares and fillers may take on disk.

        Raises EnvironmentProblem when the folder cannot be used or another process uses it, UsageError on a bad capacity.
        """
        if capacity_bytes <= 0:
            raise UsageError(f"a capacity of {capacity_bytes} bytes is not above zero")
        self.root = root
        self.leaf_bytes = LEAF_BYTES  # of new shares; one that was stored with another keeps it and is proven by it
        self.capacity_bytes = capacity_bytes
        self.clock = clock or SystemClock()
        self.shares, self.tmp = root / "shares", root / "tmp"
        self._shares_name, self._tmp_name = str(self.shares), str(self.tmp)
        try:
            self.shares.mkdir(parents=True, exist_ok=True)
            self.tmp.mkdir(exist_ok=True)
            self._lock_file = os.open(root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise EnvironmentProblem(f"{root} cannot be used: {error.strerror}") from error
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock_file)
            raise EnvironmentProblem(
                f"{root} is in use by another process: give each provider its own folder"
            ) from None
        self.index = Index(root / "index.db")
        try:
            make_folders(self.shares, may_be_empty=not self.index.after(b"", 1))
            self._place = place(self.shares)
        except (OSError, sqlite3.Error) as error:
            self._leave()
            raise EnvironmentProblem(f"{root} cannot be used: {error}") from error
        except EnvironmentProblem:
            self._leave()
            raise
        self.recovered: Recovered = recover(self.root, self.index, self.clock.now_ms(), _FORGET_DELETED_MS)
        self._counted = self.index.totals()
        self._count_again_s, self._counting = 0.0, threading.Lock()
        self._mutex = threading.Lock()
        self._used = self._counted.used_bytes
        self._reserved = 0
        self._number = 0
        self._busy: set[bytes] = set()  # shares being stored or deleted: one at a time, or one could undo the other
        self._checked: OrderedDict[bytes, Checked] = OrderedDict()
        self.missed: dict[bytes, None] = {}  # deleted shares that somebody wanted to read: `Duties` shows their orders
        self.committer = Committer(self.index)
        self.filler_bytes: Callable[[], int] = lambda: 0
        self.make_room: Callable[[int], None] = lambda wanted: None

    def close(self) -> None:
        """Write what waits and close; the next start needs no recovery."""
        self.committer.close()
        try:
            if self.index.waiting:
                raise sqlite3.OperationalError("shares are not in it")
            index_.put_note(self.index.writer(), "clean", "1")
        except sqlite3.Error as error:
            _LOG.warning("the index could not be marked as closed: %s", error)
        self._leave()

    def _leave(self) -> None:
        self.index.close()
        os.close(self._lock_file)

    def path(self, share: bytes) -> Path:
        """Return where a share's file is. Built from bytes, so no name can lead out of the folder."""
        return Path(self.file_name(share))

    def file_name(self, share: bytes) -> str:
        """Return `path` as text, which takes a tenth of the time."""
        name = share.hex()
        return f"{self._shares_name}/{name[:2]}/{name}"

    # room

    @property
    def used_bytes(self) -> int:
        """What shares take on disk, those on their way in included; without fillers."""
        return self._used + self._reserved

    def free_bytes(self) -> int:
        """Return how much more can be stored: by the capacity, and by the disk if that has less. Fillers count as free."""
        return max(0, min(self.capacity_bytes - self.used_bytes, self._on_disk() + self.filler_bytes()))

    def _on_disk(self) -> int:
        disk = os.statvfs(self.root)
        return disk.f_bavail * disk.f_frsize - margin(disk) - self._reserved

    def _reserve(self, wanted: int, subject: str) -> None:
        with self._mutex:
            on_disk, fillers = self._on_disk(), self.filler_bytes()
            free = max(0, min(self.capacity_bytes - self.used_bytes, on_disk + fillers))
            if wanted > free:
                raise refuse("DISK_FULL", subject, f"{wanted} bytes are needed, {free} are free")
            self._reserved += wanted
            short = max(self.used_bytes + fillers - self.capacity_bytes, wanted - on_disk)
        if short > 0:
            try:
                self.make_room(short)
            except BaseException:
                self.release(wanted)
                raise

    def release(self, reserved: int, used: int = 0) -> None:
        """Give reserved bytes back, of which `used` were taken."""
        with self._mutex:
            self._reserved -= reserved
            self._used += used

    # in

    def begin(self, share: bytes, gateway: str, size_bytes: int, order_digest: bytes) -> Incoming:
        """Start to take a share of `size_bytes`.

        Raises Rejected: DISK_FULL, SHARE_CONFLICT (held with another size or for another gateway), ORDER_USED,
        SHARE_DELETED (by a signed order), STORE_UNAVAILABLE (the index cannot be written and too much waits for it).
        """
        subject = share.hex()
        self._claim(share)
        try:
            with refusing(subject):
                held, was_deleted, is_used = self.index.look_up(share, order_digest)
            if is_used:
                raise refuse("ORDER_USED", subject)
            if held is None and was_deleted and self._is_void(share):
                raise refuse("SHARE_DELETED", subject, "an id is used once")
            if self.index.waiting >= _MOST_ENTERED:
                raise refuse("STORE_UNAVAILABLE", subject, "the index cannot be written")
            if held is not None and (held.size_bytes != size_bytes or held.gateway != gateway):
                raise refuse("SHARE_CONFLICT", subject, f"{held.size_bytes} bytes are held")
            writes = held is None or held.state != "held"
            leaf_bytes = held.leaf_bytes if held is not None else self.leaf_bytes
            reserved = size_bytes + sharefile.trailer_bytes(size_bytes, leaf_bytes) if writes else 0
            if reserved:
                with refusing(subject):
                    self._reserve(reserved, subject)
        except BaseException:
            self.unclaim(share)
            raise
        with self._mutex:
            self._number += 1
            temporary = f"{self._tmp_name}/{subject}.{self._number}" if writes else None
        is_new = held is None and not was_deleted
        return Incoming(self, share, gateway, size_bytes, leaf_bytes, order_digest, temporary, reserved, held, is_new)

    def _is_void(self, share: bytes) -> bool:
        """Say whether a signed order to delete is kept for a share.

        Were it stored again with other bytes, the network would ask for those of the lease that its gateway kept, and
        call ours wrong: the order that ends that lease is shown for what is not held.
        """
        with refusing(share.hex()):
            return self.index.delete_order(share) is not None

    # out

    def open(self, share: bytes) -> OpenShare:
        """Open a share for reading. Raises Rejected: SHARE_UNKNOWN, SHARE_DELETED, SHARE_DAMAGED, STORE_UNAVAILABLE."""
        with refusing(share.hex()):
            row = self.index.get(share)
            order = None if row is not None else self.index.delete_order(share)
        if row is None:
            if order is None:
                raise refuse("SHARE_UNKNOWN", share.hex())
            if len(self.missed) < _MOST_MISSED:
                self.missed[share] = None
            raise refuse("SHARE_DELETED", share.hex())
        if row.state != "held":
            raise refuse("SHARE_DAMAGED", share.hex(), row.state)
        try:
            return OpenShare(os.open(self.file_name(share), os.O_RDONLY | os.O_CLOEXEC), row, self._note_of(share))
        except FileNotFoundError:
            if not self.is_there():
                raise refuse("STORE_UNAVAILABLE", share.hex(), "the disk is gone") from None
            self.mark(share, "lost")
            raise refuse("SHARE_DAMAGED", share.hex(), "its file is gone") from None
        except OSError as error:
            raise disk_refusal(error, share.hex()) from None

    def check(self, opened: OpenShare, start: int, end: int) -> None:
        """Verify the groups that hold bytes start … end, as far as they are not known to be good. Touches the disk.

        Raises Rejected SHARE_DAMAGED, and marks the share.
        """
        try:
            opened.check(start, end, self.clock.now_ms())
        except Damaged as error:
            self.mark(opened.row.share, "bad")
            raise refuse("SHARE_DAMAGED", opened.row.share.hex(), str(error)) from None
        except OSError as error:
            raise disk_refusal(error, opened.row.share.hex()) from None

    def prove(self, share: bytes, start: int) -> ChunkProof | None:
        """Answer one challenge; None when it cannot be (no such share or chunk, or damaged bytes). Touches the disk."""
        return next(iter(self.prove_all([(share, start)])), None)

    def prove_all(self, asked: Sequence[tuple[bytes, int]]) -> list[ChunkProof]:
        """Answer challenges in order, leaving out what cannot be answered. One share's file is opened once in a row."""
        from fieldstone.services.storage.provider.proving import prove_all

        return prove_all(self, asked)

    def delete(self, share: bytes, gateway: str, order_digest: bytes, message: bytes = b"") -> Future[None]:
        """Forget a share; fine if it is not held. `message`: the signed order, kept as evidence.

        Raises Rejected: SHARE_CONFLICT (another gateway's), ORDER_USED.
        """
        done: Future[None] = Future()
        self._claim(share)
        try:
            with refusing(share.hex()):
                row, _, is_used = self.index.look_up(share, order_digest)
            if row is None:
                self.unclaim(share)
                done.set_result(None)
                return done
            if row.gateway != gateway:
                raise refuse("SHARE_CONFLICT", share.hex(), "it is another gateway's")
            if is_used:
                raise refuse("ORDER_USED", share.hex())
        except BaseException:
            self.unclaim(share)
            raise
        now_ms, gone = self.clock.now_ms(), row
        state: list[index_.State] = []
        inner = self.committer.submit(
            Change(lambda writer: state.append(index_.delete_row(writer, gone, order_digest, now_ms, message)))
        )

        def forgotten(result: Future[None]) -> None:
            error = result.exception()
            if error is None:
                self._drop(share)
                with contextlib.suppress(OSError):  # if it stays: recovery finds it among the deleted
                    self.path(share).unlink(missing_ok=True)
                if state[-1] != "lost":
                    self.release(0, -gone.disk_bytes)
            self.unclaim(share)
            done.set_exception(error) if error else done.set_result(None)

        inner.add_done_callback(forgotten)
        return done

    # state

    def mark(self, share: bytes, state: index_.State) -> None:
        """Note a share's state; what is no longer held is never served or proven again, unless it is stored anew.

        Waits until it is durable."""
        try:
            row = self.index.get(share)
        except sqlite3.Error:  # as when it cannot be written
            return
        if row is None or row.state == state:
            return
        if state != "held":
            _LOG.error("share %s is %s: not served and not proven until it is stored anew", share.hex(), state)
        now_ms, done = self.clock.now_ms(), [False]
        self._drop(share)
        with contextlib.suppress(Rejected):  # the index cannot be written: the next look finds the same again
            noted = Change(lambda writer: done.append(index_.set_state(writer, row, state, now_ms)))
            self.committer.submit(noted).result()
            if done[-1] and "lost" in (state, row.state):  # of those who found out at once, one counts
                self.release(0, -row.disk_bytes if state == "lost" else row.disk_bytes)

    def is_there(self) -> bool:
        """Say whether the folder of the shares is still the one that was opened: a disk may be unplugged or unmounted."""
        try:
            return place(self.shares) == self._place and (self.shares / "00").is_dir()
        except OSError:
            return False

    def totals(self) -> Totals:
        """Count shares and bytes: reads the whole index."""
        return self.index.totals()

    def totals_lately(self) -> Totals:
        """Return the totals of a moment ago; counting takes a fiftieth of the time at most. May touch the disk."""
        with self._counting:
            if time.monotonic() >= self._count_again_s:
                began_s = time.monotonic()
                self._counted = self.index.totals()
                now_s = time.monotonic()
                self._count_again_s = now_s + max(0.5, 50 * (now_s - began_s))
            return self._counted

    def _claim(self, share: bytes) -> None:
        with self._mutex:
            if share in self._busy:
                raise refuse("SHARE_BUSY", share.hex())
            self._busy.add(share)

    def unclaim(self, share: bytes) -> None:
        """Let others store or delete the share."""
        with self._mutex:
            self._busy.discard(share)

    def _note_of(self, share: bytes) -> Checked:
        with self._mutex:
            checked = self._checked.get(share)
            if checked is None:
                checked = self._checked[share] = Checked()
                if len(self._checked) > _MOST_CHECKED:
                    self._checked.popitem(last=False)
            else:
                self._checked.move_to_end(share)
        return checked

    def remember(self, share: bytes, checked: Checked) -> None:
        """Note what is known of a new file."""
        with self._mutex:
            self._checked[share] = checked
            if len(self._checked) > _MOST_CHECKED:
                self._checked.popitem(last=False)

    def _drop(self, share: bytes) -> None:
        with self._mutex:
            self._checked.pop(share, None)
