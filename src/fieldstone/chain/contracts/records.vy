# pragma version 0.4.3
# SPDX-License-Identifier: Apache-2.0
"""
@title Settlement records: a ring of slots and the head word that says which one pays
@notice Epochs activate strictly in order. `next_activation` of the head is the moment the record after the active one
        may take over: its activation time, or NEVER while it is disputed or does not exist. So a claim decides with
        one word whether anything changed. A record whose epoch is above `live_epoch` has been cancelled; no slot needs
        to be rewritten to cancel it.
"""

RING: constant(uint256) = 32
NEVER: constant(uint256) = 2**40 - 1

# active total 96 | next activation 40 | active epoch 32 | live epoch 32 | attempt 32
struct Head:
    active_total: uint256
    next_activation: uint256
    active_epoch: uint256
    live_epoch: uint256
    attempt: uint256

# total 96 | activation 40 | epoch 32 | attempt 32 | dispute 32 | rejections 8 | disputed 8
struct Meta:
    total: uint256
    activation: uint256
    epoch: uint256
    attempt: uint256
    dispute: uint256
    rejections: uint256
    disputed: bool

_head: uint256
_metas: uint256[RING]
_roots: bytes32[RING]
_data_hashes: bytes32[RING]


@deploy
def __init__():
    self._head = NEVER << 96


@internal
@pure
def _read_head(word: uint256) -> Head:
    return Head(
        active_total=word >> 136,
        next_activation=(word >> 96) & (2**40 - 1),
        active_epoch=(word >> 64) & (2**32 - 1),
        live_epoch=(word >> 32) & (2**32 - 1),
        attempt=word & (2**32 - 1),
    )


@internal
def _store_head(head: Head):
    self._head = (
        (head.active_total << 136)
        | (head.next_activation << 96)
        | (head.active_epoch << 64)
        | (head.live_epoch << 32)
        | head.attempt
    )


@internal
@view
def _load_meta(epoch: uint256) -> Meta:
    word: uint256 = self._metas[epoch % RING]
    return Meta(
        total=word >> 160,
        activation=(word >> 120) & (2**40 - 1),
        epoch=(word >> 88) & (2**32 - 1),
        attempt=(word >> 56) & (2**32 - 1),
        dispute=(word >> 24) & (2**32 - 1),
        rejections=(word >> 16) & (2**8 - 1),
        disputed=word & (2**8 - 1) == 1,
    )


@internal
def _store_meta(meta: Meta):
    self._metas[meta.epoch % RING] = (
        (meta.total << 160)
        | (meta.activation << 120)
        | (meta.epoch << 88)
        | (meta.attempt << 56)
        | (meta.dispute << 24)
        | (meta.rejections << 16)
        | convert(meta.disputed, uint256)
    )


@internal
@view
def _next_activation(active_epoch: uint256, live_epoch: uint256) -> uint256:
    if active_epoch == live_epoch:
        return NEVER
    word: uint256 = self._metas[(active_epoch + 1) % RING]
    if word & (2**8 - 1) == 1:
        return NEVER
    return (word >> 120) & (2**40 - 1)


@internal
@view
def _advance(stored: uint256) -> uint256:
    """
    @notice The head word brought up to the block's time: every due record takes over, in order. On the word, not on
            the struct, because every claim passes here.
    """
    next_activation: uint256 = (stored >> 96) & (2**40 - 1)
    if block.timestamp < next_activation:
        return stored
    active_epoch: uint256 = (stored >> 64) & (2**32 - 1)
    live_epoch: uint256 = (stored >> 32) & (2**32 - 1)
    for i: uint256 in range(RING):
        active_epoch = unsafe_add(active_epoch, 1)
        next_activation = self._next_activation(active_epoch, live_epoch)
        if block.timestamp < next_activation:
            break
    total: uint256 = self._metas[active_epoch % RING] >> 160
    return (total << 136) | (next_activation << 96) | (active_epoch << 64) | (stored & (2**64 - 1))


@internal
@view
def _current() -> Head:
    return self._read_head(self._advance(self._head))
