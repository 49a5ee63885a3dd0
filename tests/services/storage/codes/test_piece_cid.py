"""Piece CIDs: what is read back, and every malformed text that is refused."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldstone.errors import UsageError
from fieldstone.services.storage.codes.piece_cid import PieceCid, height_of, parse, parse_v1, payload_capacity
from tests.services.storage.codes.payloads import vectors

ROOT = bytes(range(31)) + b"\x3f"
PIECES = vectors("storage_commp.json")


def text_of(body: str | bytes) -> str:
    raw = bytes.fromhex(body) if isinstance(body, str) else body
    return "b" + base64.b32encode(raw).decode().rstrip("=").lower()


@given(st.integers(1, payload_capacity(50)))
def test_every_length_is_read_back(payload_bytes: int) -> None:
    cid = PieceCid.of_payload(ROOT, payload_bytes)
    assert parse(str(cid)) == cid
    assert cid.payload_bytes == payload_bytes
    assert cid.padded_bytes // 2 * 127 // 128 < payload_bytes <= cid.padded_bytes * 127 // 128 or cid.height == 2
    assert 0 < cid.data_leaves <= 1 << cid.height
    assert parse_v1(cid.v1) == ROOT


@pytest.mark.parametrize("piece", PIECES["random"], ids=lambda piece: str(piece["size"]))
def test_published_cids_say_their_length(piece: dict[str, object]) -> None:
    assert parse(str(piece["cid"])).payload_bytes == piece["size"]


def test_an_empty_piece_is_refused_as_a_contract_refuses_it() -> None:
    text = str(PieceCid.of_payload(ROOT, 0))
    with pytest.raises(UsageError, match="no payload is left"):
        parse(text)
    assert parse(text, allow_empty=True).payload_bytes == 0


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("0155122022" + "00" * 34, "not a piece CID"),
        ("01559120" + "21" + "0004" + ROOT.hex()[:62], "at least 34"),
        ("01559120" + "23" + "0004" + ROOT.hex(), "says 35 bytes follow, but 34"),
        ("01559120" + "22" + "0004" + ROOT.hex() + "00", "says 34 bytes follow, but 35"),
        ("01559120" + "23" + "000004" + ROOT.hex(), "instead of height and root"),
        ("01559120" + "23" + "800004" + ROOT.hex(), "needless zeros"),
        ("01559120" + "a200" + "0004" + ROOT.hex(), "needless zeros"),
        ("01559120" + "22" + "0001" + ROOT.hex(), "height 1"),
        ("01559120" + "22" + "0033" + ROOT.hex(), "height 51"),
        ("01559120" + "22" + "0004" + ROOT.hex()[:62] + "40", "254 bits"),
        ("01559120" + "23" + "fc0304" + ROOT.hex(), "no payload is left"),
        ("01559120" + "23" + "ff0304" + ROOT.hex(), "no payload is left"),
        ("01559120" + "23" + "800204" + ROOT.hex(), "fit a smaller tree"),
        ("01559120" + "2b" + "ff" * 9 + "01" + "04" + ROOT.hex(), "more than nine bytes"),
        ("01559120", "ends in the middle"),
        ("01559120" + "22" + "80" * 9 + "00" * 25, "more than nine|needless"),
        ("0181e203922020" + ROOT.hex(), "version-1"),
    ],
)
def test_malformed_bytes_are_refused(body: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        parse(text_of(body))


def test_malformed_text_is_refused() -> None:
    good = str(PieceCid.of_payload(ROOT, 1000))
    for bad in ("", "b", good.upper(), "f" + good[1:], good[1:], good + "=", good[:-1] + "1", good + "a" * 200, "bé"):
        with pytest.raises(UsageError):
            parse(bad)
    # the last letter has spare bits: another letter would be a second name of the same piece
    twin = next(
        good[:-1] + letter for letter in "abcdefghijklmnopqrstuvwxyz234567" if letter != good[-1] and same(good, letter)
    )
    with pytest.raises(UsageError, match="after its last byte"):
        parse(twin)


def same(text: str, letter: str) -> bool:
    def raw(digits: str) -> bytes:
        return base64.b32decode(digits.upper() + "=" * (-len(digits) % 8))

    return raw(text[1:]) == raw(text[1:-1] + letter)


@given(st.text(max_size=80) | st.binary(max_size=60).map(text_of))
def test_nothing_else_breaks_the_parser(text: str) -> None:
    for reader in (parse, parse_v1):
        try:
            reader(text)
        except UsageError:
            continue


def test_version_one_is_checked_too() -> None:
    for body in ("0181e203922020" + "00" * 31, "0181e20392202000" + ROOT.hex(), "01551220" + "00" * 32):
        with pytest.raises(UsageError, match="version-1"):
            parse_v1(text_of(body))
    with pytest.raises(UsageError, match="254 bits"):
        parse_v1(text_of("0181e203922020" + "ff" * 32))


def test_heights_at_the_borders() -> None:
    assert [height_of(size) for size in (0, 1, 127, 128, 254, 255, 508, 509)] == [2, 2, 2, 3, 3, 4, 4, 5]
    with pytest.raises(UsageError):
        height_of(payload_capacity(50) + 1)
    with pytest.raises(UsageError):
        height_of(-1)
