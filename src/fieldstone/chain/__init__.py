"""Where rewards become money: the Merkle tree, the contracts, and a chain to put them on.

Import the module you need; nothing is imported here, because a chain costs over a second to load.

- pure: `merkle` (tree and proofs), `digest` (what verifiers sign)
- a chain: `port` (the seam), `embedded` (py-evm on SQLite), `rpc` (any JSON-RPC URL), `jsonrpc` (the embedded one, served)
- what is read of it: `view`; what is done on it: `outbox` (every transaction survives a crash), `deploy`, `settlement`,
  `claims`, `leaf_files`
"""
