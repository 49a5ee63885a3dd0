"""A node: the journal and everything that hangs on it, opened once and closed once."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import msgspec
import structlog

from fieldstone.chain.deploy import Addresses, DeployPlan, deploy
from fieldstone.chain.embedded import EmbeddedChain
from fieldstone.chain.outbox import Outbox
from fieldstone.chain.port import ChainPort
from fieldstone.chain.settlement import Settlement
from fieldstone.clock import Clock, SystemClock
from fieldstone.config import Config
from fieldstone.epoch.compute import compute, epoch_randomness
from fieldstone.epoch.founders import check_founder_entry
from fieldstone.epoch.freeze import freeze
from fieldstone.epoch.runner import ExecutorRunner, Runner, SerialRunner, process_pool
from fieldstone.epoch.settle import Desk
from fieldstone.epoch.signatures import CoSignature, SignatureBook
from fieldstone.epoch.state import EpochState, genesis
from fieldstone.epoch.store import EpochStore, SealedEpoch
from fieldstone.errors import ConfigError, Retryable, UsageError
from fieldstone.identity.wallet import checksum_address
from fieldstone.journal import EntryKind, Journal, NewEntry
from fieldstone.journal.seal import seal
from fieldstone.market.market import Market
from fieldstone.node.bonds import BondDesk, check_bonds, exposure_s
from fieldstone.node.burns import credit_burns
from fieldstone.node.layout import Layout
from fieldstone.policy import Policy
from fieldstone.services import load_service
from fieldstone.state import open_state

_log = structlog.get_logger("node")

# Below this many devices one process is faster than starting others (each imports Polars first).
POOL_FROM_DEVICES = 2_000
GAS_MONEY_WEI = 10**24
DAY_S = 86_400
_FUND_ALARMS = ("short", "ending", "empty")


class Node:
    """Everything a network does on this machine except listening: see `fieldstone.node.serve` for the doors."""

    def __init__(self, config: Config, clock: Clock | None = None) -> None:
        """Open or create the network's data. Raises EnvironmentProblem, ConfigError or Retryable, naming the part."""
        self.config = config
        self.clock = clock or SystemClock()
        self.layout = Layout(config.data_dir)
        self.layout.create()
        self.network_key = self.layout.network_key()
        self.poster = self.layout.wallet("poster")
        self.own_verifier = None if config.policy.settlement.verifiers else self.layout.wallet("verifier")
        self.journal = Journal.open(self.layout.journal, clock=self.clock)
        self._closing = threading.Lock()
        self._settling = threading.Lock()
        self._is_closed = False
        self._pool: ProcessPoolExecutor | None = None
        self.store = EpochStore(self.layout.sealed)
        _check_parameters(config.policy)
        policy = self._complete(config.policy)
        DeployPlan.from_policy(
            policy, treasury=self.poster.address
        )  # what the contracts would refuse, before any entry
        self._write_policy(policy)
        self.port = self._open_chain()
        self.outbox = Outbox(self.layout.outbox, clock=self.clock, confirmations=config.chain.confirmations)
        self.addresses = self._contracts()
        self.chain = Settlement(self.port, self.addresses, outbox=self.outbox, signer=self.poster)
        self.chain.recover()
        self.book = SignatureBook(self.layout.signatures)
        self.desk = Desk(self.store, self.book, self.chain)
        self.engine = open_state(self.layout.state)
        self.market = Market(
            self.engine,
            self.journal,
            self.layout.sealed,
            lambda: self.policy,
            self.clock,
            [load_service(name) for name in sorted(self.policy.services)],
            deliveries=self.layout.root / "deliveries",
            network_name=config.node.name,
        )
        self.market.resume()
        if self.store.latest:
            self._charge_usage(self.store.sealed(self.store.latest))
        self._burns_from = self.addresses.block
        self.bonds = BondDesk(self)
        self._sync_signers()

    def close(self) -> None:
        """Close every file, in the reverse order of opening, once a settling that another thread began is over."""
        with self._settling:
            self._is_closed = True
        if self._pool is not None:
            self._pool.shutdown()
        self.engine.dispose()
        self.book.close()
        self.outbox.close()
        if isinstance(self.port, EmbeddedChain):
            self.port.close()
        self.journal.close()

    @property
    def policy(self) -> Policy:
        """The policy in force in the open epoch."""
        return self.state.policy

    @property
    def state(self) -> EpochState:
        """Where the open epoch starts."""
        latest = self.store.latest
        if latest:
            return self.store.state(latest)
        first = next(iter(self.journal.read(1, 1)))
        return genesis(Policy.from_json(first.body), first.received_ms)

    # ---- opening -----------------------------------------------------------------------------------------------------

    def _complete(self, policy: Policy) -> Policy:
        """Fill in what the file leaves to the first start: who verifies when nobody is named, where the take goes."""
        settlement = policy.settlement
        if self.own_verifier is not None:
            settlement = msgspec.structs.replace(settlement, verifiers=(self.own_verifier.address,), threshold=1)
            _log.warning(
                "no_independent_verifier", remedy="list verifiers under [settlement]; until then this node signs alone"
            )
        if settlement.treasury is None:
            settlement = msgspec.structs.replace(settlement, treasury=self.layout.wallet("treasury").address)
        return msgspec.structs.replace(policy, settlement=settlement)

    def _write_policy(self, policy: Policy) -> None:
        """Journal the policy when it is new. It takes effect with the next epoch; the first one at once."""
        newest = b""
        for entry in self.journal.read(1, None, (EntryKind.POLICY,)):
            newest = entry.body
        if newest != policy.to_json():
            self.journal.append([NewEntry(EntryKind.POLICY, "", policy.to_json())])
            _log.info("policy_written", policy_hash=policy.hash, first=not newest)

    def _open_chain(self) -> ChainPort:
        if self.config.chain.url == "embedded":
            return EmbeddedChain(
                self.layout.chain,
                chain_id=self.policy.chain_id,
                clock=self.clock,
                genesis_timestamp_s=self.state.next_start_ms // 1000 - 1,
                balances_wei={self.poster.address: GAS_MONEY_WEI},
            )
        from fieldstone.chain.rpc import RpcPort

        return RpcPort(self.config.chain.url, expected_chain_id=self.policy.chain_id)

    def _contracts(self) -> Addresses:
        if self.layout.contracts.exists():
            return Addresses.load(self.layout.contracts)
        treasury = self.policy.settlement.treasury or self.poster.address
        plan = DeployPlan.from_policy(
            self.policy,
            treasury=treasury,
            first_start_s=self.state.next_start_ms // 1000,
            guardian=self.layout.wallet("guardian").address,
            price_poster=self.poster.address,
            spender=self.poster.address,
        )
        plan = dataclasses.replace(plan, unbonding_delay_s=self._unbonding_s(plan))
        addresses = deploy(self.port, self.outbox, self.poster, plan)
        addresses.save(self.layout.contracts)
        _log.info("contracts_deployed", rewards=addresses.rewards, token=addresses.token)
        return addresses

    def _unbonding_s(self, plan: DeployPlan) -> int:
        """Return an unbonding delay that outlasts every case and every fault that is not named yet; 0: the plan's own."""
        wanted_s = exposure_s(self.policy)
        return (
            max(wanted_s, plan.activation_delay_s + plan.dispute_period_s, plan.case_period_s) + DAY_S
            if wanted_s
            else 0
        )

    # ---- epochs ------------------------------------------------------------------------------------------------------

    def close_due(self) -> SealedEpoch | None:
        """Close the open epoch if its time is over; return it sealed, or None when it is not due yet."""
        with self._closing:
            state = self.state
            if self.clock.now_ms() < state.next_end_ms:
                return None
            number, block_hash = self._boundary(state)
            first, last = state.last_position + 1, self.journal.position_at(state.next_end_ms)
            frozen = freeze(self.journal.read(first, last), state)
            randomness = epoch_randomness(state.policy.network_id, frozen.epoch, block_hash)
            result = compute(frozen, state, randomness, self._runner(frozen.registry.height))
            sealed = self.store.write(
                result,
                lambda folder: seal(self.journal, first, last, folder),
                block_number=number,
                block_hash=block_hash,
            )
            self._tidy_market()
            self._charge_usage(sealed)
            self._review_funds()
            self._sync_signers()
            self.bonds.write_due(at_once=True)
            _log.info(
                "epoch_sealed", epoch=frozen.epoch, root=sealed.manifest.root, minted_base=sealed.manifest.minted_base
            )
            return sealed

    def _sync_signers(self) -> None:
        """Hand the contract over to the verifiers that the policy lists now, if this node is its only signer.

        That is how a network that began alone becomes one that others check. Once others sign, only they can change
        who signs: a node that could do it without them would make their signatures worthless.
        """
        settlement = self.policy.settlement
        wanted = (frozenset(map(checksum_address, settlement.verifiers)), settlement.threshold)
        signers, threshold = self.chain.signers()
        if wanted == (frozenset(signers), threshold):
            return
        alone = self.layout.wallet("verifier") if (self.layout.keys / "verifier.wallet").exists() else None
        if alone is None or signers != (alone.address,):
            _log.error(
                "signers_differ",
                policy=sorted(wanted[0]),
                contract=list(signers),
                remedy="the present signers have to sign the change (Rewards.rotate_signers)",
            )
            return
        digest = self.chain.rotation_to_sign(sorted(wanted[0]), settlement.threshold)
        self.chain.rotate_signers(sorted(wanted[0]), settlement.threshold, {alone.address: alone.sign_digest(digest)})
        _log.info("signers_handed_over", verifiers=sorted(wanted[0]), threshold=settlement.threshold)

    def _tidy_market(self) -> None:
        """Finish what an interrupted order left, and drop deliveries whose time is over."""
        resumed = self.market.resume()
        for order, why in resumed.stuck.items():
            _log.error("order_stuck", order=order, why=why)
        self.market.sweep()

    def _charge_usage(self, sealed: SealedEpoch) -> None:
        """Charge customers for what an epoch found that their devices used. Repeating it charges nothing more."""
        for name in sealed.table_names():
            if name.startswith("usage-"):
                service = name.removeprefix("usage-")
                number, end_ms = sealed.manifest.epoch, sealed.manifest.end_ms
                for charge in self.market.usage.charge(service, number, sealed.table(name), end_ms):
                    _log.info("usage_charged", **dataclasses.asdict(charge))

    def _review_funds(self) -> None:
        """Hold what customers paid once against what was really spent; say aloud which of it will not last."""
        for fund in self.market.funds.all():
            review = fund.review or {}
            if review.get("state") in _FUND_ALARMS:
                _log.warning(
                    "fund_runs_out",
                    fund=fund.id,
                    customer=fund.customer_id,
                    state=review["state"],
                    balance_micro_usd=fund.balance_micro_usd,
                    dry_ms=review.get("dry_ms"),
                )

    def _boundary(self, state: EpochState) -> tuple[int, bytes]:
        """Mark the epoch's end in the journal, once, with the chain block that gives the epoch its randomness.

        The entry is appended by the journal's one writer, so every entry of the epoch is durable when it returns:
        none can slip in behind the freeze. It belongs to the next epoch itself.
        """
        epoch = state.epoch + 1
        for entry in self.journal.read(state.last_position + 1, None, (EntryKind.EPOCH,)):
            body = msgspec.json.decode(entry.body)
            if body["epoch"] == epoch:
                return int(body["block"]), bytes.fromhex(body["block_hash"])
        head = self.port.mine() if isinstance(self.port, EmbeddedChain) else self.port.head()
        if head.timestamp_s * 1000 < state.next_end_ms:
            raise Retryable(f"epoch {epoch} waits for a block after its end; the chain's head is older")
        body = {"epoch": epoch, "block": head.number, "block_hash": head.hash.hex()}
        self.journal.append([NewEntry(EntryKind.EPOCH, "", msgspec.json.encode(body, order="sorted"))])
        return head.number, head.hash

    def _runner(self, devices: int) -> Runner:
        workers = self.config.node.workers
        if devices < POOL_FROM_DEVICES or workers < 2:
            return SerialRunner()
        if self._pool is None:
            self._pool = process_pool(workers)
        return ExecutorRunner(self._pool, workers)

    def settle(self) -> list[int]:
        """Sign with the node's own verifier if it has one, and post what has enough signatures; return those epochs."""
        with self._settling:
            return [] if self._is_closed else self._settle()

    def _settle(self) -> list[int]:
        if self.own_verifier is not None:
            for open_epoch in self.desk.open_epochs():
                if self.own_verifier.address not in open_epoch.signed_by:
                    digest = self.desk.digest(open_epoch.epoch, open_epoch.attempt)
                    signature = self.own_verifier.sign_digest(digest)
                    given = CoSignature(open_epoch.epoch, open_epoch.attempt, self.own_verifier.address, signature)
                    self.book.sign(given, digest, (self.own_verifier.address,))
        self.bonds.write_due()
        self._credit_burns()
        posted = self.desk.post_ready()
        for epoch in posted:
            _log.info("root_posted", epoch=epoch)
        return posted

    def _credit_burns(self) -> None:
        """Credit burns since the last look; after a start all of them, which changes nothing for those credited."""
        head = self.port.head().number
        if head >= self._burns_from:
            credit_burns(self.chain, self.market, self._burns_from)
            self._burns_from = head + 1

    def append(self, entries: Sequence[NewEntry]) -> list[int]:
        """Append the founder's entries (price, correction) and return their positions.

        Raises UsageError on one that an epoch could not read: in the journal it would stop every later epoch.
        """
        for entry in entries:
            check_founder_entry(entry)
        commit = self.journal.append(list(entries))
        return list(range(commit.first, commit.last + 1))

    def open_entries(self) -> int:
        """Return how many journal entries the open epoch holds so far."""
        return self.journal.head - self.state.last_position


def _check_parameters(policy: Policy) -> None:
    """Raise ConfigError for a rule version or parameter that no epoch could be verified with."""
    for name, setting in policy.services.items():
        service = load_service(name)
        if setting.rule_version not in service.rule_versions:
            known = ", ".join(map(str, service.rule_versions))
            raise ConfigError(
                f"has no rule version {setting.rule_version}; known: {known}", key=f"services.{name}.rule_version"
            )
        try:
            service.with_overrides(service.default_params(setting.rule_version), setting.params)
        except UsageError as error:
            raise ConfigError(str(error), key=f"services.{name}.params") from error
    check_bonds(policy)


def open_node(folder: Path, clock: Clock | None = None) -> Node:
    """Open the network of a folder that holds a `network.toml`."""
    from fieldstone.config import load

    return Node(load(folder / "network.toml"), clock)
