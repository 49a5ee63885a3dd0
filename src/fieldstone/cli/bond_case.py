"""`fieldstone bond case`: accuse a bond of a device that lost customers' data, and decide the accusation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fieldstone.cli.onchain import (
    DEFAULT_NODE,
    AsJson,
    Contracts,
    NodeUrl,
    Rpc,
    Signatures,
    WalletFile,
    add_expire,
    echo_signature,
    reader,
    signatures_of,
    writer,
)

if TYPE_CHECKING:
    from fieldstone.epoch.bond_case import Evidence as Accusation

app = typer.Typer(
    no_args_is_help=True,
    help="Accuse a bond by a sealed epoch, and decide it: only what verifiers replayed and signed takes tokens.",
)
Number = Annotated[int, typer.Argument(help="The case's number.")]
Uphold = Annotated[bool, typer.Option("--uphold/--reject", help="Uphold: the bond is cut. Reject: the accuser pays.")]
Evidence = Annotated[Path, typer.Option("--evidence", help="The file that `bond case evidence` wrote.")]
EvidenceIfUpheld = Annotated[
    Path | None, typer.Option("--evidence", help="The file that `bond case evidence` wrote; none is needed to reject.")
]


@app.command()
def evidence(
    device: Annotated[str, typer.Argument(help="The device that was disqualified.")],
    epoch: Annotated[int, typer.Option(help="The epoch whose verdict disqualified it.")],
    at: Annotated[str, typer.Option("--at", metavar="FOLDER|URL", help="Where the sealed epochs are.")] = ".",
    out: Annotated[Path, typer.Option(help="Folder for the files, one for each bond that answers.")] = Path(),
    as_json: AsJson = False,
) -> None:
    """Write the evidence from a sealed epoch: the same bytes for everybody who has the epoch."""
    import json

    from fieldstone.cli.sealed import open_store
    from fieldstone.epoch.bond_case import evidence as written
    from fieldstone.units import format_token

    store = open_store(at, [epoch - 1, epoch])
    out.mkdir(parents=True, exist_ok=True)
    told = []
    for number, one in enumerate(written(store, epoch, device), start=1):
        path = out / f"bond-case-{epoch}-{device[-8:]}-{number}.json"
        path.write_bytes(one.to_bytes())
        told.append({"file": str(path), "sha256": one.sha256.hex(), "owner": one.owner, "key": one.key,
                     "fraction_ppm": one.fraction_ppm, "bond_base": one.bond_base})  # fmt: skip
        if not as_json:
            typer.echo(f"{path}: {one.fraction_ppm} ppm of {format_token(int(one.bond_base))} tokens of {one.owner}")
    if as_json:
        typer.echo(json.dumps(told))


@app.command("open")
def open_(
    evidence: Evidence,
    wallet: WalletFile,
    node: NodeUrl = DEFAULT_NODE,
    rpc: Rpc = "",
    contracts: Contracts = None,
    as_json: AsJson = False,
) -> None:
    """Open the case on chain, against the case bond, which the wallet pays and gets back when it was right."""
    import json

    given = _read(evidence)
    with writer(node, rpc, contracts, wallet) as chain:
        number = chain.open_case(given.owner, bytes.fromhex(given.key), given.sha256)
    if as_json:
        typer.echo(json.dumps({"case": number, "evidence_sha256": given.sha256.hex()}))
    else:
        typer.echo(f"case {number} is open; send {evidence} to the verifiers, SHA-256 {given.sha256.hex()}")


@app.command()
def show(
    number: Number, node: NodeUrl = DEFAULT_NODE, rpc: Rpc = "", contracts: Contracts = None, as_json: AsJson = False
) -> None:
    """Show a case: whose bond, who accuses, until when it can be decided, how it ended."""
    import json
    from datetime import UTC, datetime

    found = reader(node, rpc, contracts).case_of(number)
    facts = {
        "case": found.number,
        "accuser": found.accuser,
        "owner": found.owner,
        "key": found.key.hex(),
        "evidence_sha256": found.evidence_hash.hex(),
        "deadline": f"{datetime.fromtimestamp(found.deadline_s, UTC):%Y-%m-%d %H:%M} UTC",
        "outcome": found.outcome.name.lower(),
    }
    if as_json:
        typer.echo(json.dumps(facts))
        return
    for name, value in facts.items():
        typer.echo(f"{name:<16} {value}")


@app.command()
def sign(
    number: Number,
    folder: Annotated[Path, typer.Option("--folder", help="Your verifier's folder: its key and its own epochs.")],
    evidence: EvidenceIfUpheld = None,
    reject: Annotated[bool, typer.Option("--reject", help="Sign that the accusation is wrong.")] = False,
    node: NodeUrl = DEFAULT_NODE,
    rpc: Rpc = "",
    contracts: Contracts = None,
) -> None:
    """Replay the epoch from your own copy and sign the decision, or refuse; print `address:signature` for `decide`.

    A case whose evidence nobody can show is rejected without: undecided it would keep the bond from being withdrawn.
    """
    from fieldstone.epoch.bond_case import check_case
    from fieldstone.epoch.store import EpochStore
    from fieldstone.identity.wallet import Wallet

    view, signer, fraction_ppm = reader(node, rpc, contracts), Wallet.load(folder / "verifier.wallet"), 0
    if not reject:
        given = _read(evidence)
        fraction_ppm = given.fraction_ppm
        cases = {case.number: case for case in view.cases()}
        check_case(EpochStore(folder / "agreed"), view.case_of(number), given, cases)
    echo_signature(signer, view.slash_to_sign(number, fraction_ppm, not reject))


@app.command()
def decide(
    number: Number,
    uphold: Uphold,
    signatures: Signatures,
    wallet: WalletFile,
    evidence: EvidenceIfUpheld = None,
    node: NodeUrl = DEFAULT_NODE,
    rpc: Rpc = "",
    contracts: Contracts = None,
) -> None:
    """Send the verifiers' decision; anyone may."""
    fraction_ppm = _read(evidence).fraction_ppm if uphold else 0
    with writer(node, rpc, contracts, wallet) as chain:
        chain.resolve_case(number, fraction_ppm, uphold, signatures_of(signatures, "bond case sign"))
    typer.echo(f"case {number} is {f'upheld: {fraction_ppm} ppm of the bond is slashed' if uphold else 'rejected'}")


add_expire(app, "case", "nothing is slashed", lambda chain, number: chain.expire_case(number))


def _read(path: Path | None) -> Accusation:
    from fieldstone.epoch.bond_case import read_evidence
    from fieldstone.errors import UsageError

    if path is None:
        raise UsageError("to uphold a case its evidence is needed: give --evidence FILE")
    if not path.is_file():
        raise UsageError(f"{path} is no file; write one with `fieldstone bond case evidence`")
    return read_evidence(path.read_bytes())
