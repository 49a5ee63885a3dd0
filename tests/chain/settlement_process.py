"""A process that settles until it is killed: posts roots and pays claims through the outbox, and says what it did.

Each message it sends is a promise (an acknowledgement); the parent kills it at a random moment, starts it again, and at
the end compares the promises with the chain.
"""

from __future__ import annotations

from multiprocessing.connection import Connection
from pathlib import Path

from fieldstone.chain.claims import ClaimBook, parse_document, pay
from fieldstone.chain.deploy import DeployPlan, deploy
from fieldstone.chain.digest import leaves_data_hash
from fieldstone.chain.embedded import EmbeddedChain
from fieldstone.chain.outbox import Outbox
from fieldstone.chain.settlement import Settlement
from fieldstone.clock import SystemClock
from fieldstone.identity.wallet import Wallet

ACCOUNTS = [f"0x{0xACC0000 + number:040x}" for number in range(1, 6)]
VERIFIERS = sorted((Wallet.from_secret(bytes([n]) * 32) for n in (1, 2, 3)), key=lambda wallet: int(wallet.address, 16))
POSTER = Wallet.from_secret(b"\x11" * 32)


def balances_of(epoch: int) -> dict[str, int]:
    """Cumulative base units after an epoch: everybody earns a little, unequally."""
    return {account: epoch * 1_000 * (number + 1) for number, account in enumerate(ACCOUNTS)}


def open_network(folder: Path) -> tuple[EmbeddedChain, Outbox, Settlement, int]:
    """Open chain and outbox, finish what was begun, deploy or find the contracts; also return how much was begun."""
    chain = EmbeddedChain(folder / "chain.sqlite3", clock=SystemClock())
    outbox = Outbox(folder / "outbox.sqlite3", clock=SystemClock())
    begun = outbox.recover(chain, POSTER.address)
    plan = DeployPlan(
        network_id="crash",
        signers=tuple(verifier.address for verifier in VERIFIERS),
        threshold=2,
        treasury=POSTER.address,
        activation_delay_s=0,
    )
    addresses = deploy(chain, outbox, POSTER, plan)
    return chain, outbox, Settlement(chain, addresses, outbox=outbox, signer=POSTER), len(begun)


def settle_until_killed(folder: Path, promises: Connection) -> None:
    """Settle epoch after epoch, starting where the chain is."""
    _, _, settlement, begun = open_network(folder)
    promises.send({"open": settlement.live_epoch(), "begun": begun})
    epoch = settlement.live_epoch()
    while True:
        if epoch:
            book = ClaimBook(epoch, balances_of(epoch))
            results = pay(settlement, [parse_document(book.document(account)) for account in ACCOUNTS])
            paid = {payment.account: payment.amount_base for result in results for payment in result.payments}
            if paid:
                promises.send({"paid": epoch, "amounts": paid})
        epoch += 1
        balances = balances_of(epoch)
        book = ClaimBook(epoch, balances)
        data_hash = leaves_data_hash(balances)
        digest = settlement.digest_to_sign(epoch, book.tree.root, data_hash, book.tree.total)
        signatures = {verifier.address: verifier.sign_digest(digest) for verifier in VERIFIERS[:2]}
        settlement.post_root(epoch, 0, book.tree.root, data_hash, book.tree.total, signatures)
        promises.send({"posted": epoch, "root": book.tree.root_hex})
