"""HTTP: sealed epochs as files, the settlement desk for verifiers, statements for operators."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import APIRouter, Path, Query
from fastapi.responses import FileResponse
from pydantic import BaseModel, Field

from fieldstone.console.funds import fund_rows
from fieldstone.epoch.settle import Desk
from fieldstone.epoch.signatures import CoSignature, Refusal
from fieldstone.node.problems import not_found

EpochNumber = Path(ge=1, le=2**53, description="epoch number, 1-based")


class SignatureBody(BaseModel):
    """A verifier's EIP-712 signature over an open epoch: 65 bytes r ‖ s ‖ v as hex."""

    verifier: str = Field(pattern=r"^0x[0-9a-fA-F]{40}$")
    attempt: int = Field(ge=0, le=2**32)
    signature: str = Field(pattern=r"^[0-9a-fA-F]{130}$")


class RefusalBody(BaseModel):
    """A verifier's EIP-191 signature over the text of its refusal."""

    verifier: str = Field(pattern=r"^0x[0-9a-fA-F]{40}$")
    text: str = Field(max_length=20_000)
    signature: str = Field(pattern=r"^[0-9a-fA-F]{130}$")


def router(desk: Desk) -> APIRouter:
    """Return the routes under /v1/epochs and /v1/settlement."""
    api = APIRouter(prefix="/v1", tags=["epochs"])
    store, book = desk.store, desk.book

    @api.get("/epochs")
    def epochs(after: int = Query(0, ge=0, le=2**53)) -> dict[str, Any]:
        """List the sealed epochs after a number, oldest first."""
        found = [n for n in store.epochs() if n > after]
        return {"latest": store.latest, "epochs": [store.summary(n) for n in found]}

    @api.get("/epochs/{number}")
    def epoch(number: int = EpochNumber) -> dict[str, Any]:
        """Return the manifest of an epoch with its co-signatures and refusals."""
        _known(number)
        return {
            "manifest": msgspec.to_builtins(store.sealed(number).manifest),
            "live": number <= desk.chain.live_epoch(),
            "signed_by": [s.verifier for s in book.signatures(number, desk.attempt(number))],
            "refusals": [msgspec.to_builtins(r) for r in book.refusals(number)],
        }

    @api.get("/epochs/{number}/files/{name}", response_class=FileResponse)
    def file(name: str, number: int = EpochNumber) -> FileResponse:
        """Download a file that the epoch's manifest names, or the manifest itself."""
        _known(number)
        sealed = store.sealed(number)
        if name != "manifest.json" and name not in sealed.manifest.files:
            raise not_found(f"epoch {number} has no file of that name")
        return FileResponse(sealed.folder / name, filename=name)

    @api.get("/epochs/{number}/statements")
    def statements(number: int = EpochNumber, device: str = Query("", max_length=200)) -> dict[str, Any]:
        """Return the statements of an epoch, of one device when it is named."""
        _known(number)
        return {"epoch": number, "statements": store.statements(number, device)}

    @api.get("/epochs/{number}/funds")
    def funds(number: int = EpochNumber) -> dict[str, Any]:
        """Return what was paid once, as of an epoch: each fund's balance, what it paid in the epoch, how long it lasts."""
        _known(number)
        return {"epoch": number, "funds": fund_rows(store, number)}

    @api.get("/settlement/open")
    def open_epochs() -> dict[str, Any]:
        """Return the sealed epochs whose roots are not on chain, with all that a signature binds to."""
        return {"open": [msgspec.to_builtins(item) for item in desk.open_epochs()]}

    @api.post("/epochs/{number}/signatures")
    def sign(body: SignatureBody, number: int = EpochNumber) -> dict[str, Any]:
        """Accept a co-signature over an open epoch."""
        _known(number)
        given = CoSignature(number, body.attempt, body.verifier, bytes.fromhex(body.signature))
        book.sign(given, desk.digest(number, body.attempt), desk.quorum()[0])
        return {"epoch": number, "signatures": len(book.signatures(number, body.attempt))}

    @api.post("/epochs/{number}/refusals")
    def refuse(body: RefusalBody, number: int = EpochNumber) -> dict[str, Any]:
        """Accept a verifier's signed refusal, which everyone can read."""
        _known(number)
        refusal = Refusal(number, body.verifier, body.text)
        book.refuse(refusal, bytes.fromhex(body.signature), desk.quorum()[0])
        return {"epoch": number, "refusals": len(book.refusals(number))}

    def _known(number: int) -> None:
        if number not in store.epochs():
            raise not_found(f"epoch {number} is not sealed; the latest is {store.latest}")

    return api
