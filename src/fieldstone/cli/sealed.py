"""Where a command finds sealed epochs: a network's folder, a folder of epochs, or a node's URL."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fieldstone.epoch.runner import ExecutorRunner, Runner, SerialRunner, process_pool
from fieldstone.epoch.store import EpochStore
from fieldstone.errors import UsageError


def is_url(at: str) -> bool:
    """Return whether `--at` names a node."""
    return at.startswith(("http://", "https://"))


def open_store(at: str, numbers: Sequence[int] | None) -> EpochStore:
    """Return the epochs at a place. From a URL, `numbers` are fetched (None: all) into a temporary folder."""
    if is_url(at):
        return _fetch(at, numbers)
    folder = Path(at)
    if (folder / "network.toml").exists():
        from fieldstone.config import load

        return EpochStore(load(folder / "network.toml").data_dir / "sealed")
    for candidate in (folder / "sealed", folder):
        if any(candidate.glob("epoch=*")):
            return EpochStore(candidate)
    raise UsageError(
        f"{folder.resolve()} holds no network.toml and no sealed epochs; name a folder or a node with --at"
    )


def _fetch(url: str, numbers: Sequence[int] | None) -> EpochStore:
    from fieldstone.cli.node_client import node_client
    from fieldstone.epoch.fetch import fetch_epoch, get

    folder = Path(tempfile.mkdtemp(prefix="fieldstone-"))
    with node_client(url) as client:
        sealed = [int(item["epoch"]) for item in get(client, "/v1/epochs").json()["epochs"]]
        for number in sealed if numbers is None else [n for n in numbers if n >= 1]:
            if number not in sealed:
                raise UsageError(f"epoch {number} is not sealed at {url}; the latest is {max(sealed, default=0)}")
            fetch_epoch(client, number, folder)
    return EpochStore(folder)


@contextmanager
def runner_for(workers: int) -> Iterator[Runner]:
    """Yield a runner on as many processes as asked for; none are started for one."""
    if workers == 1:
        yield SerialRunner()
        return
    with process_pool(workers) as pool:
        yield ExecutorRunner(pool, workers)


def to_json(value: Any) -> str:
    """Return JSON with sorted keys; what JSON cannot hold is written as text."""
    return json.dumps(value, sort_keys=True, default=str, ensure_ascii=False)
