"""Whatever a device signs as a record is refused by name: one that breaks the decoder would stop an epoch or a gateway."""

from __future__ import annotations

import msgspec
import pytest

from fieldstone.errors import Rejected
from fieldstone.services.storage import records
from fieldstone.services.storage.provider.space.proof import read

RECORDS = [kind for kind in vars(records).values() if isinstance(kind, type) and issubclass(kind, records._Record)]
DEEP = b"\x91" * 100_000 + b"\x00"


@pytest.mark.parametrize("kind", RECORDS[1:], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize(
    "body", [DEEP, b"\xc1", b"", b"\x91\xa2\xff\xfe", b"\x80"], ids=["deep", "none", "", "text", "map"]
)
def test_what_is_no_record_is_refused_by_name(kind: type[records._Record], body: bytes) -> None:
    with pytest.raises(Rejected, match="BAD_PAYLOAD"):
        records.decode(body, kind)  # type: ignore[type-var]


def announced() -> list[object]:
    told = records.Announcement(url="http://10.0.0.1:80", capacity_bytes=5)
    return list(msgspec.msgpack.decode(records.encode(told)))


def test_a_record_with_more_behind_it_is_refused_however_deep() -> None:
    body = bytearray(msgspec.msgpack.encode([*announced(), 0]))
    with pytest.raises(Rejected, match="BAD_PAYLOAD"):
        records.decode(bytes(body[:-1]) + DEEP, records.Announcement)


def test_text_that_is_no_utf_8_is_refused() -> None:
    body = msgspec.msgpack.encode(announced()).replace(b"http", b"ht\xff\xfe")
    with pytest.raises(Rejected, match="BAD_PAYLOAD"):
        records.decode(body, records.Announcement)


def test_a_proof_of_space_with_more_behind_it_is_refused_too() -> None:
    with pytest.raises(msgspec.DecodeError):
        read(b"\x94\x01\x14\x90" + DEEP)
