"""What a start does with what the last process left: sweep, then make index and files agree."""

from __future__ import annotations

import logging
import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from fieldstone.errors import EnvironmentProblem
from fieldstone.services.storage.provider import index as index_
from fieldstone.services.storage.provider import sharefile
from fieldstone.services.storage.provider.index import Index, Row
from fieldstone.services.storage.provider.sharefile import Damaged

_LOG = logging.getLogger("fieldstone.storage")


@dataclass(frozen=True, slots=True)
class Recovered:
    """What was done: stray uploads swept, complete files entered, files of deleted shares removed, files that are no
    shares set aside (in `aside/`), shares found without their file."""

    swept: int = 0
    entered: int = 0
    removed: int = 0
    set_aside: int = 0
    lost: int = 0


# A gateway that deletes and does not release is asked for within days; evidence against it is kept for a quarter.
FORGET_ORDERS_MS = 90 * 86_400_000


def recover(root: Path, index: Index, now_ms: int, forget_deleted_ms: int) -> Recovered:
    """Sweep `tmp/`; after a process that did not close, also compare all files with the index.

    Raises EnvironmentProblem when the folder or the index cannot be read or written.
    """
    try:
        swept = _sweep(root / "tmp")
        was_closed = index.note("clean") == "1"
        writer = index.writer()
        index_.put_note(writer, "clean", "0")
        found = Recovered(swept) if was_closed else _compare(root, index, writer, swept, now_ms)
        # after files were held against it: one that could not be removed then comes back otherwise
        writer.execute("DELETE FROM deleted WHERE deleted_ms < ?", (now_ms - forget_deleted_ms,))
        writer.execute("DELETE FROM delete_orders WHERE deleted_ms < ?", (now_ms - FORGET_ORDERS_MS,))
        return found
    except (OSError, sqlite3.Error) as error:
        raise EnvironmentProblem(f"{root} cannot be recovered: {error}. Free space, check the disk") from error


def _sweep(folder: Path) -> int:
    stray = list(folder.iterdir())
    for path in stray:
        path.unlink()
    return len(stray)


def _compare(root: Path, index: Index, writer: sqlite3.Connection, swept: int, now_ms: int) -> Recovered:
    files = _files(root / "shares")
    entered = removed = set_aside = lost = 0
    writer.execute("BEGIN IMMEDIATE")
    try:
        for row in index.rows():
            path = files.pop(row.share, None)
            if path is None and row.state != "lost":
                index_.set_state(writer, row, "lost", now_ms)
                _LOG.error("share %s is in the index, but its file is gone", row.share.hex())
                lost += 1
            elif path is not None and row.state == "lost" and _fits(path, row):
                index_.set_state(writer, row, "held", now_ms)  # its bytes are looked at before they are handed out
                entered += 1
        for share, path in files.items():
            try:
                row_of_file = _read(path, share)
            except (
                Damaged,
                OSError,
            ) as problem:  # one sector that cannot be read must not keep all others from being served
                _set_aside(root, path)
                _LOG.error("%s is no complete share (%s): moved to aside/", path.name, problem)
                set_aside += 1
                continue
            if row_of_file.stored_ms <= index.deleted_ms(share):
                path.unlink()
                removed += 1
            else:  # renamed, but the index was not written: complete, so it may stay, although nobody has a receipt
                index_.put_row(writer, row_of_file)
                entered += 1
        writer.execute("COMMIT")
    except BaseException:
        if writer.in_transaction:
            writer.execute("ROLLBACK")
        raise
    return Recovered(swept, entered, removed, set_aside, lost)


def _files(shares: Path) -> dict[bytes, Path]:
    found: dict[bytes, Path] = {}
    for folder in shares.iterdir():
        if folder.is_dir():
            for path in folder.iterdir():
                try:
                    name = bytes.fromhex(path.name)
                except ValueError:
                    continue
                if len(name) == 16 and path.name[:2] == folder.name:
                    found[name] = path
    return found


def _read(path: Path, share: bytes) -> Row:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        meta, _ = sharefile.read_trailer(fd)
        disk_bytes = os.fstat(fd).st_size
    finally:
        os.close(fd)
    if meta.share != share:
        raise Damaged("it names another share")
    return Row(share, meta.gateway, meta.size_bytes, meta.leaf_bytes, meta.root, meta.stored_ms, meta.order, disk_bytes)


def _fits(path: Path, row: Row) -> bool:
    """Say whether a file is the share that was lost."""
    try:
        found = _read(path, row.share)
    except (Damaged, OSError):
        return False
    return (found.root, found.size_bytes, found.disk_bytes) == (row.root, row.size_bytes, row.disk_bytes)


def _set_aside(root: Path, path: Path) -> None:
    aside = root / "aside"
    aside.mkdir(exist_ok=True)
    path.rename(aside / path.name)
