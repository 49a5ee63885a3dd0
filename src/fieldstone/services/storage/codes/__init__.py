"""Storage codes: erasure code, audit trees, piece commitments, roots of other networks, encryption, checksums.

Pure and fast: bytes in, bytes out; no clock, no files, no network. Import the module you need, for example
`from fieldstone.services.storage.codes import erasure`; nothing heavy is loaded before that.

    erasure        Reed–Solomon over GF(256): any k of n shares give everything back
    stripes        how a segment is laid out over its shares, and which bytes of them cover a range
    fast_tree      BLAKE3 audit tree of a share: commitment, paths
    chunk_opening  proofs that one KiB of a share is held, and their verification
    cipher         authenticated encryption of a segment in chunks, so that ranges stay readable
    commp          Filecoin piece commitment (fr32, SHA-254), its proofs and PDP challenges
    piece_cid      PieceCID v1 and v2
    arweave        data_root, data paths
    sia            sector roots
    checksums      the five checksums of S3, combined over parts
"""

from __future__ import annotations

__all__ = [
    "arweave",
    "checksums",
    "chunk_opening",
    "cipher",
    "commp",
    "erasure",
    "fast_tree",
    "fr32",
    "piece_cid",
    "sia",
    "stripes",
]
