"""Distort a record anywhere inside, and write what comes of it in CBOR, MessagePack or JSON: also what no encoder would.

A record is a tree of plain values. `Fields` is a map that may hold a key twice; `Signed` stands for the bytes of a signed
message, whose inside is distorted before it is signed; `Bytes` is written as it is, well-formed or not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cbor2
import msgspec
from hypothesis import strategies as st

from fieldstone.identity import cose
from fieldstone.identity.keys import DeviceKey

DEEP = 2_500  # nesting, more than any decoder that recurses follows


@dataclass(frozen=True)
class Fields:
    pairs: tuple[tuple[Any, Any], ...]


@dataclass(frozen=True)
class Signed:
    """A record (MessagePack) signed as COSE_Sign1."""

    record: Any
    key: DeviceKey
    purpose: bytes


@dataclass(frozen=True)
class Bytes:
    """Bytes for each format, in order: CBOR, MessagePack, JSON."""

    cbor: bytes
    msgpack: bytes
    json: bytes


NUMBERS = [0, 1, -1, 255, 256, 65_536, 2**31, 2**32, 2**53 - 1, 2**53, 2**62, 2**62 + 1, 2**63 - 1, 2**63, 2**64 - 1,
           -(2**31), -(2**63), 86_400_000, 253_402_300_800_000, 0.0, -0.0, 0.5, 1e308, -1e308, 5e-324, 2.0**63,
           90, -90, 180, -180, 90.0000001, 179.999999999, float("nan"), float("inf"), -float("inf")]  # fmt: skip
TEXTS = [
    "",
    "\0",
    "a\nb",
    "\u202e",
    "e\u0301",
    "É",
    "0",
    "null",
    "did:key:",
    "../..",
    "0x" + "0" * 40,
    "x" * 70,
    "a" * 60_000,
]
BLOBS = [b"", b"\0", bytes(16), bytes(31), bytes(32), bytes(64), b"\xff" * 33, b"\x91" * DEEP, bytes(60_000)]
OTHERS: list[Any] = [
    None, True, False, [], [[]], [[[[[[]]]]]], [0] * 3_000, Fields(()), Fields(((1, 1), (1, 2))), Fields((("a", 0), ("a", 1))),
    Bytes(b"\x81" * DEEP + b"\0", b"\x91" * DEEP + b"\0", b"[" * DEEP + b"]" * DEEP),
    Bytes(b"\xa1\0" * DEEP + b"\0", b"\x81\0" * DEEP + b"\0", b'{"a":' * DEEP + b"0" + b"}" * DEEP),
    Bytes(b"\x62\xff\xfe", b"\xa2\xff\xfe", b'"\xff\xfe"'),  # no UTF-8
    Bytes(b"\x63\xed\xa0\x80", b"\xa3\xed\xa0\x80", b'"\\ud800"'),  # half of a surrogate pair
    Bytes(b"\xc2\x49\x01" + bytes(8), b"\xd6\xff" + b"\xff" * 4, b"1" * 5_000),  # bignum, timestamp, number without end
    Bytes(b"\xc0\x60", b"\xc7\x0c\xff" + b"\xff" * 12, b"1e999"),  # date, timestamp outside of dates
    Bytes(b"\xd8\x1c\x81\xd8\x1d\0", b"\xd4\x05\0", b"-0"),  # a list that holds itself, extension type
    Bytes(b"\x9f\xff", b"\xc1", b"01"),  # indefinite length, never used, leading zero
    Bytes(b"\xf7", b"\xdc\xff\xff", b""),  # undefined, more announced than there is
    Bytes(b"\xbb" + b"\xff" * 8, b"\xdf" + b"\xff" * 4, b"{"),
    Bytes(b"\xfb\x7f\xf8" + bytes(6), b"\xcb\x7f\xf8" + bytes(6), b"NaN"),
    Bytes(b"\x18\x01", b"\xcc\x01", b"1.0"),  # not the shortest form
]  # fmt: skip


def _paths(tree: Any, here: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield here
    if isinstance(tree, Signed):
        yield from _paths(tree.record, (*here, "record"))
    elif isinstance(tree, Fields):
        for place, (_, value) in enumerate(tree.pairs):
            yield from _paths(value, (*here, place))
    elif isinstance(tree, list | tuple):
        for place, value in enumerate(tree):
            if place < 6:  # what is there is alike
                yield from _paths(value, (*here, place))


def _at(tree: Any, path: Sequence[Any]) -> Any:
    for step in path:
        tree = tree.record if step == "record" else tree.pairs[step][1] if isinstance(tree, Fields) else tree[step]
    return tree


def _put(tree: Any, path: Sequence[Any], new: Any) -> Any:
    if not path:
        return new
    step, rest = path[0], path[1:]
    if isinstance(tree, Signed):
        return Signed(_put(tree.record, rest, new), tree.key, tree.purpose)
    if isinstance(tree, Fields):
        pairs = list(tree.pairs)
        pairs[step] = (pairs[step][0], _put(pairs[step][1], rest, new))
        return Fields(tuple(pairs))
    return [_put(value, rest, new) if place == step else value for place, value in enumerate(tree)]


def _odd(value: Any, strangers: Sequence[Any]) -> st.SearchStrategy[Any]:
    """What may stand in the place of `value`: of its own kind as often as of any other."""
    anything = st.one_of(
        st.sampled_from(NUMBERS), st.sampled_from(TEXTS), st.sampled_from(BLOBS), st.sampled_from(OTHERS),
        st.sampled_from(list(strangers)),
    )  # fmt: skip
    own: list[st.SearchStrategy[Any]] = [anything]
    if isinstance(value, bool | int | float):
        own += [st.sampled_from(NUMBERS), st.integers(-(2**63), 2**64 - 1), st.integers(-2, 300), st.just(value + 1)]
    elif isinstance(value, str):
        own += [
            st.sampled_from([value.upper(), value.lower(), value + "\0", value + "\n", value[:-1], value * 2]),
            st.text(max_size=8),
        ]
        own += [st.sampled_from([one for one in strangers if isinstance(one, str)])]
    elif isinstance(value, bytes):
        own += [
            st.sampled_from([value[:-1], value + b"\0", value[::-1], bytes(len(value)), value * 2]),
            st.binary(max_size=40),
        ]
    elif isinstance(value, Signed):
        own += [st.just(Signed(value.record, value.key, b"another purpose\0"))]
    elif isinstance(value, list | tuple) and value:
        some = st.sampled_from(range(len(value)))
        own.append(some.map(lambda place: [*value, value[place]]))
        own.append(some.map(lambda place: [*value[:place], *value[place + 1 :]]))
        own.append(st.just([*value][::-1]))
        own.append(anything.map(lambda more: [*value, more]))
        own.append(st.sampled_from([2, 200]).map(lambda times: [*value] * times))
    elif isinstance(value, Fields) and value.pairs:
        some = st.sampled_from(range(len(value.pairs)))
        own.append(some.map(lambda place: Fields((*value.pairs, value.pairs[place]))))
        own.append(some.map(lambda place: Fields((*value.pairs[:place], *value.pairs[place + 1 :]))))
        own.append(st.tuples(st.sampled_from([*range(15), True, 1.0, -1, "a", b"", 2**64 - 1]), anything).map(
            lambda pair: Fields((*value.pairs, pair))))  # fmt: skip
    return st.one_of(own)


POISON = [one for one in OTHERS if isinstance(one, Bytes)] + [None, [], 2**63, -1, 1e308, "", b""]


def everywhere(tree: Any, values: Sequence[Any]) -> Iterator[Any]:
    """Yield the tree with each of `values` in the place of each of its parts, and behind the last of each list."""
    for path in _paths(tree):
        part = _at(tree, path)
        for value in values:
            yield _put(tree, path, value)
            if isinstance(part, list | tuple):
                yield _put(tree, path, [*part, value])


@st.composite
def distorted(draw: st.DrawFn, tree: Any, strangers: Sequence[Any], most: int = 3) -> Any:
    """Return `tree` with up to `most` of its parts replaced. `strangers`: values that occur elsewhere."""
    for _ in range(draw(st.integers(1, most))):
        path = draw(st.sampled_from(list(_paths(tree))))
        tree = _put(tree, path, draw(_odd(_at(tree, path), strangers)))
    return tree


def to_msgpack(tree: Any) -> bytes:
    """Write a tree in MessagePack."""
    if isinstance(tree, Bytes):
        return tree.msgpack
    if isinstance(tree, Signed):
        return msgspec.msgpack.encode(cose.sign(tree.key, to_msgpack(tree.record), tree.purpose))
    if isinstance(tree, list | tuple):
        head = bytes([0x90 + len(tree)]) if len(tree) < 16 else b"\xdd" + len(tree).to_bytes(4, "big")
        return head + b"".join(map(to_msgpack, tree))
    if isinstance(tree, Fields):
        pairs = b"".join(to_msgpack(key) + to_msgpack(value) for key, value in tree.pairs)
        return b"\xdf" + len(tree.pairs).to_bytes(4, "big") + pairs
    return msgspec.msgpack.encode(tree)


def to_cbor(tree: Any) -> bytes:
    """Write a tree in CBOR, lengths in their shortest form."""
    if isinstance(tree, Bytes):
        return tree.cbor
    if isinstance(tree, list | tuple):
        return _head(0x80, len(tree)) + b"".join(map(to_cbor, tree))
    if isinstance(tree, Fields):
        return _head(0xA0, len(tree.pairs)) + b"".join(to_cbor(key) + to_cbor(value) for key, value in tree.pairs)
    return cbor2.dumps(tree)


def to_json(tree: Any) -> bytes:
    """Write a tree as JSON."""
    if isinstance(tree, Bytes):
        return tree.json
    if isinstance(tree, list | tuple):
        return b"[" + b",".join(map(to_json, tree)) + b"]"
    if isinstance(tree, Fields):
        pairs = (
            to_json(key if isinstance(key, str) else repr(key)) + b":" + to_json(value) for key, value in tree.pairs
        )
        return b"{" + b",".join(pairs) + b"}"
    return msgspec.json.encode(tree)


def _head(major: int, length: int) -> bytes:
    return bytes([major + length]) if length < 24 else bytes([major + 26]) + length.to_bytes(4, "big")


def tree_of(value: Any) -> Any:
    """Return plain values of a decoded map or record."""
    if isinstance(value, Mapping):
        return Fields(tuple((key, tree_of(one)) for key, one in value.items()))
    return [tree_of(one) for one in value] if isinstance(value, list | tuple) else value
