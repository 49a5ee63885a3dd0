from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldstone.errors import CheckFailed, Rejected
from fieldstone.identity import entries
from fieldstone.identity.entries import Place
from fieldstone.identity.keys import Algorithm, DeviceKey, PublicKey
from fieldstone.identity.registry import Device, Registry
from fieldstone.identity.registry_table import SCHEMA
from fieldstone.identity.wallet import Wallet
from fieldstone.policy import IdentityPolicy, ManufacturerPolicy, Policy
from fieldstone.services.contract import REGISTRY_SCHEMA
from tests.identity.certificate_makers import NOW_MS, Authority

_POLICY = Policy(network_id="demo")
_PLACE = Place(52.52, 13.405, 34.0, 25.0)
_ELSEWHERE = Place(-33.9, 18.4, 5.0, 10.0)
_WALLET, _THIEF = Wallet.from_secret(b"\3" * 32), Wallet.from_secret(b"\4" * 32)
_KEYS = [DeviceKey.from_secret(list(Algorithm)[n % 3], bytes([n + 1]) * 32) for n in range(9)]
_DAY_MS = 86_400_000
_WAIT_MS = _POLICY.identity.recovery_wait_s * 1_000


def _identity(**changes: Any) -> Policy:
    return msgspec.structs.replace(_POLICY, identity=msgspec.structs.replace(_POLICY.identity, **changes))


def _enrolled(key: DeviceKey = _KEYS[0]) -> tuple[Registry, str]:
    registry = Registry()
    registry.apply(entries.enrol(key, _WALLET, _POLICY, model="WS-1", place=_PLACE), NOW_MS, _POLICY)
    return registry, key.public.device_id


def _refused(registry: Registry, body: bytes, code: str, at_ms: int = NOW_MS, policy: Policy = _POLICY) -> None:
    before = registry.devices()
    with pytest.raises(Rejected) as caught:
        registry.apply(body, at_ms, policy)
    assert caught.value.reason.code == code
    assert registry.devices() == before


def test_enrolment_binds_key_operator_model_and_place() -> None:
    registry, name = _enrolled()
    device = registry.get(name)
    assert device is not None
    assert (device.operator, device.model, device.nonce) == (_WALLET.address, "WS-1", 1)
    assert (device.lat, device.lon, device.elevation_m, device.accuracy_m) == (52.52, 13.405, 34.0, 25.0)
    assert (device.enrolled_ms, device.moved_ms, device.revoked_ms, device.issuer) == (NOW_MS, None, None, None)
    assert registry.by_kid(_KEYS[0].public.kid) == device
    assert registry.by_kid(b"unknown!") is None
    assert len(registry) == 1


def test_an_entry_is_taken_once() -> None:
    registry, name = _enrolled()
    _refused(registry, entries.enrol(_KEYS[0], _WALLET, _POLICY, model="WS-1", place=_PLACE), "ALREADY_ENROLLED")
    _refused(registry, entries.enrol(_KEYS[0], _THIEF, _POLICY, model="WS-1", place=_PLACE), "ALREADY_ENROLLED")
    move = entries.move(name, _KEYS[0], _WALLET, _POLICY, place=_ELSEWHERE, nonce=2)
    registry.apply(move, NOW_MS + _DAY_MS, _POLICY)
    _refused(registry, move, "ENTRY_REPLAYED", NOW_MS + 5 * _DAY_MS)
    late = entries.move(name, _KEYS[0], _WALLET, _POLICY, place=_PLACE, nonce=1)
    _refused(registry, late, "ENTRY_REPLAYED", NOW_MS + 5 * _DAY_MS)


def test_nobody_else_can_change_a_device() -> None:
    registry, name = _enrolled()
    late = NOW_MS + 2 * _DAY_MS
    for body, code in [
        (entries.move(name, _KEYS[0], _THIEF, _POLICY, place=_ELSEWHERE, nonce=2), "BAD_OPERATOR_SIGNATURE"),
        (entries.move(name, _KEYS[1], _WALLET, _POLICY, place=_ELSEWHERE, nonce=2), "BAD_SIGNATURE"),
        (entries.rotate(name, _KEYS[1], _KEYS[2], _WALLET, _POLICY, nonce=2), "BAD_SIGNATURE"),
        (entries.revoke(name, _THIEF, _POLICY, nonce=2), "BAD_OPERATOR_SIGNATURE"),
        (entries.recover(name, _KEYS[1], _THIEF, _POLICY, nonce=2), "BAD_OPERATOR_SIGNATURE"),
        (entries.revoke(_KEYS[5].public.device_id, _WALLET, _POLICY, nonce=2), "UNKNOWN_DEVICE"),
    ]:
        _refused(registry, body, code, late)


