"""Storage codes: CPU time per core of erasure code, commitments, trees, audits, encryption, beside zfec and hashlib.

Run: python bench/storage_codes.py   (about two minutes). The peer zfec runs in its own Python when ZFEC_PYTHON names one that
has it (`python -m venv x && x/bin/pip install zfec`); without it its column is empty. All figures are CPU seconds of one
thread (`time.process_time`), best of twelve short runs, so they hold better on a busy machine; compare ratios between machines.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable

from fieldstone.services.storage.codes import arweave, chunk_opening, cipher, commp, fast_tree, sia
from fieldstone.services.storage.codes.erasure import Code
from fieldstone.services.storage.codes.stripes import Layout

MB = 1e6
ZFEC = """
import os, sys, time, zfec
k, n, length = map(int, sys.argv[1:])
data = [os.urandom(length) for _ in range(k)]
encoder, best = zfec.Encoder(k, n), 0
for _ in range(3):
    start = time.process_time()
    encoder.encode(data)
    best = max(best, k * length / 1e6 / (time.process_time() - start))
print(best)
"""


def best_rate(work: Callable[[], object], amount: float, least_seconds: float = 0.08) -> float:
    """Return amount per CPU second, best of twelve runs of at least `least_seconds` each."""
    work()
    best = 0.0
    for _ in range(12):
        start, done = time.process_time(), 0.0
        while (spent := time.process_time() - start) < least_seconds:
            work()
            done += amount
        best = max(best, done / spent)
    return best


def zfec_rate(k: int, n: int) -> float | None:
    python = os.environ.get("ZFEC_PYTHON")
    if not python:
        return None
    # few bytes: zfec is slow
    done = subprocess.run(
        [python, "-c", ZFEC, str(k), str(n), str(256 * 1024)], capture_output=True, text=True, timeout=120
    )
    return float(done.stdout) if done.returncode == 0 else None


def erasure_codes() -> None:
    print("erasure code, MB of source per CPU second (blocks of 64 KiB; decode: as many data shares lost as possible)")
    print(f"{'k/n':>8} {'encode':>9} {'ISA-L':>9} {'decode':>9} {'portable':>9} {'zfec':>9} {'ratio':>7}")
    for k, n in ((29, 80), (20, 40), (10, 30), (16, 20), (4, 6)):
        length = 64 * 1024
        data = [random.randbytes(length) for _ in range(k)]
        machine, portable = Code(k, n), Code(k, n, portable=True)
        shares = dict(enumerate([*data, *machine.encode(data)]))
        have = {i: shares[i] for i in range(n - k, n)}
        lost = [i for i in range(k) if i not in have]
        size = k * length / MB
        encode = best_rate(lambda m=machine, d=data: m.encode(d), size)  # type: ignore[misc]
        plain = Code(k, n)
        plain._parity = plain._product(plain.matrix[k:])  # the matrix alone, also where the transform is used
        isal = best_rate(lambda m=plain, d=data: m.encode(d), size)  # type: ignore[misc]
        decode = best_rate(lambda m=machine, h=have, w=lost: m.decode(h, w), size)  # type: ignore[misc]
        slow = best_rate(lambda m=portable, d=data: m.encode(d), size, 0.02)  # type: ignore[misc]
        peer = zfec_rate(k, n)
        columns = f"{k:>5}/{n:<2} {encode:9.0f} {isal:9.0f} {decode:9.0f} {slow:9.0f}"
        print(columns + (f" {peer:9.0f} {encode / peer:6.1f}x" if peer else f" {'-':>9} {'-':>7}"))


def segments() -> None:
    print("\na segment of 16 MiB in blocks of 64 KiB, MB of segment per CPU second (lost: the first data shares)")
    print(f"{'k/n':>8} {'to shares':>10} {'all data':>10} {'half lost':>10}")
    data = random.randbytes(16 * 1024 * 1024)
    for k, n in ((29, 80), (20, 40), (4, 6)):
        layout = Layout(len(data), k, n, 64 * 1024)
        shares = layout.encode_segment(data)
        whole = dict(enumerate(shares[:k]))
        gone = min(k // 2, n - k)
        torn = dict(list(enumerate(shares))[gone : gone + k])
        work = (
            lambda w=layout: w.encode_segment(data),
            lambda w=layout, h=whole: w.assemble(h),
            lambda w=layout, h=torn: w.assemble(h),
        )
        rates = [best_rate(each, len(data) / MB) for each in work]  # type: ignore[arg-type]
        print(f"{k:>5}/{n:<2} " + " ".join(f"{rate:10.0f}" for rate in rates))


def hashing() -> None:
    import hashlib

    data = random.randbytes(16 * 1024 * 1024)
    size = len(data) / MB
    print("\nhashing and encryption, MB per CPU second")
    rows: list[tuple[str, Callable[[], object], float]] = [
        ("hashlib SHA-256, for scale", lambda: hashlib.sha256(data).digest(), size),
        ("CommP", lambda: commp.commit(data), size),
        ("fast tree, 64 KiB leaves", lambda: fast_tree.Tree.build(data), size),
        ("fast tree, 16 KiB leaves", lambda: fast_tree.Tree.build(data, 16384), size),
        ("fast tree, 4 KiB leaves", lambda: fast_tree.Tree.build(data, 4096), size),
        ("fast tree, 1 KiB leaves", lambda: fast_tree.Tree.build(data, 1024), size),
        ("Arweave data_root", lambda: arweave.build(data), size),
        ("Sia sector root", lambda: sia.sector_root(data[: sia.SECTOR_BYTES]), sia.SECTOR_BYTES / MB),
    ]
    machine = cipher.SegmentCipher(bytes(32), bytes(16))
    sealed = machine.seal(data)
    rows += [("cipher, seal", lambda: machine.seal(data), size), ("cipher, open", lambda: machine.open(sealed), size)]
    for name, work, amount in rows:
        print(f"{name:<28} {best_rate(work, amount):9.0f}")


def audits() -> None:
    print("\naudits verified per CPU second         together     one by one")
    for leaf_bytes, leaves in ((65536, 1 << 14), (16384, 1 << 16), (4096, 1 << 16), (1024, 1 << 12)):
        leaf = random.randbytes(leaf_bytes)
        height = leaves.bit_length() - 1
        path = [random.randbytes(32) for _ in range(height)]
        top, index = fast_tree.leaf_hash(leaf), random.randrange(leaves)
        for level, sibling in enumerate(path):
            top = fast_tree.node_hash(sibling, top) if index >> level & 1 else fast_tree.node_hash(top, sibling)
        size = leaves * leaf_bytes
        root = fast_tree.commitment_of(size, leaf_bytes, top)
        inside = random.randrange(leaf_bytes - 1)
        place = chunk_opening.chunk_of(size, leaf_bytes, index * leaf_bytes + inside)
        low = place.start - index * leaf_bytes
        siblings = chunk_opening.inner_siblings([leaf], [inside])[0] + b"".join(path)
        chunk = leaf[low : low + place.end - place.start]
        claim = chunk_opening.Claim(root, size, leaf_bytes, place.start, chunk, siblings)
        assert all(chunk_opening.verify_all([claim] * 512))
        together = best_rate(lambda c=[claim] * 512: chunk_opening.verify_all(c), 512)  # type: ignore[misc]
        alone = best_rate(lambda c=claim: chunk_opening.verify(c), 1)  # type: ignore[misc]
        print(f"a KiB, {leaf_bytes // 1024:>2} KiB leaves, {height} levels {together:12.0f} {alone:14.0f}")
    claims = []
    for _ in range(2048):
        leaf, path, index = bytes(32), [random.randbytes(32) for _ in range(30)], random.randrange(1 << 30)
        claims.append(commp.Claim(bytes(32), 30, index, leaf, path))
    together = best_rate(lambda: commp.verify_all(claims), len(claims))
    alone = best_rate(lambda: commp.verify(*claims[0]), 1)
    print(f"CommP, 30 levels                {together:12.0f} {alone:14.0f}")


def main() -> int:
    """Print the tables."""
    erasure_codes()
    segments()
    hashing()
    audits()
    return 0


if __name__ == "__main__":
    sys.exit(main())
