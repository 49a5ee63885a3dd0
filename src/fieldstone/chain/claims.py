"""From cumulative balances to a claim document an operator can check, and from documents to paid tokens.

A claim document is what a node serves at `GET /v1/claims/{address}`. Amounts are decimal texts, because they do not fit
into a JavaScript number: `{"epoch": 7, "root": "0x…", "account": "0x…", "cumulative": "…", "proof": ["0x…"],
"claimable_base": "…"}`, and `"contracts"` with the addresses when the node knows them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fieldstone.chain.deploy import Addresses
from fieldstone.chain.leaf_files import read_csv
from fieldstone.chain.merkle import Tree, verify
from fieldstone.chain.settlement import MAX_CLAIMS, Claim, ClaimResult, Settlement
from fieldstone.errors import CheckFailed, Retryable, UsageError
from fieldstone.identity.wallet import checksum_address


@dataclass(frozen=True, slots=True)
class ClaimDocument:
    """A checked claim document: the proof leads to `root`. `claimable_base` is what the node expects to be paid."""

    epoch: int
    root: bytes
    claim: Claim
    claimable_base: int
    contracts: Addresses | None = None


class ClaimBook:
    """One epoch's tree with its accounts by address, so that a document costs microseconds. Pure after construction."""

    def __init__(self, epoch: int, balances: Mapping[str, int], contracts: Addresses | None = None) -> None:
        """`balances`: account → lifetime cumulative base units of the epoch whose root is active."""
        self.epoch = epoch
        self.tree = Tree.from_balances(balances)
        self._contracts = contracts
        self._index = {address.lower(): index for index, address in enumerate(self.tree.addresses)}

    def document(self, address: str, claimed_base: int = 0) -> dict[str, Any]:
        """Return the JSON of `GET /v1/claims/{address}`; `claimed_base` is `Settlement.claimed(address)`.

        Raises UsageError when the account has no leaf or the text is no address.
        """
        account = checksum_address(address)
        index = self._index.get(account.lower())
        if index is None:
            raise UsageError(f"{account} earned nothing up to epoch {self.epoch}: it has no leaf in its tree")
        cumulative = self.tree.amounts[index]
        body: dict[str, Any] = {
            "epoch": self.epoch,
            "root": self.tree.root_hex,
            "account": account,
            "cumulative": str(cumulative),
            "proof": ["0x" + sibling.hex() for sibling in self.tree.proof(index)],
            "claimable_base": str(max(cumulative - claimed_base, 0)),
        }
        if self._contracts is not None:
            body["contracts"] = asdict(self._contracts)
        return body


def claim_document(epoch: int, balances: Mapping[str, int], address: str, claimed_base: int = 0) -> dict[str, Any]:
    """Return one claim document; for many of the same epoch keep a `ClaimBook`."""
    return ClaimBook(epoch, balances).document(address, claimed_base)


def parse_document(body: Any) -> ClaimDocument:
    """Read a claim document from anywhere and check that its proof leads to its root.

    Raises UsageError on a malformed one and CheckFailed on a wrong proof.
    """
    try:
        claim = Claim(
            account=checksum_address(str(body["account"])),
            cumulative_base=int(body["cumulative"]),
            proof=tuple(_word(sibling) for sibling in body["proof"]),
        )
        root = _word(body["root"])
        contracts = Addresses(**body["contracts"]) if body.get("contracts") else None
        document = ClaimDocument(int(body["epoch"]), root, claim, int(body["claimable_base"]), contracts)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"this is no claim document: {error!r}") from None
    if not verify(root, claim.account, claim.cumulative_base, claim.proof):
        raise CheckFailed(f"the proof for {claim.account} does not lead to root 0x{root.hex()}; ask another node")
    return document


def fetch_documents(node_url: str, accounts: Sequence[str], timeout_s: float = 30.0) -> list[ClaimDocument]:
    """Ask a node for the claim document of each account and check them.

    Raises Retryable when the node does not answer, UsageError with the node's words when it has no leaf, CheckFailed
    when a proof is wrong or belongs to another account.
    """
    import httpx

    documents = []
    with httpx.Client(base_url=node_url.rstrip("/"), timeout=timeout_s) as client:
        for account in accounts:
            account = checksum_address(account)
            try:
                response = client.get(f"/v1/claims/{account}")
                response_body = response.json()
            except (httpx.HTTPError, ValueError) as error:
                raise Retryable(f"{node_url} gave no claim for {account}: {error}") from error
            if response.status_code >= 500:
                raise Retryable(f"{node_url} cannot answer now ({response.status_code}); try again")
            if response.status_code != 200:
                detail = response_body.get("detail") if isinstance(response_body, dict) else response_body
                raise UsageError(f"{node_url} refused the claim of {account}: {str(detail)[:300]}")
            document = parse_document(response_body)
            if document.claim.account != account:
                raise CheckFailed(f"{node_url} answered for {document.claim.account} when asked for {account}")
            documents.append(document)
    return documents


def documents_from_leaves(path: Path, epoch: int, accounts: Sequence[str]) -> list[ClaimDocument]:
    """Build the documents from a sealed epoch's leaf file (`address,amount`), trusting no node."""
    book = ClaimBook(epoch, dict(read_csv(path)))
    return [parse_document(book.document(account)) for account in accounts]


def pay(settlement: Settlement, documents: Sequence[ClaimDocument]) -> list[ClaimResult]:
    """Claim all documents, up to 64 accounts a transaction. Raises UsageError when their roots differ, Reverted."""
    roots = {document.root for document in documents}
    if len(roots) != 1:
        raise UsageError("the claims are for different roots; fetch them again, all at once")
    root = roots.pop()
    return [
        settlement.claim([document.claim for document in documents[start : start + MAX_CLAIMS]], root)
        for start in range(0, len(documents), MAX_CLAIMS)
    ]


def _word(text: Any) -> bytes:
    word = bytes.fromhex(str(text).removeprefix("0x"))
    if len(word) != 32:
        raise ValueError(f"{text!r} is not 32 bytes")
    return word
