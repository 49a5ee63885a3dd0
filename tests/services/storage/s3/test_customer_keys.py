"""Keys of customers: what is kept of them, and bytes that can be read from anywhere."""

from __future__ import annotations

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldstone.services.storage.s3.customer_keys import (
    COPY_SOURCE_PREFIX,
    PREFIX,
    CustomerKey,
    key_for_part,
    key_for_reading,
    stated_key,
)
from fieldstone.services.storage.s3.errors import S3Error
from fieldstone.services.storage.s3.wire import Request

KEYS = st.binary(min_size=32, max_size=32).map(lambda raw: CustomerKey(raw, ""))


def request(secret: bytes, prefix: str = PREFIX, **changes: str) -> Request:
    values = {
        "algorithm": "AES256",
        "key": base64.b64encode(secret).decode(),
        "key-md5": base64.b64encode(hashlib.md5(secret).digest()).decode(),
    }
    values.update({name.replace("_", "-"): value for name, value in changes.items()})
    return Request("GET", b"/b/k", b"", [((prefix + n).encode(), v.encode()) for n, v in values.items() if v])


@given(KEYS, st.binary(min_size=16, max_size=16), st.binary(max_size=200), st.integers(0, 200), st.integers(0, 200))
def test_any_range_opens_on_its_own(key: CustomerKey, salt: bytes, data: bytes, a: int, b: int) -> None:
    sealed = key.keystream(salt).update(data)
    start, end = sorted((min(a, len(data)), min(b, len(data))))
    assert key.keystream(salt, start).update(sealed[start:end]) == data[start:end]


def test_no_keystream_is_used_for_two_salts_or_keys() -> None:
    one, other = CustomerKey(bytes(32), ""), CustomerKey(b"\1" * 32, "")
    streams = {key.keystream(salt).update(bytes(64)) for key in (one, other) for salt in (bytes(16), b"\1" * 16)}
    assert len(streams) == 4


def test_a_proof_knows_the_key_again_and_does_not_show_it() -> None:
    one, other = CustomerKey(b"\7" * 32, ""), CustomerKey(b"\7" * 31 + b"\6", "")
    proof = one.proof()
    assert one.fits(proof)
    assert not other.fits(proof)
    assert one.proof() != proof  # equal keys of two objects cannot be seen to be equal
    assert one.key not in base64.b64decode(proof)
    assert hashlib.md5(one.key).digest() not in base64.b64decode(proof)
    assert "07" * 8 not in repr(one)
    assert repr(one.key) not in repr(one)


def test_a_request_states_a_key() -> None:
    found = stated_key(request(b"k" * 32))
    assert found is not None
    assert (found.key, found.md5) == (b"k" * 32, base64.b64encode(hashlib.md5(b"k" * 32).digest()).decode())
    assert stated_key(request(b"k" * 32), COPY_SOURCE_PREFIX) is None
    assert stated_key(request(b"k" * 32, COPY_SOURCE_PREFIX), COPY_SOURCE_PREFIX) == found


@pytest.mark.parametrize(
    ("made", "code"),
    [
        (request(b"k" * 32, algorithm=""), "InvalidArgument"),
        (request(b"k" * 32, algorithm="aes256"), "InvalidEncryptionAlgorithmError"),
        (request(b"k" * 32, key=""), "InvalidArgument"),
        (request(b"k" * 32, key="not base64"), "InvalidArgument"),
        (request(b"k" * 32, key_md5=""), "InvalidArgument"),
        (request(b"k" * 32, key_md5=base64.b64encode(bytes(16)).decode()), "InvalidArgument"),
        (request(b"k" * 31), "InvalidArgument"),
        (request(b"k" * 33), "InvalidArgument"),
    ],
)
def test_refused_keys(made: Request, code: str) -> None:
    with pytest.raises(S3Error) as caught:
        stated_key(made)
    assert caught.value.code == code


def test_who_needs_which_key() -> None:
    one, other = CustomerKey(b"1" * 32, ""), CustomerKey(b"2" * 32, "")
    proof = one.proof()
    for check in (key_for_reading, key_for_part):
        check(None, None)
        check(proof, one)
        for pair in ((proof, None), (proof, other), (None, one)):
            with pytest.raises(S3Error, match="InvalidRequest"):
                check(*pair)