def test_a_forged_operator_is_refused() -> None:
    """The payload names the victim's address; the thief signs."""
    import cbor2

    body = entries.enrol(_KEYS[0], _THIEF, _POLICY, model="WS-1", place=_PLACE)
    payload, _, _ = cbor2.loads(body)
    forged = cbor2.dumps({**cbor2.loads(payload), 5: _WALLET.address})
    draft = entries.assemble(forged, [entries.device_signature(_KEYS[0], forged, _POLICY)], b"\0" * 65)
    text = entries.parse(draft).text(_POLICY)
    for signature in (_THIEF.sign_text(text), b"\0" * 65, b"\xff" * 65):
        body = entries.assemble(forged, [entries.device_signature(_KEYS[0], forged, _POLICY)], signature)
        _refused(Registry(), body, "BAD_OPERATOR_SIGNATURE")


def test_entries_of_another_network_are_refused() -> None:
    for other in (Policy(network_id="demo2"), Policy(network_id="demo", chain_id=5)):
        body = entries.enrol(_KEYS[0], _WALLET, other, model="WS-1", place=_PLACE)
        _refused(Registry(), body, "BAD_OPERATOR_SIGNATURE")


def test_rotation_keeps_the_name_and_retires_the_key() -> None:
    registry, name = _enrolled()
    device = registry.apply(entries.rotate(name, _KEYS[0], _KEYS[1], _WALLET, _POLICY, nonce=2), NOW_MS, _POLICY)
    assert (device.device, device.public, device.retired) == (name, _KEYS[1].public, (name,))
    assert registry.by_kid(_KEYS[0].public.kid) is None
    assert registry.by_retired_kid(_KEYS[0].public.kid) == device
    assert registry.by_kid(_KEYS[1].public.kid) == device
    _refused(registry, entries.rotate(name, _KEYS[0], _KEYS[2], _WALLET, _POLICY, nonce=3), "BAD_SIGNATURE")
    back = entries.rotate(name, _KEYS[1], _KEYS[0], _WALLET, _POLICY, nonce=3)
    _refused(registry, back, "ALREADY_ENROLLED")  # a retired key never comes back
    same = entries.rotate(name, _KEYS[1], _KEYS[1], _WALLET, _POLICY, nonce=3)
    _refused(registry, same, "ALREADY_ENROLLED")
    again = entries.enrol(_KEYS[0], _WALLET, _POLICY, model="WS-1", place=_PLACE)
    _refused(registry, again, "ALREADY_ENROLLED")


def test_a_new_key_must_prove_that_it_exists() -> None:
    """Rotating to a key of somebody else would let one device block another's enrolment."""
    import cbor2

    registry, name = _enrolled()
    payload, signatures, operator = cbor2.loads(entries.rotate(name, _KEYS[0], _KEYS[1], _WALLET, _POLICY, nonce=2))
    body = entries.assemble(payload, [signatures[0], signatures[0]], operator)
    _refused(registry, body, "BAD_SIGNATURE")


def test_revocation_and_what_it_stops() -> None:
    registry, name = _enrolled()
    device = registry.apply(entries.revoke(name, _WALLET, _POLICY, nonce=2), NOW_MS + 5, _POLICY)
    assert device.revoked_ms == NOW_MS + 5
    assert registry.by_kid(_KEYS[0].public.kid) == device  # so that the door can say DEVICE_REVOKED
    late = NOW_MS + 9 * _DAY_MS
    for body in (
        entries.move(name, _KEYS[0], _WALLET, _POLICY, place=_ELSEWHERE, nonce=3),
        entries.rotate(name, _KEYS[0], _KEYS[1], _WALLET, _POLICY, nonce=3),
        entries.revoke(name, _WALLET, _POLICY, nonce=3),
    ):
        _refused(registry, body, "DEVICE_REVOKED", late)


