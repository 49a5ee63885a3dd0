# pragma version 0.4.3
# pragma evm-version cancun
# SPDX-License-Identifier: Apache-2.0
"""
@title Credits: burn tokens, receive non-transferable credits in micro-dollars
@notice The rate is conservative (average price − 2 · confidence), must be fresh, and only rises by decision of the
        price poster or the verifiers' quorum; credits per period are capped, so a wrong price has a bounded cost.
        Formula: credits = floor(tokens · rate / 10**18). Invariant: Σ balances = total issued − total debited.
"""
import eip712

initializes: eip712

interface Token:
    def burnFrom(owner: address, amount: uint256): nonpayable

interface Quorum:
    def check_quorum(digest: bytes32, signatures: Bytes[65 * 16]) -> bool: view
    def signer_set_version() -> uint256: view

event PricePosted:
    average: uint256
    confidence: uint256
    time_s: uint256
    rate: uint256

event Burned:
    payer: indexed(address)
    account: indexed(address)
    reference: indexed(bytes32)
    tokens: uint256
    credits: uint256
    rate: uint256

event Debited:
    account: indexed(address)
    reference: indexed(bytes32)
    credits: uint256

event SpenderChanged:
    spender: address

PRICE_TYPE: constant(bytes32) = keccak256(
    "Price(uint256 average,uint256 confidence,uint256 timeS,uint256 signerSetVersion)"
)
TOKEN_BASE: constant(uint256) = 10**18

token: public(immutable(address))
rewards: public(immutable(address))
price_poster: public(immutable(address))
max_price_age: public(immutable(uint256))
period_length: public(immutable(uint256))
period_cap: public(immutable(uint256))

spender: public(address)
# rate 128 | time 40: one word
_price: uint256
# period index 128 | issued in it 128
_period: uint256
balanceOf: public(HashMap[address, uint256])
total_issued: public(uint256)
total_debited: public(uint256)


@deploy
def __init__(
    token_: address,
    rewards_: address,
    price_poster_: address,
    spender_: address,
    max_price_age_: uint256,
    period_length_: uint256,
    period_cap_: uint256,
):
    """
    @param rewards_ holds the signer set that signs prices
    @param price_poster_ may post prices alone; zero: only the quorum may
    @param spender_ the network, which debits credits as they are used
    @param period_cap_ most credits (micro-USD) issued per period of `period_length_` seconds
    """
    assert token_ != empty(address) and rewards_ != empty(address) and spender_ != empty(address), "zero address"
    assert max_price_age_ > 0 and period_length_ > 0, "zero time"
    assert period_cap_ > 0 and period_cap_ < 2**128, "cap out of range"
    eip712.__init__(keccak256("Fieldstone Credits"))
    token = token_
    rewards = rewards_
    price_poster = price_poster_
    self.spender = spender_
    max_price_age = max_price_age_
    period_length = period_length_
    period_cap = period_cap_


@external
def post_price(average: uint256, confidence: uint256, time_s: uint256, signatures: Bytes[65 * 16]):
    """
    @notice Set the price in micro-USD per whole token, as of `time_s`, with its confidence interval. The poster sends
            it with empty signatures; anyone else brings the quorum's.
    """
    if price_poster == empty(address) or msg.sender != price_poster:
        digest: bytes32 = eip712._digest(
            keccak256(
                abi_encode(
                    PRICE_TYPE, average, confidence, time_s, staticcall Quorum(rewards).signer_set_version()
                )
            )
        )
        assert staticcall Quorum(rewards).check_quorum(digest, signatures), "no quorum"
    assert time_s <= block.timestamp, "price from the future"
    assert time_s > self._price & (2**40 - 1), "older than the current price"
    assert block.timestamp - time_s <= max_price_age, "price is stale"
    assert average < 2**127 and confidence < 2**126, "price out of range"
    assert average > 2 * confidence, "confidence too wide"
    rate: uint256 = average - 2 * confidence
    self._price = (rate << 40) | time_s
    log PricePosted(average=average, confidence=confidence, time_s=time_s, rate=rate)


@internal
@view
def _rate() -> uint256:
    price: uint256 = self._price
    assert price > 0, "no price"
    assert block.timestamp - (price & (2**40 - 1)) <= max_price_age, "price is stale"
    return price >> 40


@internal
def _issue(account: address, tokens: uint256, credits: uint256, rate: uint256, reference: bytes32):
    assert account != empty(address), "zero account"
    assert credits > 0, "amount too small"
    period: uint256 = block.timestamp // period_length
    issued: uint256 = credits
    if self._period >> 128 == period:
        issued += self._period & (2**128 - 1)
    assert issued <= period_cap, "period cap"
    self._period = (period << 128) | issued
    self.balanceOf[account] += credits
    self.total_issued += credits
    log Burned(
        payer=msg.sender, account=account, reference=reference, tokens=tokens, credits=credits, rate=rate
    )
    extcall Token(token).burnFrom(msg.sender, tokens)


@external
def burn_exact_in(tokens: uint256, min_credits: uint256, account: address, reference: bytes32) -> uint256:
    """
    @notice Burn exactly `tokens` (allowance needed); returns the credits issued, at least `min_credits`.
    @param reference free 32 bytes for the network's books, such as a customer's id
    """
    rate: uint256 = self._rate()
    credits: uint256 = tokens * rate // TOKEN_BASE
    assert credits >= min_credits, "fewer credits than asked"
    self._issue(account, tokens, credits, rate, reference)
    return credits


@external
def burn_exact_out(credits: uint256, max_tokens: uint256, account: address, reference: bytes32) -> uint256:
    """
    @notice Receive exactly `credits`; returns the tokens burned (rounded up), at most `max_tokens`.
    """
    rate: uint256 = self._rate()
    tokens: uint256 = (credits * TOKEN_BASE + rate - 1) // rate
    assert tokens <= max_tokens, "more tokens than allowed"
    self._issue(account, tokens, credits, rate, reference)
    return tokens


@external
def debit(account: address, credits: uint256, reference: bytes32):
    """
    @notice The network takes credits for delivered service. Credits never move to anyone else.
    """
    assert msg.sender == self.spender, "only the spender"
    balance: uint256 = self.balanceOf[account]
    assert balance >= credits, "not enough credits"
    self.balanceOf[account] = unsafe_sub(balance, credits)
    self.total_debited += credits
    log Debited(account=account, reference=reference, credits=credits)


@external
def set_spender(spender_: address):
    """
    @notice The spender hands over to another key.
    """
    assert msg.sender == self.spender, "only the spender"
    assert spender_ != empty(address), "zero address"
    self.spender = spender_
    log SpenderChanged(spender=spender_)


@external
@view
def rate() -> uint256:
    """
    @notice Micro-USD of credits per whole token burned now; reverts without a fresh price.
    """
    return self._rate()


@external
@view
def price_time() -> uint256:
    return self._price & (2**40 - 1)


@external
@view
def period_room() -> uint256:
    """
    @notice Credits that may still be issued in the current period.
    """
    if self._period >> 128 != block.timestamp // period_length:
        return period_cap
    return period_cap - (self._period & (2**128 - 1))


@external
@view
def DOMAIN_SEPARATOR() -> bytes32:
    return eip712._separator()
