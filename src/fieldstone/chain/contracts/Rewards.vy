# pragma version 0.4.3
# pragma evm-version cancun
# SPDX-License-Identifier: Apache-2.0
"""
@title Rewards: cumulative Merkle roots that anyone may check before they pay
@notice Every epoch the verifiers sign one root over lifetime-cumulative amounts. It waits for the activation delay, in
        which the guardian may veto it and anyone may dispute it against a bond; meanwhile the last good root pays.
        Tokens are minted when claimed, never before: a cancelled record leaves nothing to take back, and since
        genesis + emission cap ≤ the token's max supply (checked at deployment) a mint can never fail.
        Invariants: claimed(a) never falls · Σ claimed = claimed_total ≤ active total ≤ epoch cap · epochs ·
        a cancelled record never becomes active · one live record per epoch.
"""
import eip712
import merkle
import quorum
import records

initializes: eip712
initializes: quorum[eip712 := eip712]
initializes: records

exports: (
    quorum.rotate_signers,
    quorum.check_quorum,
    quorum.signer_set_version,
    quorum.threshold,
    quorum.signers,
    quorum.is_signer,
)

interface Token:
    def mint(receiver: address, amount: uint256): nonpayable
    def transfer(receiver: address, amount: uint256) -> bool: nonpayable
    def transferFrom(owner: address, receiver: address, amount: uint256) -> bool: nonpayable
    def minter() -> address: view
    def max_supply() -> uint256: view
    def genesis_supply() -> uint256: view

flag Cause:
    VETO
    UPHELD
    EXPIRED
    DECREASE
    DUPLICATE
    OVER_TOTAL

event RootPosted:
    epoch: indexed(uint256)
    attempt: uint256
    root: bytes32
    data_hash: bytes32
    total: uint256
    activation: uint256

event RecordsCancelled:
    first_epoch: indexed(uint256)
    last_epoch: uint256
    cause: Cause
    next_attempt: uint256

event DisputeOpened:
    dispute: indexed(uint256)
    epoch: indexed(uint256)
    disputer: indexed(address)
    reason: uint256
    evidence_hash: bytes32
    bond: uint256
    deadline: uint256

event DisputeClosed:
    dispute: indexed(uint256)
    epoch: indexed(uint256)
    outcome: uint256
    bond_to: address

event Claimed:
    account: indexed(address)
    recipient: indexed(address)
    amount: uint256

event RecipientRequested:
    account: indexed(address)
    recipient: address
    ready_at: uint256

event RecipientChanged:
    account: indexed(address)
    recipient: address

event GuardianChanged:
    guardian: address

ROOT_TYPE: constant(bytes32) = keccak256(
    "Root(uint256 epoch,uint256 attempt,bytes32 previousRoot,bytes32 root,bytes32 dataHash,uint256 total,uint256 signerSetVersion)"
)
RESOLUTION_TYPE: constant(bytes32) = keccak256(
    "Resolution(uint256 dispute,uint256 epoch,bytes32 root,bytes32 dataHash,bool upheld,uint256 signerSetVersion)"
)

# record states (0: never posted, or its slot was used again)
PENDING: constant(uint256) = 1
ACTIVE: constant(uint256) = 2
SUPERSEDED: constant(uint256) = 3
CANCELLED: constant(uint256) = 4
DISPUTED: constant(uint256) = 5

# dispute outcomes
OPEN: constant(uint256) = 1
UPHELD: constant(uint256) = 2
REJECTED: constant(uint256) = 3
EXPIRED: constant(uint256) = 4
VOID: constant(uint256) = 5  # the record fell for another reason

MAX_BATCH: constant(uint256) = 64
MAX_BOND_DOUBLINGS: constant(uint256) = 4

struct Dispute:
    disputer: address
    bond: uint256
    epoch: uint256
    deadline: uint256
    outcome: uint256

struct Record:
    status: uint256
    root: bytes32
    data_hash: bytes32
    total: uint256
    activation: uint256
    attempt: uint256
    dispute: uint256

struct Redirect:
    recipient: address
    ready_at: uint256

