"""The exception tree. A retry policy is a type, and every message says what failed, on which subject, what to do.

FieldstoneError
├── Retryable            try again later: disk full, broker away, chain node not answering
├── Terminal             trying again cannot help: a broken invariant, a foreign transaction in our nonce
├── Rejected             input refused for one reason of the closed list (`fieldstone.reasons`)
├── UsageError           the caller's words are off (CLI exit 2)
│   └── ConfigError      … in network.toml: names the key and the line
├── EnvironmentProblem   this machine lacks something (CLI exit 3)
└── CheckFailed          a comparison came out different: a root, a hash, a total (CLI exit 1)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fieldstone.reasons import Reason


class FieldstoneError(Exception):
    """Any failure that Fieldstone foresees. `exit_code` is what the command line ends with."""

    exit_code = 1


class Retryable(FieldstoneError):
    """The same call may succeed later."""

    exit_code = 3


class Terminal(FieldstoneError):
    """The same call cannot succeed; a person has to look."""


class Rejected(FieldstoneError):
    """Input was refused. `reason` is one of the closed list, `subject` what was refused, `detail` the measured fact."""

    def __init__(self, reason: Reason, subject: str = "", detail: str = "") -> None:
        self.reason = reason
        self.subject = subject
        self.detail = detail
        parts = [reason.code, f" ({subject})" if subject else "", f": {detail}" if detail else "", f". {reason.remedy}"]
        super().__init__("".join(parts))


class UsageError(FieldstoneError):
    """The call's arguments are off."""

    exit_code = 2


class ConfigError(UsageError):
    """A setting is missing or wrong. `key` is dotted (`policy.take_ppm`), `line` is 1-based or None."""

    def __init__(self, message: str, *, key: str = "", line: int | None = None, path: str = "network.toml") -> None:
        self.key = key
        self.line = line
        where = f"{path}:{line}" if line else path
        super().__init__(f"{where}: {key}: {message}" if key else f"{where}: {message}")


class EnvironmentProblem(FieldstoneError):
    """Something on this machine is missing or broken."""

    exit_code = 3


class CheckFailed(FieldstoneError):
    """A recomputed value differs from the stated one."""
