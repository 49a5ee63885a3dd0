"""A report file may come from anybody: what is no report is refused by name, before anything is fetched or computed."""

from __future__ import annotations

import pytest

from fieldstone.errors import Rejected
from fieldstone.identity import cose
from fieldstone.identity.keys import Algorithm, DeviceKey
from fieldstone.services.storage.customer_report import peek
from fieldstone.services.storage.object_report import PURPOSE

KEY = DeviceKey.from_secret(Algorithm.ED25519, bytes([7]) * 32)
SIGNER = KEY.public.device_id
FACTS = '{"name":"x","size_bytes":0,"inline_bytes":0,"etag":"","modified_ms":1,"gateway":"g","segments":[]}'
EPOCH = '{"number":1,"manifest_sha256":""}'


def payload(
    signer: str = f'"{SIGNER}"', form: str = "1", epoch: str = EPOCH, facts: str = FACTS, more: str = "0"
) -> bytes:
    return f'{{"signer":{signer},"format":{form},"epoch":{epoch},"facts":{facts},"more":{more}}}'.encode()


def test_the_form_that_is_taken() -> None:
    body, facts = peek(cose.sign(KEY, payload(), PURPOSE))
    assert (body["signer"], facts.gateway, facts.ids()) == (SIGNER, "g", [])


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (b"[]", "BAD_PAYLOAD"),
        (b"\xff", "BAD_PAYLOAD"),
        (b'{"a":"\xff"}', "BAD_PAYLOAD"),
        (payload(more="[" * 100_000 + "]" * 100_000), "BAD_PAYLOAD"),
        (payload(signer="5"), "BAD_KEY"),
        (payload(form="2"), "BAD_PAYLOAD"),
        (payload(epoch='{"number":0,"manifest_sha256":""}'), "BAD_PAYLOAD"),
        (payload(epoch="null"), "BAD_PAYLOAD"),
        (payload(facts="null"), "BAD_PAYLOAD"),
        (payload(facts=FACTS.replace('"x"', "1")), "BAD_PAYLOAD"),
        (payload(signer=f'"{DeviceKey.generate().public.device_id}"'), "BAD_SIGNATURE"),
    ],
)
def test_everything_else_is_refused_by_name(bad: bytes, code: str) -> None:
    with pytest.raises(Rejected) as refused:
        peek(cose.sign(KEY, bad, PURPOSE))
    assert refused.value.reason.code == code


def test_a_signature_for_another_purpose_is_none() -> None:
    with pytest.raises(Rejected, match="BAD_SIGNATURE"):
        peek(cose.sign(KEY, payload(), b"fieldstone/storage/share-receipt/v1\0"))
