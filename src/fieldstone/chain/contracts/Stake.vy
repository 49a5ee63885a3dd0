# pragma version 0.4.3
# pragma evm-version cancun
# SPDX-License-Identifier: Apache-2.0
"""
@title Stake: bonds of operators and devices, slashed only by a resolved dispute
@notice A bond belongs to (owner, key): key is a device's 32-byte hash, or zero for the operator's own bond; nobody can
        occupy another's key. Unbonding lasts longer than activation delay + dispute period of Rewards and than a case
        here (checked at deployment), and an open case freezes withdrawal, so nobody leaves between fault and verdict.
        Anyone may open a case against a bond; the verifiers' quorum decides it; undecided it lapses and its bond returns.
        A slash takes the same fraction of what is staked and of what is unbonding.
        The events alone tell every bond at every block, so nobody needs a node that keeps old states.
        Invariant: token balance = Σ staked + Σ unbonding + Σ bonds of open cases (+ what was sent here by mistake).
"""
import eip712

initializes: eip712

interface Token:
    def transfer(receiver: address, amount: uint256) -> bool: nonpayable
    def transferFrom(owner: address, receiver: address, amount: uint256) -> bool: nonpayable

interface Rewards:
    def check_quorum(digest: bytes32, signatures: Bytes[65 * 16]) -> bool: view
    def signer_set_version() -> uint256: view
    def activation_delay() -> uint256: view
    def dispute_period() -> uint256: view

event Staked:
    owner: indexed(address)
    key: indexed(bytes32)
    payer: address
    amount: uint256

event UnbondRequested:
    owner: indexed(address)
    key: indexed(bytes32)
    amount: uint256
    ready_at: uint256

event Withdrawn:
    owner: indexed(address)
    key: indexed(bytes32)
    amount: uint256

event CaseOpened:
    case: indexed(uint256)
    owner: indexed(address)
    key: indexed(bytes32)
    accuser: address
    evidence_hash: bytes32
    deadline: uint256

event CaseClosed:
    case: indexed(uint256)
    outcome: uint256
    bond_to: address

event Slashed:
    case: indexed(uint256)
    owner: indexed(address)
    key: indexed(bytes32)
    from_staked: uint256
    from_unbonding: uint256

SLASH_TYPE: constant(bytes32) = keccak256(
    "Slash(uint256 case,address owner,bytes32 key,bytes32 evidenceHash,uint256 fractionPpm,bool upheld,uint256 signerSetVersion)"
)
PPM: constant(uint256) = 1_000_000

# case outcomes
OPEN: constant(uint256) = 1
UPHELD: constant(uint256) = 2
REJECTED: constant(uint256) = 3
EXPIRED: constant(uint256) = 4

struct Bond:
    staked: uint256
    unbonding: uint256
    ready_at: uint256
    open_cases: uint256

struct Case:
    accuser: address
    owner: address
    key: bytes32
    evidence_hash: bytes32
    deadline: uint256
    outcome: uint256

token: public(immutable(address))
rewards: public(immutable(address))
treasury: public(immutable(address))
unbonding_delay: public(immutable(uint256))
case_period: public(immutable(uint256))
case_bond: public(immutable(uint256))

bonds: public(HashMap[address, HashMap[bytes32, Bond]])
cases: public(HashMap[uint256, Case])
case_count: public(uint256)
total_bonded: public(uint256)


@deploy
def __init__(
    token_: address,
    rewards_: address,
    treasury_: address,
    unbonding_delay_: uint256,
    case_period_: uint256,
    case_bond_: uint256,
):
    """
    @notice Times in seconds, amounts in base units.
    """
    assert token_ != empty(address) and treasury_ != empty(address), "zero address"
    exposure: uint256 = (
        staticcall Rewards(rewards_).activation_delay() + staticcall Rewards(rewards_).dispute_period()
    )
    assert unbonding_delay_ > exposure, "unbonding shorter than the dispute window"
    assert case_period_ > 0 and unbonding_delay_ > case_period_, "unbonding shorter than a case"
    assert case_bond_ > 0, "zero case bond"
    eip712.__init__(keccak256("Fieldstone Stake"))
    token = token_
    rewards = rewards_
    treasury = treasury_
    unbonding_delay = unbonding_delay_
    case_period = case_period_
    case_bond = case_bond_


@internal
def _send(receiver: address, amount: uint256):
    if amount > 0:
        assert extcall Token(token).transfer(receiver, amount), "transfer failed"


@external
def stake(owner: address, key: bytes32, amount: uint256):
    """
    @notice Add to the bond of (owner, key) from the caller's tokens (allowance needed). Only the owner gets it back.
    """
    assert owner != empty(address), "zero owner"
    assert amount > 0, "zero amount"
    self.bonds[owner][key].staked += amount
    self.total_bonded += amount
    log Staked(owner=owner, key=key, payer=msg.sender, amount=amount)
    assert extcall Token(token).transferFrom(msg.sender, self, amount), "transfer failed"


