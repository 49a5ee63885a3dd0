"""Base58btc, the alphabet of `did:key` (multibase `z`). For texts of a few dozen characters only: it is quadratic."""

from __future__ import annotations

ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_VALUE = {letter: value for value, letter in enumerate(ALPHABET)}


def encode(raw: bytes) -> str:
    """Return base58btc of `raw`; each leading zero byte becomes a leading `1`."""
    number = int.from_bytes(raw, "big")
    letters = []
    while number:
        number, digit = divmod(number, 58)
        letters.append(ALPHABET[digit])
    zeros = len(raw) - len(raw.lstrip(b"\0"))
    return "1" * zeros + "".join(reversed(letters))


def decode(text: str) -> bytes:
    """Return the bytes of a base58btc text. Raises ValueError on a letter outside the alphabet."""
    number = 0
    for letter in text:
        if letter not in _VALUE:
            raise ValueError(f"{letter!r} is not a base58btc letter")
        number = number * 58 + _VALUE[letter]
    zeros = len(text) - len(text.lstrip("1"))
    return b"\0" * zeros + number.to_bytes((number.bit_length() + 7) // 8, "big")
