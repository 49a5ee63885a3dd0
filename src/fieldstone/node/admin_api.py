"""HTTP: the founder's routes, behind the node's admin token. Not part of the public API document."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header
from pydantic import BaseModel, Field

from fieldstone.errors import Rejected, UsageError
from fieldstone.journal.entries import EntryKind, NewEntry
from fieldstone.node.admin import FOUNDER_KINDS, is_admin
from fieldstone.node.node import Node
from fieldstone.reasons import reason


class EntryBody(BaseModel):
    """A founder's journal entry; `body` is base64."""

    kind: str
    subject: str = Field("", max_length=200)
    body: str = Field(max_length=4_000_000)


class EntriesBody(BaseModel):
    """Entries that become durable together."""

    entries: list[EntryBody] = Field(min_length=1, max_length=1000)


class RefundBody(BaseModel):
    """A correction that makes sold readings worthless."""

    correction: str = Field(min_length=1, max_length=64)
    service: str = Field(max_length=40)
    epoch: int = Field(ge=1)
    devices: list[str] = Field(max_length=100_000)
    cause: str = Field(min_length=1, max_length=500)


def router(node: Node) -> APIRouter:
    """Return the routes under /v1/admin."""

    def founder(authorization: Annotated[str, Header()] = "") -> None:
        if not is_admin(authorization.removeprefix("Bearer "), node.layout):
            raise Rejected(reason("BAD_API_KEY"), "admin", "the admin token is wrong")

    api = APIRouter(prefix="/v1/admin", include_in_schema=False, dependencies=[Depends(founder)])

    @api.post("/entries")
    def entries(body: EntriesBody) -> dict[str, Any]:
        return {"positions": node.append([_entry(item) for item in body.entries])}

    @api.post("/close")
    def close() -> dict[str, Any]:
        sealed = node.close_due()
        return {"closed": sealed.manifest.epoch if sealed else None, "posted": node.settle()}

    @api.post("/refunds")
    def refunds(body: RefundBody) -> dict[str, Any]:
        done = node.market.refund_corrected(body.correction, body.service, body.epoch, set(body.devices), body.cause)
        return {"refunded_micro_usd": sum(refund.refund_micro_usd for refund in done)}

    return api


def _entry(item: EntryBody) -> NewEntry:
    allowed = [kind.value for kind in FOUNDER_KINDS]
    if item.kind not in allowed:
        raise UsageError(f"a founder's entry is of kind {' or '.join(allowed)}, not {item.kind[:40]!r}")
    try:
        return NewEntry(EntryKind(item.kind), item.subject, base64.b64decode(item.body, validate=True))
    except binascii.Error as error:
        raise UsageError(f"the entry's body is not base64: {error}") from None
