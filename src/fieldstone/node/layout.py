"""Where a node keeps what: one data folder, and the keys it makes on its first start."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fieldstone.errors import EnvironmentProblem
from fieldstone.identity.keys import Algorithm, DeviceKey
from fieldstone.identity.wallet import Wallet


@dataclass(frozen=True, slots=True)
class Layout:
    """Paths inside a node's data folder. `journal` is the source of truth; all else can be rebuilt or is a secret."""

    root: Path

    @property
    def journal(self) -> Path:
        return self.root / "journal.db"

    @property
    def state(self) -> Path:
        return self.root / "state.db"

    @property
    def chain(self) -> Path:
        return self.root / "chain.db"

    @property
    def outbox(self) -> Path:
        return self.root / "outbox.db"

    @property
    def signatures(self) -> Path:
        return self.root / "signatures.db"

    @property
    def contracts(self) -> Path:
        return self.root / "contracts.json"

    @property
    def sealed(self) -> Path:
        return self.root / "sealed"

    @property
    def keys(self) -> Path:
        return self.root / "keys"

    @property
    def admin_token(self) -> Path:
        return self.keys / "admin.token"

    def create(self) -> None:
        """Make the folders. Raises EnvironmentProblem when the disk says no."""
        try:
            self.sealed.mkdir(parents=True, exist_ok=True)
            self.keys.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise EnvironmentProblem(f"cannot create the data folder {self.root}: {error}") from error

    def network_key(self) -> DeviceKey:
        """Return the key that signs receipts; made on first use."""
        path = self.keys / "network.key"
        if not path.exists():
            DeviceKey.generate(Algorithm.ED25519).save(path)
        return DeviceKey.load(path)

    def wallet(self, name: str) -> Wallet:
        """Return one of the node's wallets (`poster`, `treasury`, `verifier-1` …); made on first use."""
        path = self.keys / f"{name}.wallet"
        if not path.exists():
            Wallet.generate().save(path)
        return Wallet.load(path)