token: public(immutable(address))
treasury: public(immutable(address))
first_start: public(immutable(uint256))
epoch_length: public(immutable(uint256))
epoch_cap: public(immutable(uint256))
emission_cap: public(immutable(uint256))
activation_delay: public(immutable(uint256))
dispute_period: public(immutable(uint256))
dispute_bond: public(immutable(uint256))
window_length: public(immutable(uint256))
window_cap: public(immutable(uint256))
recipient_delay: public(immutable(uint256))

guardian: public(address)
dispute_count: public(uint256)
disputes: public(HashMap[uint256, Dispute])
redirects: public(HashMap[address, Redirect])
# claimed total 96 | window index 32 | paid in that window 128
_flow: uint256
# recipient 160 | claimed 96
_accounts: HashMap[address, uint256]


@deploy
def __init__(
    token_: address,
    treasury_: address,
    guardian_: address,
    signers: DynArray[address, quorum.MAX_SIGNERS],
    threshold: uint256,
    first_start_: uint256,
    epoch_length_: uint256,
    epoch_cap_: uint256,
    emission_cap_: uint256,
    activation_delay_: uint256,
    dispute_period_: uint256,
    dispute_bond_: uint256,
    window_length_: uint256,
    window_cap_: uint256,
    recipient_delay_: uint256,
):
    """
    @notice Times in seconds, amounts in base units. Signers ascending. `guardian_` may be zero.
    @param first_start_ start of epoch 1; epoch e may be posted from first_start + e · epoch_length on, so the emission
           schedule is bound to time. epoch_length 0 switches this rule off (test networks only).
    """
    eip712.__init__(keccak256("Fieldstone Rewards"))
    quorum.__init__(signers, threshold)
    records.__init__()
    assert treasury_ != empty(address), "zero treasury"
    assert staticcall Token(token_).minter() == self, "token has another minter"
    supply: uint256 = staticcall Token(token_).genesis_supply() + emission_cap_
    assert supply <= staticcall Token(token_).max_supply(), "emission above max supply"
    assert epoch_cap_ > 0 and window_cap_ > 0 and window_length_ > 0, "zero cap"
    assert dispute_bond_ > 0 and dispute_bond_ < 2**90, "bond out of range"
    assert max(activation_delay_, max(dispute_period_, recipient_delay_)) < 2**32, "delay too long"
    assert dispute_period_ > 0, "zero dispute period"
    # pending records must fit into the ring
    assert epoch_length_ == 0 or activation_delay_ <= (records.RING - 2) * epoch_length_, "delay outgrows the ring"
    token = token_
    treasury = treasury_
    first_start = first_start_
    epoch_length = epoch_length_
    epoch_cap = epoch_cap_
    emission_cap = emission_cap_
    activation_delay = activation_delay_
    dispute_period = dispute_period_
    dispute_bond = dispute_bond_
    window_length = window_length_
    window_cap = window_cap_
    recipient_delay = recipient_delay_
    self.guardian = guardian_


# ---- records ---------------------------------------------------------------------------------------------------------


@external
def post(
    epoch: uint256,
    root: bytes32,
    data_hash: bytes32,
    total: uint256,
    signatures: Bytes[quorum.MAX_SIGNATURE_BYTES],
):
    """
    @notice Post the record of the next epoch. Anyone may send it; the quorum's signatures decide.
    @param total sum of all cumulative leaves under `root`, base units
    """
    head: records.Head = records._current()
    assert epoch == head.live_epoch + 1, "not the next epoch"
    assert epoch - head.active_epoch < records.RING, "too many pending epochs"
    assert block.timestamp >= first_start + epoch * epoch_length, "epoch has not ended"
    assert root != empty(bytes32) and data_hash != empty(bytes32), "empty root or data hash"
    previous_total: uint256 = records._metas[head.live_epoch % records.RING] >> 160
    assert total >= previous_total, "total decreased"
    assert total - previous_total <= epoch_cap, "epoch cap"
    assert total <= emission_cap, "emission cap"
    quorum._check(
        eip712._digest(
            keccak256(
                abi_encode(
                    ROOT_TYPE,
                    epoch,
                    head.attempt,
                    records._roots[head.live_epoch % records.RING],
                    root,
                    data_hash,
                    total,
                    quorum._version(),
                )
            )
        ),
        signatures,
    )
    activation: uint256 = block.timestamp + activation_delay
    records._roots[epoch % records.RING] = root
    records._data_hashes[epoch % records.RING] = data_hash
    records._store_meta(
        records.Meta(
            total=total,
            activation=activation,
            epoch=epoch,
            attempt=head.attempt,
            dispute=0,
            rejections=0,
            disputed=False,
        )
    )
    if head.live_epoch == head.active_epoch:
        head.next_activation = activation
    head.live_epoch = epoch
    records._store_head(head)
    log RootPosted(
        epoch=epoch, attempt=head.attempt, root=root, data_hash=data_hash, total=total, activation=activation
    )


