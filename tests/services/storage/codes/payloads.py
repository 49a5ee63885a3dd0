"""The deterministic payloads that the data vectors are over."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

VECTORS = Path(__file__).parents[3] / "vectors"


def payload(size: int) -> bytes:
    """Return SHA-256("fieldstone:size:i") for i = 0, 1, … one after another, cut to `size`."""
    blocks = (hashlib.sha256(f"fieldstone:{size}:{i}".encode()).digest() for i in range(-(-size // 32)))
    return b"".join(blocks)[:size]


def vectors(name: str) -> Any:
    """Return a data file of public vectors."""
    return json.loads((VECTORS / name).read_text())
