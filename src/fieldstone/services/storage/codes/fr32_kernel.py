"""Compiled fr32 padding: 127 payload bytes become four little-endian words of 254 bits, 128 bytes.

Import this module only where it is used: it loads numba.
"""

from __future__ import annotations

import importlib
from typing import Any

from fieldstone.services.storage.codes.compiled import compiled

numba: Any = importlib.import_module("numba")
ir: Any = importlib.import_module("llvmlite.ir")
intrinsic: Any = importlib.import_module("numba.extending").intrinsic
types: Any = numba.types

_PARTS = 4  # words of 254 bits in a block
_WORDS = 16


def _pad_block(builder: Any, source: Any, target: Any) -> None:
    kind = ir.IntType(64)

    def at(address: Any, offset: int) -> Any:
        return builder.inttoptr(builder.add(address, ir.Constant(address.type, offset)), kind.as_pointer())

    def constant(value: int) -> Any:
        return ir.Constant(kind, value)

    words = [builder.load(at(source, 8 * i), align=1) for i in range(15)]
    # the last word has seven bytes: read it one byte early, or the read would leave the payload
    words.append(builder.lshr(builder.load(at(source, 119), align=1), constant(8)))
    for part in range(_PARTS):
        for i in range(4 * part, 4 * part + 4):
            value = words[i]
            if part:
                value = builder.shl(value, constant(2 * part))
                value = builder.or_(value, builder.lshr(words[i - 1], constant(64 - 2 * part)))
            if i % 4 == 3:
                value = builder.and_(value, constant(0x3FFFFFFFFFFFFFFF))
            builder.store(value, at(target, 8 * i), align=1)


@intrinsic  # type: ignore[untyped-decorator]
def _block(typing_context: Any, source: Any, target: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _pad_block(builder, *arguments)
        return context.get_dummy_value()

    return types.none(types.uintp, types.uintp), code


@compiled("void(uintp, uintp, uintp)")
def pad(source: Any, target: Any, blocks: Any) -> None:
    """Pad `blocks` × 127 bytes at `source` to `blocks` × 128 bytes at `target`, another place."""
    for i in range(blocks):
        _block(source + types.uintp(i) * types.uintp(127), target + types.uintp(i) * types.uintp(128))
