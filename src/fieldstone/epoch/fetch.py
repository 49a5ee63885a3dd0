"""Fetch sealed epochs from a node over HTTP into a folder, where they are the same as on the node."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import httpx

from fieldstone.epoch.store import SealedEpoch
from fieldstone.errors import CheckFailed, Retryable

_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")


def fetch_epoch(client: httpx.Client, number: int, under: Path) -> SealedEpoch:
    """Download every file of an epoch to `under/epoch=N`. Raises Retryable, or CheckFailed on a hostile manifest."""
    folder = under / f"epoch={number}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    manifest = get(client, f"/v1/epochs/{number}/files/manifest.json").content
    try:
        names = list(json.loads(manifest)["files"])
    except (ValueError, KeyError, TypeError):
        raise CheckFailed(f"the manifest of epoch {number} cannot be read") from None
    for name in names:
        if not _FILE_NAME.fullmatch(name):
            raise CheckFailed(f"the manifest of epoch {number} names a file {name[:80]!r} that no node writes")
        _download(client, f"/v1/epochs/{number}/files/{name}", folder / name)
    (folder / "manifest.json").write_bytes(manifest)
    return SealedEpoch(folder)


def get(client: httpx.Client, path: str) -> httpx.Response:
    """GET a path of the node. Raises Retryable when it does not answer, CheckFailed when it refuses."""
    return answered(lambda: client.get(path))


def answered(call: Callable[[], httpx.Response]) -> httpx.Response:
    """Make a call to a node and turn what went wrong into one of our errors."""
    try:
        response = call()
    except httpx.TransportError as error:
        raise Retryable(f"the node does not answer ({error}); is `fieldstone up` running there?") from error
    _raise_for(response)
    return response


def _download(client: httpx.Client, path: str, target: Path) -> None:
    try:
        with client.stream("GET", path) as response, target.open("wb") as out:
            if response.status_code >= 400:
                response.read()
            _raise_for(response)
            for chunk in response.iter_bytes():
                out.write(chunk)
    except httpx.TransportError as error:
        raise Retryable(f"the node stopped answering while sending {path} ({error})") from error


def _raise_for(response: httpx.Response) -> None:
    where = response.request.url.path
    if response.status_code >= 500:
        raise Retryable(f"the node answered {response.status_code} to {where}; try again later")
    if response.status_code >= 400:
        raise CheckFailed(f"the node refused {where}: {response.text[:300]}")
