"""The manifest of a sealed epoch: what the epoch is, and the SHA-256 of every file in its folder.

It is written last. A folder without a manifest is no epoch; it is the rest of an interrupted sealing and may be
deleted. The JSON is canonical (keys sorted, no white space), so a manifest has one SHA-256, which the next names.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import Annotated

import msgspec

from fieldstone.errors import CheckFailed, Retryable
from fieldstone.journal.log import fsync_path

MANIFEST_NAME = "manifest.json"

_Hash = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$")]
_Count = Annotated[int, msgspec.Meta(ge=0)]
_Integer = Annotated[str, msgspec.Meta(pattern=r"^-?[0-9]{1,80}$")]
# No separator, no leading dot: a manifest that was fetched from elsewhere must not name files outside its folder.
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=-]{0,199}\Z")
_CHUNK = 1 << 20


class FileInfo(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file: SHA-256 in hex, rows of the table in it (1 for a document), size in bytes."""

    sha256: _Hash
    rows: _Count
    bytes: _Count


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A sealed epoch. Times in Unix ms (`end_ms` excluded), positions inclusive, amounts in base units as text.

    `digests` hash the *content* of tables in canonical form: Parquet bytes depend on the writer's version.
    `previous_sha256` is that of the previous epoch's manifest file, "" for the first. `block_*` name the public
    randomness. `root`, `data_hash` and hashes are lower-case hex without 0x.
    """

    format: int = 1
    network_id: str
    epoch: _Count
    start_ms: _Count
    end_ms: _Count
    first_position: _Count
    last_position: _Count
    files: dict[str, FileInfo]
    previous_sha256: str = ""
    policy_hash: str = ""
    rule_versions: dict[str, int] = {}
    block_number: _Count = 0
    block_hash: str = ""
    counts: dict[str, int] = {}
    root: str = ""
    data_hash: str = ""
    total_base: _Integer = "0"
    minted_base: _Integer = "0"
    digests: dict[str, str] = {}

    def to_json(self) -> bytes:
        """Return the canonical form."""
        return msgspec.json.encode(self, order="sorted")

    @property
    def sha256(self) -> str:
        """SHA-256 of `to_json`, in hex: the name by which the next epoch refers to this one."""
        return hashlib.sha256(self.to_json()).hexdigest()


def file_info(path: Path, rows: int) -> FileInfo:
    """Hash a file. Raises CheckFailed when it cannot be read."""
    digest = hashlib.sha256()
    size = 0
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
                size += len(chunk)
    except OSError as error:
        raise CheckFailed(f"{path} cannot be read: {error.strerror}; fetch the epoch again") from error
    return FileInfo(digest.hexdigest(), rows, size)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest durably, which is what makes the epoch exist. Raises Retryable when the disk refuses."""
    partial = folder / f".{MANIFEST_NAME}.partial"
    try:
        partial.write_bytes(manifest.to_json())
        fsync_path(folder)  # the renames of the other files first
        fsync_path(partial)
        os.replace(partial, folder / MANIFEST_NAME)
        fsync_path(folder)
    except OSError as error:
        raise Retryable(
            f"{folder}: the manifest cannot be written: {error.strerror}; free space and try again"
        ) from error


def parse_manifest(text: bytes) -> Manifest:
    """Read a manifest that may come from anyone. Raises CheckFailed: not JSON, another format, a hostile file name."""
    try:
        manifest = msgspec.json.decode(text, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CheckFailed(f"not a manifest: {error}") from None
    if manifest.format != 1:
        raise CheckFailed(f"manifest format {manifest.format} is not 1; install a matching release")
    for name in manifest.files:
        if not _FILE_NAME.match(name) or name == MANIFEST_NAME:
            raise CheckFailed(f"the manifest names the file {name!r:.100}, which is no plain file name")
    if manifest.to_json() != text:
        raise CheckFailed("the manifest is not in canonical form (keys sorted, no white space)")
    return manifest


def read_manifest(folder: Path) -> Manifest:
    """Read a folder's manifest. Raises CheckFailed when there is none (no such epoch) or it is damaged."""
    try:
        text = (folder / MANIFEST_NAME).read_bytes()
    except OSError:
        raise CheckFailed(f"{folder} has no {MANIFEST_NAME}: it is no sealed epoch") from None
    return parse_manifest(text)


def check_files(folder: Path) -> Manifest:
    """Compare every file with the manifest and return it. Raises CheckFailed naming the first file that differs.

    A journal file that the manifest does not name is refused too: it would look like part of the epoch.
    """
    manifest = read_manifest(folder)
    for name, stated in sorted(manifest.files.items()):
        path = folder / name
        if path.is_symlink() or not path.is_file():
            raise CheckFailed(f"epoch {manifest.epoch}: {name} is missing from {folder}")
        if path.stat().st_size != stated.bytes or file_info(path, stated.rows).sha256 != stated.sha256:
            raise CheckFailed(f"epoch {manifest.epoch}: {name} was changed after sealing (SHA-256 differs)")
    for path in sorted(folder.glob("*.parquet")):
        if path.name not in manifest.files:
            raise CheckFailed(f"epoch {manifest.epoch}: {path.name} is not named by the manifest")
    return manifest
