"""How a node has done since this process started: what reads choose by whom they ask, and uploads whom they leave alone."""

from __future__ import annotations

from dataclasses import dataclass

_SMOOTH = 0.2
_SHORT_BYTES = 65_536  # the time of an answer up to this size is its latency


@dataclass(slots=True)
class Health:
    """Times are smoothed. `offline_since_ms`: first failure in a row without an answer."""

    answers: int = 0
    failures: int = 0
    failures_in_row: int = 0
    wrong_bytes: int = 0
    first_byte_s: float = 0.0
    bytes_per_s: float = 0.0
    last_answer_ms: int | None = None
    last_failure_ms: int = 0
    offline_since_ms: int | None = None

    def expected_s(self, size_bytes: int) -> float:
        """Return how long a read of so many bytes usually takes; 0 when nothing is known."""
        return self.first_byte_s + (size_bytes / self.bytes_per_s if self.bytes_per_s else 0.0)

    def answered(self, now_ms: int, *, is_well: bool) -> None:
        """Note an answer. `is_well`: no refusal; who refuses again and again fails again and again."""
        self.answers += 1
        if is_well:
            self.failures_in_row = 0
        self.offline_since_ms = None
        self.last_answer_ms = now_ms

    def failed(self, now_ms: int, *, is_away: bool) -> None:
        """Note a failure. `is_away`: no answer came."""
        self.failures += 1
        self.failures_in_row += 1
        self.last_failure_ms = now_ms
        if is_away and self.offline_since_ms is None:
            self.offline_since_ms = now_ms

    def timed(self, took_s: float, size_bytes: int) -> None:
        """Note how long a read took."""
        if size_bytes < _SHORT_BYTES:
            self.first_byte_s = took_s if not self.first_byte_s else _blend(self.first_byte_s, took_s)
        else:
            speed = size_bytes / max(took_s - self.first_byte_s, took_s / 10, 1e-6)
            self.bytes_per_s = speed if not self.bytes_per_s else _blend(self.bytes_per_s, speed)

    def kept_waiting(self, waited_s: float, size_bytes: int) -> None:
        """Note that a read was not waited for any longer: it needs more than that, twice as much we guess.

        Otherwise who never answers in time would be asked first again, and waited for, in every read. The next quick
        answer, if only to the watch, begins to bring it back.
        """
        if waited_s > self.expected_s(size_bytes):
            self.first_byte_s = max(self.first_byte_s, 2 * waited_s)


def _blend(old: float, new: float) -> float:
    return old + _SMOOTH * (new - old)
