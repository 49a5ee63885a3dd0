# pragma version 0.4.3
# pragma evm-version cancun
# SPDX-License-Identifier: Apache-2.0
"""
@title The network's token: ERC-20 with EIP-2612 permit
@notice New tokens come from one contract only, fixed at deployment: Rewards, which holds the schedule. What exists
        before the first reward (`genesis_supply`) is visible in the constructor. No owner, no pause, no upgrade.
        Invariant: total supply = genesis + minted − burned ≤ max supply.
"""
import eip712

initializes: eip712

event Transfer:
    sender: indexed(address)
    receiver: indexed(address)
    amount: uint256

event Approval:
    owner: indexed(address)
    spender: indexed(address)
    amount: uint256

PERMIT_TYPE: constant(bytes32) = keccak256(
    "Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)"
)
# order of secp256k1, halved (EIP-2)
HALF_CURVE_ORDER: constant(uint256) = 57896044618658097711785492504343953926418782139537452191302581570759080747168

decimals: public(constant(uint8)) = 18
minter: public(immutable(address))
max_supply: public(immutable(uint256))
genesis_supply: public(immutable(uint256))

name: public(String[32])
symbol: public(String[12])
totalSupply: public(uint256)
balanceOf: public(HashMap[address, uint256])
allowance: public(HashMap[address, HashMap[address, uint256]])
nonces: public(HashMap[address, uint256])


@deploy
def __init__(
    name_: String[32],
    symbol_: String[12],
    minter_: address,
    genesis_holder: address,
    genesis_supply_: uint256,
    max_supply_: uint256,
):
    """
    @param minter_ address of Rewards, computed before it is deployed; Rewards refuses to deploy anywhere else
    @param max_supply_ base units; below 2**96, because Rewards packs amounts into 96 bits
    """
    assert minter_ != empty(address), "zero minter"
    assert genesis_supply_ <= max_supply_, "genesis above max supply"
    assert max_supply_ < 2**96, "max supply too large"
    assert genesis_holder != empty(address) or genesis_supply_ == 0, "zero holder"
    eip712.__init__(keccak256(name_))
    self.name = name_
    self.symbol = symbol_
    minter = minter_
    max_supply = max_supply_
    genesis_supply = genesis_supply_
    if genesis_supply_ > 0:
        self._mint(genesis_holder, genesis_supply_)


@internal
def _mint(receiver: address, amount: uint256):
    assert receiver != empty(address), "zero receiver"
    supply: uint256 = self.totalSupply + amount
    assert supply <= max_supply, "max supply"
    self.totalSupply = supply
    self.balanceOf[receiver] += amount
    log Transfer(sender=empty(address), receiver=receiver, amount=amount)


@internal
def _transfer(sender: address, receiver: address, amount: uint256):
    assert receiver != empty(address), "zero receiver"
    balance: uint256 = self.balanceOf[sender]
    assert balance >= amount, "balance too low"
    self.balanceOf[sender] = unsafe_sub(balance, amount)
    self.balanceOf[receiver] += amount
    log Transfer(sender=sender, receiver=receiver, amount=amount)


@internal
def _approve(owner: address, spender: address, amount: uint256):
    assert spender != empty(address), "zero spender"
    self.allowance[owner][spender] = amount
    log Approval(owner=owner, spender=spender, amount=amount)


@internal
def _spend(owner: address, spender: address, amount: uint256):
    allowed: uint256 = self.allowance[owner][spender]
    if allowed != max_value(uint256):
        assert allowed >= amount, "allowance too low"
        self.allowance[owner][spender] = unsafe_sub(allowed, amount)


@internal
def _burn(owner: address, amount: uint256):
    balance: uint256 = self.balanceOf[owner]
    assert balance >= amount, "balance too low"
    self.balanceOf[owner] = unsafe_sub(balance, amount)
    self.totalSupply -= amount
    log Transfer(sender=owner, receiver=empty(address), amount=amount)


@external
def transfer(receiver: address, amount: uint256) -> bool:
    self._transfer(msg.sender, receiver, amount)
    return True


@external
def transferFrom(owner: address, receiver: address, amount: uint256) -> bool:
    self._spend(owner, msg.sender, amount)
    self._transfer(owner, receiver, amount)
    return True


@external
def approve(spender: address, amount: uint256) -> bool:
    self._approve(msg.sender, spender, amount)
    return True


@external
def permit(
    owner: address, spender: address, amount: uint256, deadline: uint256, v: uint8, r: bytes32, s: bytes32
):
    """
    @notice EIP-2612: approve by signature. Anyone may submit it; a nonce makes it valid once.
    """
    assert block.timestamp <= deadline, "permit expired"
    assert owner != empty(address), "zero owner"
    assert convert(s, uint256) <= HALF_CURVE_ORDER, "high s"
    nonce: uint256 = self.nonces[owner]
    digest: bytes32 = eip712._digest(
        keccak256(abi_encode(PERMIT_TYPE, owner, spender, amount, nonce, deadline))
    )
    assert ecrecover(digest, v, r, s) == owner, "bad permit signature"
    self.nonces[owner] = nonce + 1
    self._approve(owner, spender, amount)


@external
@view
def DOMAIN_SEPARATOR() -> bytes32:
    return eip712._separator()


@external
def mint(receiver: address, amount: uint256):
    """
    @notice Create tokens. Only Rewards, which never asks for more than its schedule allows.
    """
    assert msg.sender == minter, "only the minter"
    self._mint(receiver, amount)


@external
def burn(amount: uint256):
    self._burn(msg.sender, amount)


@external
def burnFrom(owner: address, amount: uint256):
    """
    @notice Burn from an allowance; this is how Credits takes payment.
    """
    self._spend(owner, msg.sender, amount)
    self._burn(owner, amount)
