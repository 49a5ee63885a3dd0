"""The compiled product of blocks with a matrix over GF(256), by table look-ups: any CPU, no library.

Import this module only where it is used: it loads numba.
"""

from __future__ import annotations

import importlib
from typing import Any

from fieldstone.services.storage.codes.compiled import compiled

numba: Any = importlib.import_module("numba")
intrinsic: Any = importlib.import_module("numba.extending").intrinsic
types: Any = numba.types
carray: Any = numba.carray


@intrinsic  # type: ignore[untyped-decorator]
def _bytes_at(typing_context: Any, address: Any) -> Any:
    """Turn an address into a pointer; numba has no cast of its own."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

    return types.CPointer(types.uint8)(types.uintp), generate


@compiled("void(uint8[:, ::1], uint8[:, ::1], uintp[::1], uintp[::1], int64)")
def product(products: Any, matrix: Any, sources: Any, destinations: Any, length: Any) -> None:
    """Set `length` bytes at every destination to the sum of the sources times the matrix row."""
    rows, columns = matrix.shape
    for row in range(rows):
        out = carray(_bytes_at(destinations[row]), length)
        out[:] = 0
        for column in range(columns):
            coefficient = matrix[row, column]
            if coefficient == 0:
                continue
            block = carray(_bytes_at(sources[column]), length)
            times = products[coefficient]
            for i in range(length):
                out[i] ^= times[block[i]]
