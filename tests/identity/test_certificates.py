import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from hypothesis import given
from hypothesis import strategies as st

from fieldstone.errors import Rejected, UsageError
from fieldstone.identity.certificates import Vouched, check_chain
from fieldstone.identity.keys import Algorithm, DeviceKey
from fieldstone.policy import IdentityPolicy, ManufacturerPolicy
from tests.identity.certificate_makers import NOW_MS, Authority

_ROOT = Authority("Maker root", path_length=1)
_SIGNER = Authority("Maker signer", _ROOT, path_length=0)
_PUBLIC = DeviceKey.from_secret(Algorithm.P256, b"\7" * 32).public
_POLICY = IdentityPolicy(manufacturers=(ManufacturerPolicy(name="Maker", root_pem=_ROOT.pem, models=("WS-1",)),))


def _check(*chain: bytes, model: str = "WS-1", at_ms: int = NOW_MS, policy: IdentityPolicy = _POLICY) -> Vouched:
    return check_chain(chain, _PUBLIC, model, policy, at_ms)


@pytest.mark.parametrize("algorithm", list(Algorithm))
def test_a_good_chain_with_and_without_its_root(algorithm: Algorithm) -> None:
    public = DeviceKey.generate(algorithm).public
    leaf = _SIGNER.issue(public)
    for chain in ((leaf, _SIGNER.der), (leaf, _SIGNER.der, _ROOT.der)):
        vouched = check_chain(chain, public, "WS-1", _POLICY, NOW_MS)
        assert vouched.manufacturer.name == "Maker"
        assert vouched.issuer.startswith("Maker/")
    directly = check_chain((_ROOT.issue(public),), public, "WS-1", _POLICY, NOW_MS)
    assert directly.issuer != vouched.issuer


def _other_root() -> tuple[bytes, ...]:
    stranger = Authority("Stranger")
    return (stranger.issue(_PUBLIC), stranger.der)


def _same_name_root() -> tuple[bytes, ...]:
    impostor = Authority("Maker root")
    return (impostor.issue(_PUBLIC),)


def _spliced() -> tuple[bytes, ...]:
    impostor = Authority("Maker signer")
    return (impostor.issue(_PUBLIC), _SIGNER.der)


def _through(**how: object) -> tuple[bytes, ...]:
    middle = Authority("Middle", _ROOT, **how)  # type: ignore[arg-type]
    return (middle.issue(_PUBLIC), middle.der)


def _too_long() -> tuple[bytes, ...]:
    deeper = Authority("Deeper", _SIGNER)
    return (deeper.issue(_PUBLIC), deeper.der, _SIGNER.der)


def _device_as_ca() -> tuple[bytes, ...]:
    """A device that was vouched for signs certificates for others."""
    device = Authority("device one", _SIGNER, is_ca=None, may_sign=None)
    return (device.issue(_PUBLIC), device.der, _SIGNER.der)


@pytest.mark.parametrize(
    ("chain", "says"),
    [
        (lambda: (_SIGNER.issue(DeviceKey.generate(Algorithm.P256).public), _SIGNER.der), "another key"),
        (lambda: (_SIGNER.issue(DeviceKey.generate().public), _SIGNER.der), "another key"),
        (lambda: (_SIGNER.issue(_PUBLIC),), "no root"),
        (_other_root, "no root"),
        (_same_name_root, "no root"),
        (_spliced, "not signed by"),
        (lambda: (_SIGNER.issue(_PUBLIC), _ROOT.der), ""),
        (lambda: _through(is_ca=False), "not a CA"),
        (lambda: _through(is_ca=None), "not a CA"),
        (lambda: _through(may_sign=False), "may not sign certificates"),
        (lambda: _through(days=(-100, -1)), "is valid"),
        (lambda: _through(days=(1, 100)), "is valid"),
        (_too_long, "CAs below it"),
        (_device_as_ca, "not a CA"),
        (lambda: (_SIGNER.issue(_PUBLIC, is_ca=True), _SIGNER.der), "is a CA's"),
        (lambda: (_SIGNER.issue(_PUBLIC, may_sign=False), _SIGNER.der), "may not be used for signatures"),
        (lambda: (_SIGNER.issue(_PUBLIC, days=(-10, -1)), _SIGNER.der), "is valid"),
        (lambda: (_SIGNER.issue(_PUBLIC, days=(1, 10)), _SIGNER.der), "is valid"),
        (
            lambda: (
                _SIGNER.issue(_PUBLIC, critical=x509.NameConstraints([x509.DNSName("a.example")], None)),
                _SIGNER.der,
            ),
            "not understood",
        ),
        (lambda: (_SIGNER.issue(_PUBLIC) + b"\0", _SIGNER.der), ""),
        (lambda: (b"\x30\x82", _SIGNER.der), ""),
        (lambda: (b"x" * 5_000,), "5000 bytes"),
    ],
)
def test_each_way_a_chain_can_be_bad(chain: object, says: str) -> None:
    with pytest.raises(Rejected, match="BAD_CERTIFICATE") as caught:
        _check(*chain())  # type: ignore[operator]
    assert says in str(caught.value)


def test_validity_is_judged_at_the_time_of_enrolment() -> None:
    chain = (_SIGNER.issue(_PUBLIC), _SIGNER.der)
    _check(*chain)
    for days in (-11, 11):
        with pytest.raises(Rejected, match="is valid"):
            _check(*chain, at_ms=NOW_MS + days * 86_400_000)


def test_a_maker_vouches_for_its_own_models_only() -> None:
    with pytest.raises(Rejected, match="does not vouch for model"):
        _check(_SIGNER.issue(_PUBLIC), _SIGNER.der, model="WS-2")


def test_the_root_itself_is_no_device() -> None:
    key = DeviceKey.from_secret(Algorithm.P256, _ROOT.key.private_numbers().private_value.to_bytes(32, "big"))
    with pytest.raises(Rejected, match="BAD_CERTIFICATE"):
        check_chain((_ROOT.der,), key.public, "WS-1", _POLICY, NOW_MS)


def test_weak_hashes_are_refused() -> None:
    try:
        leaf = _SIGNER.issue(_PUBLIC, digest=hashes.SHA224())
    except Exception:
        pytest.skip("this build of the library cannot even make one")
    with pytest.raises(Rejected, match="weak hash"):
        _check(leaf, _SIGNER.der)


def test_a_broken_root_in_the_policy_is_the_founders_error() -> None:
    policy = IdentityPolicy(manufacturers=(ManufacturerPolicy(name="Maker", root_pem="not pem"),))
    with pytest.raises(UsageError, match="root_pem of 'Maker'"):
        _check(_SIGNER.issue(_PUBLIC), _SIGNER.der, policy=policy)


_GOOD = _SIGNER.issue(_PUBLIC)


@given(st.integers(0, len(_GOOD) * 8 - 1))
def test_any_flipped_bit_is_refused(where: int) -> None:
    body = bytearray(_GOOD)
    body[where // 8] ^= 1 << where % 8
    with pytest.raises(Rejected, match="BAD_CERTIFICATE"):
        _check(bytes(body), _SIGNER.der)


@given(st.binary(max_size=200))
def test_hostile_der(body: bytes) -> None:
    with pytest.raises(Rejected, match="BAD_CERTIFICATE"):
        _check(body, _SIGNER.der)
