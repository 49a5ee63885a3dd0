# pragma version 0.4.3
# SPDX-License-Identifier: Apache-2.0
"""
@title k-of-n signatures of the network's verifiers
@notice Signatures are 65 bytes each (r ‖ s ‖ v), concatenated in ascending order of their signer's address. Strict
        order makes a duplicate impossible and refuses ecrecover's zero; a high s is refused, so a signature set has
        one form. Rotating the set bumps its version, and every digest names the version, so old signatures die.
"""
import eip712

uses: eip712

MAX_SIGNERS: constant(uint256) = 16
MAX_SIGNATURE_BYTES: constant(uint256) = 65 * 16
# order of secp256k1, halved (EIP-2)
HALF_CURVE_ORDER: constant(uint256) = 57896044618658097711785492504343953926418782139537452191302581570759080747168
ROTATION_TYPE: constant(bytes32) = keccak256(
    "RotateSigners(address[] signers,uint256 threshold,uint256 signerSetVersion)"
)

event SignersRotated:
    version: indexed(uint256)
    signers: DynArray[address, MAX_SIGNERS]
    threshold: uint256

# version << 8 | threshold: one cold read per quorum check
_state: uint256
# set version in which an address last was a signer; equal to the current version = a signer now
_version_of: HashMap[address, uint256]
_signers: DynArray[address, MAX_SIGNERS]


@deploy
def __init__(signers: DynArray[address, MAX_SIGNERS], threshold: uint256):
    self._install(signers, threshold)


@internal
def _install(signers: DynArray[address, MAX_SIGNERS], threshold: uint256):
    assert threshold > 0 and threshold <= len(signers), "threshold out of range"
    version: uint256 = (self._state >> 8) + 1
    last: uint256 = 0
    for signer: address in signers:
        number: uint256 = convert(signer, uint256)
        assert number > last, "signers not ascending"
        last = number
        self._version_of[signer] = version
    self._signers = signers
    self._state = (version << 8) | threshold
    log SignersRotated(version=version, signers=signers, threshold=threshold)


@internal
@view
def _version() -> uint256:
    return self._state >> 8


@internal
@view
def _check(digest: bytes32, signatures: Bytes[MAX_SIGNATURE_BYTES]):
    state: uint256 = self._state
    version: uint256 = state >> 8
    count: uint256 = len(signatures) // 65
    assert count * 65 == len(signatures), "bad signature length"
    assert count >= state & 255, "too few signatures"
    last: uint256 = 0
    for i: uint256 in range(count, bound=MAX_SIGNERS):
        r: uint256 = extract32(signatures, 65 * i, output_type=uint256)
        s: uint256 = extract32(signatures, 65 * i + 32, output_type=uint256)
        v: uint256 = convert(slice(signatures, 65 * i + 64, 1), uint256)
        assert s <= HALF_CURVE_ORDER, "high s"
        signer: address = ecrecover(digest, v, r, s)
        number: uint256 = convert(signer, uint256)
        assert number > last, "signers not ascending"
        last = number
        assert self._version_of[signer] == version, "not a signer"


@external
def rotate_signers(
    signers: DynArray[address, MAX_SIGNERS], threshold: uint256, signatures: Bytes[MAX_SIGNATURE_BYTES]
):
    """
    @notice Replace the whole signer set by decision of the current quorum; anyone may submit it.
    """
    encoded: Bytes[32 * (MAX_SIGNERS + 2)] = abi_encode(signers)
    members: bytes32 = keccak256(slice(encoded, 64, 32 * len(signers)))
    digest: bytes32 = eip712._digest(
        keccak256(abi_encode(ROTATION_TYPE, members, threshold, self._state >> 8))
    )
    self._check(digest, signatures)
    self._install(signers, threshold)


@external
@view
def check_quorum(digest: bytes32, signatures: Bytes[MAX_SIGNATURE_BYTES]) -> bool:
    """
    @notice True, or a revert with the reason, for `signatures` over `digest`. The digest must name the set version.
    """
    self._check(digest, signatures)
    return True


@external
@view
def signer_set_version() -> uint256:
    return self._state >> 8


@external
@view
def threshold() -> uint256:
    return self._state & 255


@external
@view
def signers() -> DynArray[address, MAX_SIGNERS]:
    return self._signers


@external
@view
def is_signer(account: address) -> bool:
    return account != empty(address) and self._version_of[account] == self._state >> 8