def test_a_lost_key_is_replaced_after_the_wait() -> None:
    registry, name = _enrolled()
    noted = registry.apply(entries.recover(name, _KEYS[1], _WALLET, _POLICY, nonce=2), NOW_MS, _POLICY)
    assert (noted.public, noted.recovery_key) == (_KEYS[0].public, _KEYS[1].public.device_id)
    again = entries.recover(name, _KEYS[1], _WALLET, _POLICY, nonce=3)
    _refused(registry, again, "RECOVERY_WAITING", NOW_MS + _WAIT_MS - 1)
    done = registry.apply(again, NOW_MS + _WAIT_MS, _POLICY)
    assert (done.device, done.public, done.recovery_key) == (name, _KEYS[1].public, None)


def test_a_recovery_revives_a_revoked_device_and_a_speaking_key_cancels_it() -> None:
    registry, name = _enrolled()
    registry.apply(entries.recover(name, _KEYS[1], _WALLET, _POLICY, nonce=2), NOW_MS, _POLICY)
    late = NOW_MS + _WAIT_MS
    registry.apply(entries.move(name, _KEYS[0], _WALLET, _POLICY, place=_ELSEWHERE, nonce=3), late, _POLICY)
    noted = registry.apply(entries.recover(name, _KEYS[1], _WALLET, _POLICY, nonce=4), late, _POLICY)
    assert noted.public == _KEYS[0].public  # the wait starts anew
    registry.apply(entries.revoke(name, _WALLET, _POLICY, nonce=5), late + 1, _POLICY)
    other = registry.apply(entries.recover(name, _KEYS[2], _WALLET, _POLICY, nonce=6), late + 2, _POLICY)
    assert (other.recovery_key, other.recovery_ms) == (_KEYS[2].public.device_id, late + 2)  # another key: anew too
    done = registry.apply(entries.recover(name, _KEYS[2], _WALLET, _POLICY, nonce=7), late + 2 + _WAIT_MS, _POLICY)
    assert (done.public, done.revoked_ms) == (_KEYS[2].public, None)


def test_moves_keep_their_interval() -> None:
    registry, name = _enrolled()

    def move(nonce: int) -> bytes:
        return entries.move(name, _KEYS[0], _WALLET, _POLICY, place=_ELSEWHERE, nonce=nonce)

    _refused(registry, move(2), "MOVE_TOO_SOON", NOW_MS + _DAY_MS - 1)
    moved = registry.apply(move(2), NOW_MS + _DAY_MS, _POLICY)
    assert (moved.lat, moved.moved_ms) == (_ELSEWHERE.lat, NOW_MS + _DAY_MS)
    _refused(registry, move(3), "MOVE_TOO_SOON", NOW_MS + 2 * _DAY_MS - 1)
    registry.apply(move(3), NOW_MS + 2 * _DAY_MS, _POLICY)


def test_models_of_the_policy() -> None:
    policy = _identity(models=("WS-2",))
    _refused(
        Registry(), entries.enrol(_KEYS[0], _WALLET, policy, model="WS-1", place=_PLACE), "UNKNOWN_MODEL", policy=policy
    )
    Registry().apply(entries.enrol(_KEYS[0], _WALLET, policy, model="WS-2", place=_PLACE), NOW_MS, policy)


@pytest.fixture(scope="module")
def maker() -> tuple[Authority, Authority, Authority]:
    root = Authority("Maker root")
    return root, Authority("Line 1", root), Authority("Line 2", root)


def _certified(root: Authority, **caps: int) -> Policy:
    maker = ManufacturerPolicy(name="Maker", root_pem=root.pem, **caps)
    return msgspec.structs.replace(
        _POLICY, identity=IdentityPolicy(manufacturers=(maker,), certificate_models=("WS-1",))
    )