@internal
def _cancel(current: records.Head, epoch: uint256, cause: Cause, outcome: uint256):
    """
    @notice Cancel `epoch` and everything built on it; return the bonds of all disputes this ends.
    """
    last: uint256 = current.live_epoch
    for i: uint256 in range(epoch, last + 1, bound=records.RING):
        meta: records.Meta = records._load_meta(i)
        if meta.disputed:
            self._close(meta.dispute, outcome if i == epoch else VOID, self.disputes[meta.dispute].disputer)
    head: records.Head = current
    head.live_epoch = epoch - 1
    head.attempt += 1
    head.next_activation = records._next_activation(head.active_epoch, head.live_epoch)
    records._store_head(head)
    log RecordsCancelled(first_epoch=epoch, last_epoch=last, cause=cause, next_attempt=head.attempt)


@internal
@view
def _undecided(epoch: uint256, root: bytes32) -> records.Head:
    """
    @notice The head, if `epoch` is posted under `root` and not active yet.
    """
    head: records.Head = records._current()
    assert epoch > head.active_epoch and epoch <= head.live_epoch, "record is not pending"
    assert records._roots[epoch % records.RING] == root, "record has another root"
    return head


@external
def veto(epoch: uint256, root: bytes32):
    """
    @notice The guardian cancels a pending record (and the ones built on it). The guardian can do nothing else.
    """
    assert msg.sender == self.guardian, "only the guardian"
    head: records.Head = self._undecided(epoch, root)
    assert not records._load_meta(epoch).disputed, "record is not pending"
    self._cancel(head, epoch, Cause.VETO, VOID)


@external
def set_guardian(guardian_: address):
    """
    @notice The guardian hands over, or gives up the right for good with the zero address.
    """
    assert msg.sender == self.guardian, "only the guardian"
    self.guardian = guardian_
    log GuardianChanged(guardian=guardian_)


# ---- disputes --------------------------------------------------------------------------------------------------------


@internal
def _close(dispute: uint256, outcome: uint256, bond_to: address):
    case: Dispute = self.disputes[dispute]
    self.disputes[dispute].outcome = outcome
    log DisputeClosed(dispute=dispute, epoch=case.epoch, outcome=outcome, bond_to=bond_to)
    assert extcall Token(token).transfer(bond_to, case.bond), "bond transfer failed"


@external
def open_dispute(epoch: uint256, root: bytes32, reason: uint256, evidence_hash: bytes32) -> uint256:
    """
    @notice Freeze a pending record against a bond (allowance needed). The bond doubles with every rejected dispute of
            the same record, up to 16-fold, so delaying gets dearer. Returns the dispute's number.
    """
    self._undecided(epoch, root)
    meta: records.Meta = records._load_meta(epoch)
    assert not meta.disputed, "already disputed"
    bond: uint256 = dispute_bond << min(meta.rejections, MAX_BOND_DOUBLINGS)
    deadline: uint256 = block.timestamp + dispute_period
    dispute: uint256 = self.dispute_count + 1
    self.dispute_count = dispute
    self.disputes[dispute] = Dispute(
        disputer=msg.sender, bond=bond, epoch=epoch, deadline=deadline, outcome=OPEN
    )
    meta.disputed = True
    meta.dispute = dispute
    records._store_meta(meta)
    head: records.Head = records._current()
    if epoch == head.active_epoch + 1:
        head.next_activation = records.NEVER
    records._store_head(head)
    log DisputeOpened(
        dispute=dispute,
        epoch=epoch,
        disputer=msg.sender,
        reason=reason,
        evidence_hash=evidence_hash,
        bond=bond,
        deadline=deadline,
    )
    assert extcall Token(token).transferFrom(msg.sender, self, bond), "bond transfer failed"
    return dispute


