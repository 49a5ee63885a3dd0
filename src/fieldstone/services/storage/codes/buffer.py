"""What counts as bytes here: anything contiguous that a memoryview can look at (wrap an mmap or an array in one)."""

from __future__ import annotations

from typing import TypeAlias

Buffer: TypeAlias = bytes | bytearray | memoryview
