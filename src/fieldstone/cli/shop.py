"""The market as a customer's verbs open it: at a node's address, with the key of the environment or of a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fieldstone.market.client import MarketClient


def shop_at(node: str, key_file: Path | None, *, need_key: bool = True) -> MarketClient:
    """Return the market's client; use it in a `with`. Raises UsageError without an API key where one is needed."""
    import os

    from fieldstone.errors import UsageError
    from fieldstone.market.client import MarketClient

    key = os.environ.get("FIELDSTONE_API_KEY", "").strip()
    if key_file is not None:
        try:
            key = key_file.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"--key-file {key_file} cannot be read: {error}") from error
    if need_key and not key:
        raise UsageError("no API key: set FIELDSTONE_API_KEY or give --key-file")
    return MarketClient(node, key)