@external
def resolve_dispute(dispute: uint256, upheld: bool, signatures: Bytes[quorum.MAX_SIGNATURE_BYTES]):
    """
    @notice Verifiers replayed the epoch and decided. Upheld: the record falls, the bond returns. Rejected: the bond
            goes to the treasury and the record waits a full activation delay again.
    """
    case: Dispute = self.disputes[dispute]
    assert case.outcome == OPEN, "dispute is not open"
    assert block.timestamp <= case.deadline, "deadline has passed"
    slot: uint256 = case.epoch % records.RING
    quorum._check(
        eip712._digest(
            keccak256(
                abi_encode(
                    RESOLUTION_TYPE,
                    dispute,
                    case.epoch,
                    records._roots[slot],
                    records._data_hashes[slot],
                    upheld,
                    quorum._version(),
                )
            )
        ),
        signatures,
    )
    head: records.Head = records._current()
    if upheld:
        self._cancel(head, case.epoch, Cause.UPHELD, UPHELD)
        return
    meta: records.Meta = records._load_meta(case.epoch)
    meta.disputed = False
    meta.rejections = min(meta.rejections + 1, 255)
    meta.activation = block.timestamp + activation_delay
    records._store_meta(meta)
    head.next_activation = records._next_activation(head.active_epoch, head.live_epoch)
    records._store_head(head)
    self._close(dispute, REJECTED, treasury)


@external
def expire_dispute(dispute: uint256):
    """
    @notice Nobody decided in time: the record falls and the bond returns (safety before liveness). Anyone may call.
    """
    case: Dispute = self.disputes[dispute]
    assert case.outcome == OPEN, "dispute is not open"
    assert block.timestamp > case.deadline, "deadline has not passed"
    self._cancel(records._current(), case.epoch, Cause.EXPIRED, EXPIRED)


@internal
@view
def _has_leaf(
    epoch: uint256, account: address, cumulative: uint256, proof: DynArray[bytes32, merkle.MAX_DEPTH]
) -> bool:
    return merkle._root(merkle._leaf(account, cumulative), proof) == records._roots[epoch % records.RING]


@external
def prove_decrease(
    epoch: uint256,
    root: bytes32,
    base_epoch: uint256,
    account: address,
    base_cumulative: uint256,
    base_proof: DynArray[bytes32, merkle.MAX_DEPTH],
    cumulative: uint256,
    proof: DynArray[bytes32, merkle.MAX_DEPTH],
):
    """
    @notice Cancel a record that lowers an account below what the active or an earlier pending record gave it.
    """
    head: records.Head = self._undecided(epoch, root)
    assert base_epoch >= head.active_epoch and base_epoch > 0 and base_epoch < epoch, "bad base epoch"
    assert cumulative < base_cumulative, "not a decrease"
    assert self._has_leaf(base_epoch, account, base_cumulative, base_proof), "bad proof"
    assert self._has_leaf(epoch, account, cumulative, proof), "bad proof"
    self._cancel(head, epoch, Cause.DECREASE, UPHELD)


@external
def prove_duplicate(
    epoch: uint256,
    root: bytes32,
    account: address,
    first: uint256,
    first_proof: DynArray[bytes32, merkle.MAX_DEPTH],
    second: uint256,
    second_proof: DynArray[bytes32, merkle.MAX_DEPTH],
):
    """
    @notice Cancel a record that holds two different leaves of one account.
    """
    head: records.Head = self._undecided(epoch, root)
    assert first != second, "not a duplicate"
    assert self._has_leaf(epoch, account, first, first_proof), "bad proof"
    assert self._has_leaf(epoch, account, second, second_proof), "bad proof"
    self._cancel(head, epoch, Cause.DUPLICATE, UPHELD)


