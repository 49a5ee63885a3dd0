"""Helpers of the chain tests; imports of the package stay inside, for the environment of the contract tests next door."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

START_MS = 1_700_000_000_000


@contextlib.contextmanager
def serve(app: Any) -> Iterator[str]:
    """Run an ASGI application in uvicorn on a free port; yield its URL."""
    import uvicorn

    # naming the protocol matters: only then does asyncio switch off Nagle's delay (40 ms a request) on its connections
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.005)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(timeout=10)
        listener.close()


class Network:
    """A deployed network with the hands of its verifiers."""

    def __init__(self, settlement: Any, plan: Any, verifiers: list[Any], chain: Any, clock: Any) -> None:
        self.settlement = settlement
        self.plan = plan
        self.verifiers = verifiers
        self.chain = chain
        self.clock = clock

    def sign(self, digest: bytes, count: int = 2) -> dict[str, bytes]:
        return {verifier.address: verifier.sign_digest(digest) for verifier in self.verifiers[:count]}

    def post(self, epoch: int, balances: dict[str, int]) -> Any:
        """Sign and post cumulative balances; return their tree."""
        from fieldstone.chain.digest import leaves_data_hash
        from fieldstone.chain.merkle import Tree

        tree, data_hash = Tree.from_balances(balances), leaves_data_hash(balances)
        digest = self.settlement.digest_to_sign(epoch, tree.root, data_hash, tree.total)
        self.settlement.post_root(epoch, self.settlement.attempt(), tree.root, data_hash, tree.total, self.sign(digest))
        return tree

    def pass_time(self, seconds: int) -> None:
        """Let chain time pass and make a block of it."""
        # blocks made while the clock stands still are a second apart, so the chain may be ahead of it
        now_ms = max(self.clock.now_ms(), self.chain.head().timestamp_s * 1000)
        self.clock.set(now_ms + seconds * 1000)
        self.chain.mine()

    def claims(self, tree: Any, accounts: list[str]) -> list[Any]:
        from fieldstone.chain.settlement import Claim

        places = [tree.find(account) for account in accounts]
        return [Claim(a, tree.amounts[i], tuple(tree.proof(i))) for a, i in zip(accounts, places, strict=True)]


def account(number: int) -> str:
    """An account that nobody holds the key of, above the precompiles."""
    from fieldstone.identity.wallet import checksum_address

    return checksum_address(f"0x{0xACC0000 + number:040x}")