def test_a_model_that_needs_a_certificate(maker: tuple[Authority, Authority, Authority]) -> None:
    root, line, _ = maker
    policy = _certified(root)
    plain = entries.enrol(_KEYS[0], _WALLET, policy, model="WS-1", place=_PLACE)
    _refused(Registry(), plain, "CERTIFICATE_REQUIRED", policy=policy)
    chain = [line.issue(_KEYS[0].public), line.der]
    foreign = entries.enrol(_KEYS[1], _WALLET, policy, model="WS-1", place=_PLACE, certificates=chain)
    _refused(Registry(), foreign, "BAD_CERTIFICATE", policy=policy)
    body = entries.enrol(_KEYS[0], _WALLET, policy, model="WS-1", place=_PLACE, certificates=chain)
    device = Registry().apply(body, NOW_MS, policy)
    assert device.issuer is not None
    assert device.issuer.startswith("Maker/")


def test_real_hardware_is_not_traded_for_a_key_in_software(maker: tuple[Authority, Authority, Authority]) -> None:
    root, line, _ = maker
    policy = _certified(root)
    registry = Registry()
    chain = [line.issue(_KEYS[0].public), line.der]
    body = entries.enrol(_KEYS[0], _WALLET, policy, model="WS-1", place=_PLACE, certificates=chain)
    name = registry.apply(body, NOW_MS, policy).device
    relaxed = msgspec.structs.replace(policy, identity=msgspec.structs.replace(policy.identity, certificate_models=()))
    for rules in (policy, relaxed):
        bare = entries.rotate(name, _KEYS[0], _KEYS[1], _WALLET, rules, nonce=2)
        _refused(registry, bare, "CERTIFICATE_REQUIRED", policy=rules)
    chain = [line.issue(_KEYS[1].public), line.der]
    good = entries.rotate(name, _KEYS[0], _KEYS[1], _WALLET, policy, nonce=2, certificates=chain)
    assert registry.apply(good, NOW_MS, policy).public == _KEYS[1].public


