"""Back up a running network and restore it, proven by the journal's own hashes.

The order makes the copy consistent: the databases that only *follow* the journal are copied first, the journal last,
so the copy's journal knows at least everything the others know. Keys are copied only when asked for.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path

from fieldstone.clock import SystemClock
from fieldstone.config import Config, load
from fieldstone.epoch.store import EpochStore, SealedEpoch
from fieldstone.errors import CheckFailed, UsageError
from fieldstone.journal import Journal
from fieldstone.node.layout import Layout

FORMAT = 1


def backup(config: Config, target: Path, *, with_keys: bool) -> dict[str, int]:
    """Copy a network, running or not, into the empty folder `target`; return what the copy holds.

    Raises UsageError when the target is not empty, CheckFailed when a sealed epoch is damaged.
    """
    layout = Layout(config.data_dir)
    if Path(config.node.data).is_absolute() or ".." in Path(config.node.data).parts:
        raise UsageError("[node] data lies outside the network's folder; copy it with your own tools")
    if target.exists() and any(target.iterdir()):
        raise UsageError(f"{target} is not empty; name a new folder")
    if not layout.journal.exists():
        raise UsageError(f"{layout.root} holds no network")
    copy = Layout(target / config.node.data)
    copy.root.mkdir(parents=True)
    for source, destination in (
        (layout.state, copy.state),
        (layout.chain, copy.chain),
        (layout.outbox, copy.outbox),
        (layout.signatures, copy.signatures),
    ):
        if source.exists():
            copy_sqlite(source, destination)
    store = EpochStore(layout.sealed)
    for epoch in store.epochs():
        SealedEpoch(store.path(epoch)).check_files()
        shutil.copytree(store.path(epoch), copy.sealed / f"epoch={epoch}")
    for name in ("contracts.json",):
        if (layout.root / name).exists():
            shutil.copy(layout.root / name, copy.root / name)
    if (layout.root / "deliveries").exists():
        shutil.copytree(layout.root / "deliveries", copy.root / "deliveries")
    journal = Journal.open(layout.journal, clock=SystemClock(), read_only=True)
    try:
        head = journal.backup(copy.journal)
    finally:
        journal.close()
    shutil.copy(config.path, target / "network.toml")
    if with_keys:
        shutil.copytree(layout.keys, copy.keys)
    summary = {"format": FORMAT, "journal_head": head, "epochs": len(store.epochs()), "keys": int(with_keys)}
    (target / "backup.json").write_text(json.dumps(summary))
    return summary


def restore(source: Path, folder: Path, *, keys: Path | None) -> dict[str, int]:
    """Make a network's folder out of a backup. `keys`: the keys folder, when the backup was made without them.

    Raises UsageError when `folder` is not empty or `source` is no backup, CheckFailed when the copy does not hold
    what it says.
    """
    try:
        summary = json.loads((source / "backup.json").read_text())
    except (OSError, ValueError):
        raise UsageError(f"{source} is no backup of `fieldstone backup`") from None
    if summary.get("format") != FORMAT:
        raise UsageError(f"{source} is a backup of another format; install the release that made it")
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(f"{folder} is not empty; restore into a new folder")
    shutil.copytree(source, folder, dirs_exist_ok=True)
    layout = Layout(load(folder / "network.toml").data_dir)
    if keys is not None:
        shutil.copytree(keys, layout.keys, dirs_exist_ok=True)
    if not layout.keys.exists():
        raise UsageError("the backup holds no keys: name the keys folder with --keys, or the network cannot sign")
    check(layout, summary)
    return {name: int(value) for name, value in summary.items()}


def check(layout: Layout, summary: dict[str, int]) -> None:
    """Compare a restored folder with what the backup said. Raises CheckFailed."""
    journal = Journal.open(layout.journal, clock=SystemClock())
    try:
        if journal.head < summary["journal_head"]:
            raise CheckFailed(f"the journal ends at {journal.head}, the backup said {summary['journal_head']}")
    finally:
        journal.close()
    store = EpochStore(layout.sealed)
    if len(store.epochs()) != summary["epochs"]:
        raise CheckFailed(f"{len(store.epochs())} sealed epochs are there, the backup said {summary['epochs']}")
    for epoch in store.epochs():
        store.sealed(epoch).check_files()


def copy_sqlite(source: Path, target: Path) -> None:
    """Copy a SQLite file that may be in use, by SQLite's own online backup."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with sqlite3.connect(f"{source.resolve().as_uri()}?mode=ro", uri=True) as reader, sqlite3.connect(target) as writer:
        reader.backup(writer)
    reader.close()
    writer.close()
