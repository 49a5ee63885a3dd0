"""Build trees and proofs against `@openzeppelin/merkle-tree` 1.0.8, on the same input in the same run.

Run: `python bench/merkle.py [--peer-million]` from the repository root. Needs node and npm for the peer, which is
installed by name into a temporary folder; without them only our figures are printed. CPU seconds on both sides.
The peer builds 10,000 and 100,000 leaves; a million takes it minutes and is run on demand only.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

PEER = "@openzeppelin/merkle-tree@1.0.8"
PROGRAM = """
import { StandardMerkleTree } from "@openzeppelin/merkle-tree";
const count = Number(process.argv[2]);
const values = [];
for (let i = 1; i <= count; i++) values.push(["0x" + i.toString(16).padStart(40, "0"), (BigInt(i) * 10n ** 15n).toString()]);
const seconds = () => { const used = process.cpuUsage(); return (used.user + used.system) / 1e6; };
let start = seconds();
const tree = StandardMerkleTree.of(values, ["address", "uint256"]);
const build = seconds() - start;
const wanted = Math.min(count, 2000);
start = seconds();
for (let i = 0; i < wanted; i++) tree.getProof(i);
console.log(JSON.stringify({ root: tree.root, build_s: build, proof_s: (seconds() - start) / wanted }));
"""


def ours(count: int) -> dict[str, Any]:
    """Return root, CPU seconds of the build, and of all proofs."""
    from fieldstone.chain.merkle import Tree

    leaves = [(f"0x{number:040x}", number * 10**15) for number in range(1, count + 1)]
    start = time.process_time()
    tree = Tree(leaves)
    build_s = time.process_time() - start
    start = time.process_time()
    proofs = sum(len(chunk.lengths) for chunk in tree.proof_chunks())
    return {"root": tree.root_hex, "build_s": build_s, "proof_s": (time.process_time() - start) / proofs}


def peer(folder: Path, count: int) -> dict[str, Any]:
    """Return the same of the peer."""
    result = subprocess.run(
        ["node", "--max-old-space-size=6000", "bench.mjs", str(count)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
        timeout=900,
    )
    figures: dict[str, Any] = json.loads(result.stdout)
    return figures


def install_peer(folder: Path) -> bool:
    """Install the peer; False where node, npm or the registry is missing."""
    if not shutil.which("npm") or not shutil.which("node"):
        return False
    (folder / "package.json").write_text('{"private": true}')
    (folder / "bench.mjs").write_text(PROGRAM)
    command = ["npm", "install", "--no-audit", "--no-fund", "--silent", PEER]
    return subprocess.run(command, cwd=folder, capture_output=True, timeout=300).returncode == 0


def main() -> None:
    """Print one row per size; exit 1 when a root differs."""
    print(
        f"{'leaves':>9} {'ours build':>11} {'peer build':>11} {'ratio':>7} {'ours proofs':>12} {'peer proofs':>12} {'ratio':>7}  (CPU s, all proofs)"
    )
    with tempfile.TemporaryDirectory() as name:
        has_peer = install_peer(Path(name))
        for count in (10_000, 100_000, 1_000_000):
            mine = ours(count)
            row = f"{count:>9,} {mine['build_s']:>11.3f} "
            if has_peer and (count < 1_000_000 or "--peer-million" in sys.argv):
                theirs = peer(Path(name), count)
                if theirs["root"] != mine["root"]:
                    sys.exit(f"roots differ at {count} leaves: {mine['root']} and {theirs['root']}")
                row += f"{theirs['build_s']:>11.2f} {theirs['build_s'] / mine['build_s']:>6.0f}x "
                row += f"{mine['proof_s'] * count:>12.3f} {theirs['proof_s'] * count:>12.1f} {theirs['proof_s'] / mine['proof_s']:>6.0f}x"
            else:
                row += f"{'-':>11} {'-':>7} {mine['proof_s'] * count:>12.3f} {'-':>12} {'-':>7}"
            print(row, flush=True)
    if not has_peer:
        print("the peer could not be installed (node, npm and a package registry are needed)")


if __name__ == "__main__":
    main()