@pytest.mark.parametrize("caps", [{"max_devices_per_issuer": 2}, {"max_devices": 3}])
def test_caps_per_issuer_and_per_root(maker: tuple[Authority, Authority, Authority], caps: dict[str, int]) -> None:
    """With `max_devices_per_issuer` 2, line 1 makes two; with `max_devices` 3, sub-CAs do not help beyond three."""
    root, *lines = maker
    policy = _certified(root, **caps)
    registry = Registry()
    made = []
    for number, key in enumerate(_KEYS[:6]):
        line = lines[number // 3]
        chain = [line.issue(key.public), line.der]
        body = entries.enrol(key, _WALLET, policy, model="WS-1", place=_PLACE, certificates=chain)
        try:
            made.append((number, registry.apply(body, NOW_MS, policy)))
        except Rejected as error:
            assert error.reason.code == "ISSUER_CAP"
    assert [number for number, _ in made] == ([0, 1, 3, 4] if "max_devices_per_issuer" in caps else [0, 1, 2])
    restored = Registry.from_table(registry.to_table())  # the counts come back too
    chain = [lines[0].issue(_KEYS[8].public), lines[0].der]
    more = entries.enrol(_KEYS[8], _WALLET, policy, model="WS-1", place=_PLACE, certificates=chain)
    _refused(restored, more, "ISSUER_CAP", policy=policy)


def test_revoking_does_not_free_a_place_under_the_cap(maker: tuple[Authority, Authority, Authority]) -> None:
    root, line, _ = maker
    policy = _certified(root, max_devices_per_issuer=1)
    registry = Registry()
    for key, expected in ((_KEYS[0], None), (_KEYS[1], "ISSUER_CAP")):
        chain = [line.issue(key.public), line.der]
        body = entries.enrol(key, _WALLET, policy, model="WS-1", place=_PLACE, certificates=chain)
        if expected:
            _refused(registry, body, expected, policy=policy)
        else:
            name = registry.apply(body, NOW_MS, policy).device
            registry.apply(entries.revoke(name, _WALLET, policy, nonce=2), NOW_MS, policy)


def test_a_collision_of_key_ids_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody can make one on purpose in a test: both keys are given the same id instead."""
    registry, _ = _enrolled()
    kid = _KEYS[0].public.kid
    monkeypatch.setattr(PublicKey, "kid", property(lambda self: kid))
    body = entries.enrol(_KEYS[1], _WALLET, _POLICY, model="WS-1", place=_PLACE)
    _refused(registry, body, "KEY_ID_COLLISION")


def test_the_table_starts_with_what_services_rely_on() -> None:
    assert list(SCHEMA.items())[: len(REGISTRY_SCHEMA)] == list(REGISTRY_SCHEMA.items())
    assert Registry().table().schema == pl.Schema(SCHEMA)


def test_a_table_that_is_no_registry_is_refused() -> None:
    registry, _ = _enrolled()
    table = registry.to_table()
    for broken in (
        table.drop("nonce"),
        table.with_columns(pl.lit("did:key:zz").alias("public")),
        table.with_columns(pl.lit(None, dtype=pl.String).alias("public")),
        pl.concat([table, table]),
        table.with_columns(pl.col("lat").cast(pl.Float32)),
    ):
        with pytest.raises(CheckFailed):
            Registry.from_table(broken)


@dataclass
class _World:
    """Makes entries that mostly are right, from the state of the registry."""

    registry: Registry = field(default_factory=Registry)
    signers: dict[str, DeviceKey] = field(default_factory=dict)
    spare: list[DeviceKey] = field(default_factory=lambda: list(_KEYS))

    def body(self, action: str, pick: int, nonce_step: int) -> bytes | None:
        if action == "enrol":
            if not self.spare:
                return None
            return entries.enrol(self.spare[pick % len(self.spare)], _WALLET, _POLICY, model="WS-1", place=_PLACE)
        devices = self.registry.devices()
        if not devices:
            return None
        device = devices[pick % len(devices)]
        key = next(key for key in _KEYS if key.public == device.public)
        nonce = device.nonce + nonce_step
        if action == "move":
            return entries.move(device.device, key, _WALLET, _POLICY, place=_ELSEWHERE, nonce=nonce)
        if action == "revoke":
            return entries.revoke(device.device, _WALLET, _POLICY, nonce=nonce)
        if not self.spare:
            return None
        make: Callable[..., bytes] = entries.recover
        new = self.spare[pick % len(self.spare)]
        if action == "rotate":
            return entries.rotate(device.device, key, new, _WALLET, _POLICY, nonce=nonce)
        return make(device.device, new, _WALLET, _POLICY, nonce=nonce)

    def settle(self) -> None:
        used = {device.public for device in self.registry.devices()}
        retired = {name for device in self.registry.devices() for name in device.retired}
        self.spare = [k for k in _KEYS if k.public not in used and k.public.device_id not in retired]


_STEPS = st.lists(
    st.tuples(
        st.sampled_from(["enrol", "enrol", "rotate", "move", "revoke", "recover", "recover"]),
        st.integers(0, 8),
        st.sampled_from([1, 1, 1, 2, 0]),
        st.sampled_from([1, _DAY_MS, _WAIT_MS]),
    ),
    max_size=12,
)


@settings(max_examples=40, deadline=None)
@given(_STEPS, st.integers(0, 12))
def test_the_fold_is_deterministic_and_survives_a_table_at_any_point(
    steps: list[tuple[str, int, int, int]], cut: int
) -> None:
    world = _World()
    history: list[tuple[bytes, int]] = []
    at_ms = NOW_MS
    for action, pick, nonce_step, wait_ms in steps:
        at_ms += wait_ms
        body = world.body(action, pick, nonce_step)
        if body is None:
            continue
        history.append((body, at_ms))
        _apply(world.registry, body, at_ms)
        world.settle()

    again = Registry()
    for place, (body, received_ms) in enumerate(history):
        if place == cut:
            again = Registry.from_table(again.to_table())
        _apply(again, body, received_ms)
    assert again.devices() == world.registry.devices()
    assert again.to_table().equals(world.registry.to_table())
    for device in world.registry.devices():
        assert again.by_kid(device.public.kid) == device
        for old in device.retired:
            assert again.by_retired_kid(PublicKey.from_device_id(old).kid) == device


def _apply(registry: Registry, body: bytes, at_ms: int) -> Device | None:
    before = registry.devices()
    try:
        return registry.apply(body, at_ms, _POLICY)
    except Rejected:
        assert registry.devices() == before
        return None