@external
def prove_over_total(
    epoch: uint256,
    root: bytes32,
    account: address,
    cumulative: uint256,
    proof: DynArray[bytes32, merkle.MAX_DEPTH],
):
    """
    @notice Cancel a record in which one leaf alone exceeds the declared total.
    """
    head: records.Head = self._undecided(epoch, root)
    assert cumulative > records._load_meta(epoch).total, "not over total"
    assert self._has_leaf(epoch, account, cumulative, proof), "bad proof"
    self._cancel(head, epoch, Cause.OVER_TOTAL, UPHELD)


# ---- claims ----------------------------------------------------------------------------------------------------------


@internal
def _open_claims(expected_root: bytes32) -> uint256:
    """
    @notice Bring the head up to date, check that the caller's proofs are for the root that pays; return its total.
    """
    stored: uint256 = records._head
    head: uint256 = records._advance(stored)
    if head != stored:
        records._head = head
    epoch: uint256 = (head >> 64) & (2**32 - 1)
    if records._roots[epoch % records.RING] != expected_root:
        assert epoch > 0, "no active root"
        raise "root was updated"
    return head >> 136


@internal
def _pay(account: address, due: uint256, word: uint256):
    recipient: address = convert(word >> 96, address)
    self._accounts[account] = unsafe_add(word, due)  # claimed + due ≤ total < 2**96
    if recipient == empty(address):
        recipient = account
    log Claimed(account=account, recipient=recipient, amount=due)
    extcall Token(token).mint(recipient, due, skip_contract_check=True)  # the constructor called it


@external
def claim(
    account: address,
    cumulative: uint256,
    proof: DynArray[bytes32, merkle.MAX_DEPTH],
    expected_root: bytes32,
) -> uint256:
    """
    @notice Pay an account what it earned and has not had, to its recipient; anyone may call. If the window has less
            room left than is due, that much is paid and the rest stays claimable. Returns base units paid.
    """
    total: uint256 = self._open_claims(expected_root)
    # merkle._root in place: the proof stays in calldata, which saves its copy
    node: bytes32 = merkle._leaf(account, cumulative)
    for sibling: bytes32 in proof:
        if convert(node, uint256) < convert(sibling, uint256):
            node = keccak256(abi_encode(node, sibling))
        else:
            node = keccak256(abi_encode(sibling, node))
    assert node == expected_root, "bad proof"
    word: uint256 = self._accounts[account]
    claimed: uint256 = word & (2**96 - 1)
    if cumulative <= claimed:
        assert cumulative == claimed, "cumulative below claimed"
        raise "nothing to claim"
    flow: uint256 = self._flow
    window: uint256 = block.timestamp // window_length
    spent: uint256 = 0
    if (flow >> 128) & (2**32 - 1) == window:
        spent = flow & (2**128 - 1)
    assert spent < window_cap, "window cap"
    due: uint256 = min(unsafe_sub(cumulative, claimed), unsafe_sub(window_cap, spent))
    claimed_total: uint256 = (flow >> 160) + due
    assert claimed_total <= total, "claims exceed the total"
    self._flow = (claimed_total << 160) | (window << 128) | unsafe_add(spent, due)
    self._pay(account, due, word)
    return due


@external
def claim_many(
    accounts: DynArray[address, MAX_BATCH],
    cumulatives: DynArray[uint256, MAX_BATCH],
    proofs: DynArray[DynArray[bytes32, merkle.MAX_DEPTH], MAX_BATCH],
    expected_root: bytes32,
) -> uint256:
    """
    @notice Claim for several accounts. One that has nothing to claim is skipped, so that nobody can spoil a batch by
            claiming one of its accounts first. Stops paying where the window is full. Returns base units paid.
    """
    assert len(accounts) == len(cumulatives) and len(accounts) == len(proofs), "lengths differ"
    total: uint256 = self._open_claims(expected_root)
    flow: uint256 = self._flow
    window: uint256 = block.timestamp // window_length
    spent: uint256 = 0
    if (flow >> 128) & (2**32 - 1) == window:
        spent = flow & (2**128 - 1)
    paid: uint256 = 0
    for i: uint256 in range(len(accounts), bound=MAX_BATCH):
        assert merkle._root(merkle._leaf(accounts[i], cumulatives[i]), proofs[i]) == expected_root, "bad proof"
        word: uint256 = self._accounts[accounts[i]]
        claimed: uint256 = word & (2**96 - 1)
        if cumulatives[i] <= claimed or spent >= window_cap:
            continue
        due: uint256 = min(cumulatives[i] - claimed, window_cap - spent)
        spent += due
        paid += due
        self._pay(accounts[i], due, word)
    assert paid > 0, "nothing to claim"
    claimed_total: uint256 = (flow >> 160) + paid
    assert claimed_total <= total, "claims exceed the total"
    self._flow = (claimed_total << 160) | (window << 128) | spent
    return paid


