"""What the verbs that send transactions share: the network's contracts by way of a node, and the sender's outbox."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from fieldstone.chain.deploy import Addresses
    from fieldstone.chain.settlement import Settlement
    from fieldstone.chain.view import ContractsView
    from fieldstone.identity.wallet import Wallet

DEFAULT_NODE = "http://127.0.0.1:8080"
NodeUrl = Annotated[str, typer.Option("--node", help="A node of the network; it names the contracts.")]
Rpc = Annotated[str, typer.Option("--rpc", help="JSON-RPC address of the chain (default: the node's /rpc).")]
Contracts = Annotated[Path | None, typer.Option("--contracts", help="Addresses file, if no node shall be asked.")]
WalletFile = Annotated[Path, typer.Option("--wallet", metavar="FILE", help="The wallet that sends and pays.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Signatures = Annotated[list[str], typer.Option("--signature", help="What `sign` printed; once for each verifier.")]


def reader(node: str, rpc: str, contracts: Path | None) -> ContractsView:
    """Return the network's contracts for looking only. Raises UsageError, Retryable."""
    from fieldstone.chain.deploy import Addresses
    from fieldstone.chain.rpc import RpcPort
    from fieldstone.chain.view import ContractsView

    addresses = Addresses.load(contracts) if contracts is not None else _ask(node)
    return ContractsView(RpcPort(rpc or f"{node.rstrip('/')}/rpc", expected_chain_id=addresses.chain_id), addresses)


@contextmanager
def writer(node: str, rpc: str, contracts: Path | None, wallet: Path) -> Iterator[Settlement]:
    """Enter the network's contracts with a wallet that sends. Its transactions are kept beside it, each sent once."""
    from fieldstone.chain.outbox import Outbox
    from fieldstone.chain.settlement import Settlement
    from fieldstone.clock import SystemClock
    from fieldstone.identity.wallet import Wallet

    looking = reader(node, rpc, contracts)
    outbox = Outbox(wallet.with_name(f"{wallet.stem}.outbox.sqlite3"), clock=SystemClock())
    try:
        settlement = Settlement(looking.port, looking.addresses, outbox=outbox, signer=Wallet.load(wallet))
        settlement.recover()
        yield settlement
    finally:
        outbox.close()


def echo_signature(signer: Wallet, digest: bytes) -> None:
    """Print a verifier's signature of a decision, as `decide` takes it."""
    typer.echo(f"{signer.address}:0x{signer.sign_digest(digest).hex()}")


def add_expire(app: typer.Typer, what: str, ended: str, expire: Callable[[Settlement, int], object]) -> None:
    """Add the verb `expire` to the verbs about disputes or cases: `what` it is called, and how it has `ended` then."""

    @app.command("expire", help=f"Let a {what} end that nobody decided in time: {ended}. Anyone may.")
    def command(
        number: Annotated[int, typer.Argument(help="Its number.")],
        wallet: WalletFile,
        node: NodeUrl = DEFAULT_NODE,
        rpc: Rpc = "",
        contracts: Contracts = None,
    ) -> None:
        with writer(node, rpc, contracts, wallet) as chain:
            expire(chain, number)
        typer.echo(f"{what} {number} has expired: {ended}")


def signatures_of(texts: list[str], verb: str) -> dict[str, bytes]:
    """Read `address:signature` texts. Raises UsageError naming the verb that prints them."""
    from fieldstone.errors import UsageError

    given = {}
    for text in texts:
        address, _, signature = text.partition(":")
        try:
            given[address] = bytes.fromhex(signature.removeprefix("0x"))
        except ValueError:
            raise UsageError(f"{text[:60]!r} is not what `fieldstone {verb}` prints") from None
    return given


def kept(folder: Path, node: str) -> Path:
    """Return the addresses file in a folder; the first time the node names the contracts, and never again."""
    path = folder / "contracts.json"
    if not path.exists():
        _ask(node).save(path)
    return path


def _ask(node: str) -> Addresses:
    import httpx

    from fieldstone.chain.deploy import Addresses
    from fieldstone.cli.node_client import node_client
    from fieldstone.errors import Retryable, UsageError

    try:
        with node_client(node, timeout_s=30.0) as client:
            return Addresses(**client.get("/v1/network").json()["contracts"])
    except httpx.HTTPError as error:
        raise Retryable(f"{node} did not answer: {error}; is the node up, and is --node right?") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{node} is no node of a Fieldstone network: {error!r}") from None
