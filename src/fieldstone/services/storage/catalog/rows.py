"""What the catalogue's rows look like to everybody else: frozen values, no database objects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from fieldstone.services.storage.catalog.content import Content

Versioning = Literal["", "Enabled", "Suspended"]
NULL_VERSION = "null"


@dataclass(frozen=True, slots=True)
class Account:
    """Who owns buckets and objects. `id`: canonical user id."""

    id: str
    name: str
    email: str = ""


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket with its settings: name → document as the protocol parts wrote it."""

    id: int
    name: str
    owner: str
    created_ms: int
    versioning: Versioning
    object_lock: bool
    settings: Mapping[str, bytes]


class Attributes(msgspec.Struct, array_like=True, frozen=True):
    """What a writer states about an object besides its bytes. `headers`: names in lower case, as they are answered.

    `retain_until_ms`: Unix milliseconds, with `retain_mode` GOVERNANCE or COMPLIANCE.
    """

    owner: str
    headers: tuple[tuple[str, str], ...] = ()
    storage_class: str = "STANDARD"
    tags: dict[str, str] | None = None
    acl: bytes | None = None
    retain_mode: str | None = None
    retain_until_ms: int | None = None
    legal_hold: bool = False


@dataclass(frozen=True, slots=True)
class NewVersion:
    """An object about to be written. `checksum`: '' or ALGORITHM:TYPE:base64. `parts`: (number, bytes, checksum, ETag)."""

    attributes: Attributes
    content: Content
    etag: str
    modified_ms: int
    checksum: str = ""
    parts: tuple[tuple[int, int, str] | tuple[int, int, str, str], ...] = ()


class _Part(msgspec.Struct, array_like=True, frozen=True):
    number: int
    size_bytes: int
    checksum: str
    etag: str = ""  # rows of earlier versions have none


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a key, or a delete marker. `parts` is empty unless it came from a multipart upload."""

    id: int
    bucket_id: int
    key: bytes
    version_id: str
    state: int
    marker: bool
    size_bytes: int
    etag: str
    modified_ms: int
    owner: str
    storage_class: str
    checksum: str
    headers: bytes
    tags: bytes | None
    acl: bytes | None
    retain_mode: str | None
    retain_until_ms: int | None
    legal_hold: bool
    extents: bytes = b""
    parts_packed: bytes | None = None

    @property
    def is_current(self) -> bool:
        return self.state > 0

    def header_list(self) -> list[tuple[str, str]]:
        """Return the stored headers: names in lower case."""
        return _HEADERS.decode(self.headers)

    def tag_map(self) -> dict[str, str]:
        """Return the tags, empty when there are none."""
        return _TAGS.decode(self.tags) if self.tags else {}

    def content(self) -> Content:
        """Return the content; only for versions that were read together with it."""
        return Content.decode(self.extents)

    def parts(self) -> list[tuple[int, int, str]]:
        """Return (number, bytes, checksum) of every part, empty for an object that was put whole."""
        return [(part.number, part.size_bytes, part.checksum) for part in self._parts()]

    def part_etag(self, start: int, end: int) -> str:
        """Return the ETag of the part that is bytes `start` … `end` (half open), '' where no part is exactly that."""
        position = 0
        for part in self._parts():
            if position >= start:
                return part.etag if (position, position + part.size_bytes) == (start, end) else ""
            position += part.size_bytes
        return ""

    def _parts(self) -> list[_Part]:
        return _PARTS.decode(self.parts_packed) if self.parts_packed else []

    def attributes(self) -> Attributes:
        """Return what was stated about the object, without lock settings: a copy does not inherit those."""
        return Attributes(
            owner=self.owner,
            headers=tuple(self.header_list()),
            storage_class=self.storage_class,
            tags=self.tag_map() or None,
            acl=self.acl,
        )


@dataclass(frozen=True, slots=True)
class Upload:
    """A multipart upload in progress."""

    id: int
    upload_id: str
    bucket_id: int
    key: bytes
    initiator: str
    created_ms: int
    attributes: Attributes
    checksum_algorithm: str
    checksum_type: str


@dataclass(frozen=True, slots=True)
class Part:
    """One uploaded part. `checksum`: base64 under the upload's algorithm, '' when it has none."""

    number: int
    size_bytes: int
    etag: str
    checksum: str
    modified_ms: int


@dataclass(frozen=True, slots=True)
class Written:
    """What a write answered. `replaced`: the version that was current before, without its content."""

    version_id: str
    etag: str
    size_bytes: int
    checksum: str
    modified_ms: int
    show_version: bool = False  # the bucket is versioned, so the answer names the version; not so a suspended one's


@dataclass(frozen=True, slots=True)
class Deleted:
    """What a delete did. `version_id` is None where the bucket was never versioned."""

    version_id: str | None
    marker: bool
    existed: bool = True


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a listing. `entries` and `prefixes` are each in key order; the next page goes on after `next_key`, or
    behind the row `next_entry` where a key has several."""

    entries: list[Any] = field(default_factory=list)
    prefixes: list[bytes] = field(default_factory=list)
    truncated: bool = False
    next_key: bytes = b""
    next_entry: Any = None


_HEADERS = msgspec.msgpack.Decoder(list[tuple[str, str]])
_TAGS = msgspec.msgpack.Decoder(dict[str, str])
_PARTS = msgspec.msgpack.Decoder(list[_Part])
pack = msgspec.msgpack.Encoder().encode