@external
def request_recipient(recipient: address):
    """
    @notice Ask that the caller's rewards be paid elsewhere (zero: to the account itself). It takes effect by
            `confirm_recipient` after the delay, so the owner of a stolen key has time to claim first.
    """
    ready_at: uint256 = block.timestamp + recipient_delay
    self.redirects[msg.sender] = Redirect(recipient=recipient, ready_at=ready_at)
    log RecipientRequested(account=msg.sender, recipient=recipient, ready_at=ready_at)


@external
def confirm_recipient(account: address):
    """
    @notice Let a requested recipient take effect. Anyone may call.
    """
    redirect: Redirect = self.redirects[account]
    assert redirect.ready_at > 0, "no request"
    assert block.timestamp >= redirect.ready_at, "delay has not passed"
    self.redirects[account] = empty(Redirect)
    self._accounts[account] = (convert(redirect.recipient, uint256) << 96) | (self._accounts[account] & (2**96 - 1))
    log RecipientChanged(account=account, recipient=redirect.recipient)


# ---- views -----------------------------------------------------------------------------------------------------------


@external
@view
def active_epoch() -> uint256:
    return records._current().active_epoch


@external
@view
def live_epoch() -> uint256:
    """
    @notice The newest epoch that was posted and not cancelled; the next post must be this plus one.
    """
    return records._read_head(records._head).live_epoch


@external
@view
def attempt() -> uint256:
    """
    @notice Number of cancellations so far; every root digest binds it, so a cancelled root cannot be posted again.
    """
    return records._read_head(records._head).attempt


@external
@view
def active_root() -> bytes32:
    head: records.Head = records._current()
    if head.active_epoch == 0:
        return empty(bytes32)
    return records._roots[head.active_epoch % records.RING]


@external
@view
def active_total() -> uint256:
    return records._current().active_total


@external
@view
def live_root() -> bytes32:
    """
    @notice Root of the newest live record: the `previousRoot` of the next digest. Zero before the first post.
    """
    head: records.Head = records._read_head(records._head)
    if head.live_epoch == 0:
        return empty(bytes32)
    return records._roots[head.live_epoch % records.RING]


@external
@view
def record(epoch: uint256) -> Record:
    """
    @notice The record of an epoch; status 0 when it was never posted or its slot was used again since.
    """
    meta: records.Meta = records._load_meta(epoch)
    if epoch == 0 or meta.epoch != epoch:
        return empty(Record)
    head: records.Head = records._current()
    status: uint256 = PENDING
    if epoch > head.live_epoch:
        status = CANCELLED
    elif epoch < head.active_epoch:
        status = SUPERSEDED
    elif epoch == head.active_epoch:
        status = ACTIVE
    elif meta.disputed:
        status = DISPUTED
    slot: uint256 = epoch % records.RING
    return Record(
        status=status,
        root=records._roots[slot],
        data_hash=records._data_hashes[slot],
        total=meta.total,
        activation=meta.activation,
        attempt=meta.attempt,
        dispute=meta.dispute,
    )


@external
@view
def claimed(account: address) -> uint256:
    return self._accounts[account] & (2**96 - 1)


@external
@view
def recipient_of(account: address) -> address:
    recipient: address = convert(self._accounts[account] >> 96, address)
    return account if recipient == empty(address) else recipient


@external
@view
def claimed_total() -> uint256:
    return self._flow >> 160


@external
@view
def window_room() -> uint256:
    """
    @notice Base units that may still be claimed in the current window.
    """
    if (self._flow >> 128) & (2**32 - 1) != block.timestamp // window_length:
        return window_cap
    return window_cap - (self._flow & (2**128 - 1))


@external
@view
def DOMAIN_SEPARATOR() -> bytes32:
    return eip712._separator()
