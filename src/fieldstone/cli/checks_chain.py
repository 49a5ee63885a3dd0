"""The checks of `fieldstone doctor` that ask the chain."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from fieldstone.cli.checks import ANSWER_TIMEOUT_S, BROKEN, OK, SKIPPED, WARNING, Finding

if TYPE_CHECKING:
    from fieldstone.config import Config


def check_chain(config: Config) -> Iterator[Finding]:
    """The embedded chain can be loaded, or the JSON-RPC address answers with the policy's chain id."""
    from importlib.util import find_spec

    url, wanted = config.chain.url, config.policy.chain_id
    if url == "embedded":
        there = find_spec("eth") is not None
        remedy = "" if there else "pip install py-evm"
        yield Finding("chain", OK if there else BROKEN, f"embedded, chain id {wanted}", remedy)
        return
    try:
        found = _number(_ask(url, "eth_chainId"))
    except _NoAnswer as error:
        yield Finding("chain", BROKEN, f"{url} does not answer eth_chainId: {error}", "Check chain.url and the node.")
        return
    if found != wanted:
        remedy = "Roots are bound to network.chain_id: set the right URL or id."
        yield Finding("chain", BROKEN, f"{url} has chain id {found}, the policy says {wanted}", remedy)
    else:
        yield Finding("chain", OK, f"{url}, chain id {found}")


def check_bond_depth(config: Config) -> Iterator[Finding]:
    """Bonds are read below what the chain may still reorganise: a snapshot of a block that goes away is one that verifiers
    refuse, and with it the epoch."""
    settlement, services = config.policy.settlement, config.policy.services
    if config.chain.url == "embedded" or not any(one.bond_per_unit_base for one in services.values()):
        return
    depth = settlement.bond_depth_blocks
    try:
        newest, final = (_height(config.chain.url, tag) for tag in ("latest", "finalized"))
    except _NoAnswer as error:
        found = f"bonds are read {depth} blocks deep; how deep this chain reorganises it does not say ({error})"
        remedy = "Set settlement.bond_depth_blocks to the number of blocks after which your chain calls one final."
        yield Finding("bonds", SKIPPED if depth else WARNING, found, remedy)
        return
    open_blocks = newest - final
    found = f"bonds are read {depth} blocks deep, the chain's last {open_blocks} are not final"
    measured = {"bond_depth_blocks": depth, "not_final_blocks": open_blocks}
    if depth >= open_blocks:
        yield Finding("bonds", OK, found, "", measured)
        return
    remedy = (
        f"Set settlement.bond_depth_blocks to {open_blocks} or more: after a reorganisation verifiers refuse an epoch "
        "whose bonds were read in a block that is gone."
    )
    yield Finding("bonds", WARNING, found, remedy, measured)


class _NoAnswer(Exception):
    """What came is not an answer, or nothing came."""


def _height(url: str, tag: str) -> int:
    block = _ask(url, "eth_getBlockByNumber", tag, False)
    if not isinstance(block, dict):
        raise _NoAnswer(f"no block {tag!r}")
    return _number(block.get("number"))


def _number(text: object) -> int:
    try:
        return int(str(text), 16)
    except ValueError:
        raise _NoAnswer(f"{str(text)[:40]!r} is no number") from None


def _ask(url: str, method: str, *params: object) -> Any:
    import httpx

    request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)}
    try:
        return httpx.post(url, json=request, timeout=ANSWER_TIMEOUT_S).json()["result"]
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError) as error:
        raise _NoAnswer(str(error) or type(error).__name__) from None
