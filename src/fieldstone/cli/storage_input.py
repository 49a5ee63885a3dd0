"""Bytes of a file or of standard input, in pieces, with the errors that a user can act on."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import BinaryIO

from fieldstone.errors import EnvironmentProblem, UsageError

_PIECE_BYTES = 4 * 1024 * 1024


def pieces_of(file: str) -> Iterator[bytes]:
    """Yield the bytes of `file` (`-`: standard input). Raises UsageError (no such file), EnvironmentProblem (unreadable)."""
    try:
        with _open(file) as stream:
            while piece := stream.read(_PIECE_BYTES):
                yield piece
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(f"{file!r} does not exist: give the path of a file, or - to read standard input") from None
    except IsADirectoryError:
        raise UsageError(f"{file!r} is a folder: give one file, for example a CAR or tar archive of it") from None
    except OSError as error:
        raise EnvironmentProblem(f"{file!r} cannot be read: {error.strerror or error}") from None
    except ValueError as error:
        raise UsageError(f"{file!r} is not the name of a file: {error}") from None


def _open(file: str) -> contextlib.AbstractContextManager[BinaryIO]:
    return contextlib.nullcontext(sys.stdin.buffer) if file == "-" else open(file, "rb")
