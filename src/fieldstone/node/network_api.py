"""HTTP: what the network is, its devices, its proofs for claims, health and metrics."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import msgspec
from fastapi import APIRouter, Query, Response

from fieldstone import __version__
from fieldstone.chain.claims import ClaimBook
from fieldstone.identity.registry import Device, Registry
from fieldstone.identity.wallet import checksum_address
from fieldstone.node.bonds import bonds_of
from fieldstone.node.node import Node
from fieldstone.node.problems import not_found
from fieldstone.node.rounds import Rounds, describe, question
from fieldstone.services import load_service
from fieldstone.units import DAY_MS

_DEVICE_PAGE = 1_000


def router(
    node: Node, registry: Callable[[], Registry], ready: Callable[[], dict[str, str]], rounds: Rounds
) -> APIRouter:
    """Return the routes. `registry` is the live one; `ready` names what is wrong (nothing: the node is ready)."""
    api = APIRouter()

    @api.get("/v1/network", tags=["network"])
    def network() -> dict[str, Any]:
        """Describe the network: ids, keys, services with their report kinds, epoch length, policy and contracts."""
        policy = node.policy
        services = [load_service(name) for name in sorted(policy.services)]
        return {
            "name": node.config.node.name,
            "software": f"fieldstone {__version__}",
            "network_id": policy.network_id,
            "chain_id": policy.chain_id,
            "schema_version": policy.schema_version,
            "public_key": node.network_key.public.device_id,
            "kinds": {s.name: {kind: [c.name for c in columns] for kind, columns in s.kinds.items()} for s in services},
            "documents": {s.name: sorted(s.documents) for s in services if s.documents},
            "epoch_length_s": policy.epoch.length_s,
            "open_epoch": node.state.epoch + 1,
            "open_epoch_end_ms": node.state.next_end_ms,
            "policy_hash": policy.hash,
            "verifiers": list(policy.settlement.verifiers),
            "threshold": policy.settlement.threshold,
            "contracts": msgspec.to_builtins(node.addresses),
        }

    @api.get("/v1/network/policy", tags=["network"])
    def policy() -> Response:
        """Return the policy in force, in the canonical form that its hash is over."""
        return Response(node.policy.to_json(), media_type="application/json")

    @api.get("/v1/devices", tags=["devices"])
    def devices(operator: str = Query("", max_length=42), after: str = Query("", max_length=200)) -> dict[str, Any]:
        """List enrolled devices by id, a page of 1,000 at a time; `after` is the last id of the page before."""
        found = [d for d in registry().devices() if d.device > after and operator.lower() in ("", d.operator.lower())]
        page = found[:_DEVICE_PAGE]
        more = page[-1].device if len(found) > len(page) else None
        return {"devices": [_device(device) for device in page], "next_after": more}

    @api.get("/v1/devices/{device}", tags=["devices"])
    def device(device: str) -> dict[str, Any]:
        """Return a device, its newest statement, and why messages of it were refused in the last 24 hours."""
        found = registry().get(device)
        if found is None:
            raise not_found(f"no device {device[:80]} is enrolled")
        now_ms = node.clock.now_ms()
        refused: dict[str, int] = {}
        for row in node.journal.rejections(now_ms - DAY_MS, now_ms + 1):
            if row.subject == device:
                refused[row.reason] = refused.get(row.reason, 0) + row.count
        latest = node.store.latest
        return {
            **_device(found),
            "nonce": found.nonce,
            "refused_24h": refused,
            "statements": node.store.statements(latest, device) if latest else [],
        }

    @api.get("/v1/bonds/{operator}", tags=["devices"])
    def bonds(operator: str) -> dict[str, Any]:
        """Return what an operator has bonded on chain now, what his devices needed and had covered in the newest epoch, and
        what the open epoch counts. Amounts in base units as decimal texts."""
        return bonds_of(node, checksum_address(operator), registry())

    @lru_cache(maxsize=4)
    def claim_book(epoch: int) -> ClaimBook:
        return ClaimBook(epoch, node.store.sealed(epoch).leaves(), node.addresses)

    @api.get("/v1/claims/{address}", tags=["claims"])
    def claim(address: str) -> dict[str, Any]:
        """Return the proof with which an operator's address claims what it earned, against the root that pays now."""
        account = checksum_address(address)
        active = node.chain.active_epoch()
        if active == 0:
            raise not_found("no root is active yet: the first one pays after its activation delay")
        return claim_book(active).document(account, node.chain.claimed(account))

    @api.get("/v1/{service}/rounds/latest", tags=["rounds"])
    def latest_round(service: str) -> dict[str, Any]:
        """Return the newest round of an active service: what the network asks of its devices now."""
        newest = rounds.latest(service)
        if newest is None:
            raise not_found(f"service {service[:40]} has asked nothing yet in this epoch")
        return describe(newest)

    @api.get("/v1/{service}/rounds/{number}/devices/{device}", tags=["rounds"])
    def asked_of(service: str, number: int, device: str) -> dict[str, Any]:
        """Return what a round of the open epoch asks of a device, in the order in which it has to answer."""
        return question(*rounds.asked(service, number, device))

    @api.get("/v1/{service}/directory", tags=["devices"])
    def directory(service: str) -> dict[str, Any]:
        """List the devices of a service that customers' software can reach, with their addresses."""
        told = rounds.directory(service)
        known = [(registry().get(device), facts) for device, facts in sorted(told.items())]
        return {"devices": [{**_device(found), **facts} for found, facts in known if found is not None]}

    @api.get("/healthz", tags=["operations"])
    def healthz() -> dict[str, str]:
        """Answer that the process lives."""
        return {"status": "ok"}

    @api.get("/readyz", tags=["operations"], responses={503: {"description": "not ready, with what is wrong"}})
    def readyz(response: Response) -> dict[str, Any]:
        """Answer whether the node can take reports and serve customers; 503 with what is wrong."""
        wrong = ready()
        response.status_code = 503 if wrong else 200
        answer: dict[str, Any] = {"status": "not ready" if wrong else "ready", "problems": wrong}
        warnings = node.bonds.warnings
        return {**answer, "warnings": warnings} if warnings else answer

    return api


def _device(device: Device) -> dict[str, Any]:
    return {
        "device": device.device,
        "key": device.public.device_id,
        "operator": device.operator,
        "name": device.name,
        "model": device.model,
        "lat": device.lat,
        "lon": device.lon,
        "elevation_m": device.elevation_m,
        "accuracy_m": device.accuracy_m,
        "enrolled_ms": device.enrolled_ms,
        "moved_ms": device.moved_ms,
        "revoked_ms": device.revoked_ms,
    }