@external
def request_unbond(key: bytes32, amount: uint256):
    """
    @notice Start taking back `amount`; a second request restarts the delay for everything that is unbonding.
    """
    bond: Bond = self.bonds[msg.sender][key]
    assert amount > 0, "zero amount"
    assert bond.staked >= amount, "stake too low"
    bond.staked -= amount
    bond.unbonding += amount
    bond.ready_at = block.timestamp + unbonding_delay
    self.bonds[msg.sender][key] = bond
    log UnbondRequested(owner=msg.sender, key=key, amount=amount, ready_at=bond.ready_at)


@external
def withdraw(key: bytes32) -> uint256:
    """
    @notice Pay out what has finished unbonding; refused while a case against the bond is open.
    """
    bond: Bond = self.bonds[msg.sender][key]
    amount: uint256 = bond.unbonding
    assert amount > 0, "nothing unbonding"
    assert block.timestamp >= bond.ready_at, "still unbonding"
    assert bond.open_cases == 0, "a case is open"
    self.bonds[msg.sender][key].unbonding = 0
    self.total_bonded -= amount
    log Withdrawn(owner=msg.sender, key=key, amount=amount)
    self._send(msg.sender, amount)
    return amount


@external
def open_case(owner: address, key: bytes32, evidence_hash: bytes32) -> uint256:
    """
    @notice Accuse the holder of a bond, against a bond of one's own (allowance needed). Returns the case's number.
    """
    bond: Bond = self.bonds[owner][key]
    assert bond.staked + bond.unbonding > 0, "nothing is bonded"
    assert evidence_hash != empty(bytes32), "empty evidence hash"
    case: uint256 = self.case_count + 1
    self.case_count = case
    deadline: uint256 = block.timestamp + case_period
    self.cases[case] = Case(
        accuser=msg.sender, owner=owner, key=key, evidence_hash=evidence_hash, deadline=deadline, outcome=OPEN
    )
    self.bonds[owner][key].open_cases = bond.open_cases + 1
    log CaseOpened(
        case=case, owner=owner, key=key, accuser=msg.sender, evidence_hash=evidence_hash, deadline=deadline
    )
    assert extcall Token(token).transferFrom(msg.sender, self, case_bond), "transfer failed"
    return case


@internal
def _close(number: uint256, outcome: uint256, bond_to: address):
    case: Case = self.cases[number]
    self.cases[number].outcome = outcome
    self.bonds[case.owner][case.key].open_cases -= 1
    log CaseClosed(case=number, outcome=outcome, bond_to=bond_to)
    self._send(bond_to, case_bond)


@external
def resolve_case(number: uint256, fraction_ppm: uint256, upheld: bool, signatures: Bytes[65 * 16]):
    """
    @notice The quorum's verdict. Upheld: `fraction_ppm` of the whole bond goes to the treasury and the accuser's bond
            returns. Rejected: the accuser's bond goes to the treasury.
    """
    case: Case = self.cases[number]
    assert case.outcome == OPEN, "case is not open"
    assert block.timestamp <= case.deadline, "deadline has passed"
    assert fraction_ppm <= PPM, "fraction out of range"
    digest: bytes32 = eip712._digest(
        keccak256(
            abi_encode(
                SLASH_TYPE,
                number,
                case.owner,
                case.key,
                case.evidence_hash,
                fraction_ppm,
                upheld,
                staticcall Rewards(rewards).signer_set_version(),
            )
        )
    )
    assert staticcall Rewards(rewards).check_quorum(digest, signatures), "no quorum"
    if not upheld:
        self._close(number, REJECTED, treasury)
        return
    bond: Bond = self.bonds[case.owner][case.key]
    from_staked: uint256 = bond.staked * fraction_ppm // PPM
    from_unbonding: uint256 = bond.unbonding * fraction_ppm // PPM
    amount: uint256 = from_staked + from_unbonding
    self.bonds[case.owner][case.key].staked = bond.staked - from_staked
    self.bonds[case.owner][case.key].unbonding = bond.unbonding - from_unbonding
    self.total_bonded -= amount
    log Slashed(
        case=number, owner=case.owner, key=case.key, from_staked=from_staked, from_unbonding=from_unbonding
    )
    self._close(number, UPHELD, case.accuser)
    self._send(treasury, amount)


@external
def expire_case(number: uint256):
    """
    @notice Nobody decided in time: nothing is slashed, the accuser's bond returns. Anyone may call.
    """
    case: Case = self.cases[number]
    assert case.outcome == OPEN, "case is not open"
    assert block.timestamp > case.deadline, "deadline has not passed"
    self._close(number, EXPIRED, case.accuser)


@external
@view
def bonded(owner: address, key: bytes32) -> uint256:
    """
    @notice What can still be slashed: staked plus unbonding.
    """
    return self.bonds[owner][key].staked + self.bonds[owner][key].unbonding


@external
@view
def DOMAIN_SEPARATOR() -> bytes32:
    return eip712._separator()
