"""Counters of the gateway in the text format that Prometheus reads. Plain integers: a request costs two additions."""

from __future__ import annotations

import time
from collections import Counter

_BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """Requests by operation and status, bytes in and out, time spent."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, int]] = Counter()
        self.errors: Counter[str] = Counter()
        self.rejected: Counter[str] = Counter()  # what was no request: see `strangers`
        self.received_bytes = 0
        self.sent_bytes = 0
        self.open_requests = 0
        self.started_s = time.time()
        self._buckets = [0] * (len(_BOUNDS_S) + 1)
        self._seconds = 0.0

    def finished(self, operation: str, status: int, seconds: float) -> None:
        """Count an answered request."""
        self.requests[operation, status] += 1
        self._seconds += seconds
        for index, bound in enumerate(_BOUNDS_S):
            if seconds <= bound:
                self._buckets[index] += 1
                return
        self._buckets[-1] += 1

    def render(self) -> bytes:
        """Return the page."""
        lines = ["# TYPE fieldstone_s3_requests_total counter"]
        for (operation, status), count in sorted(self.requests.items()):
            lines.append(f'fieldstone_s3_requests_total{{operation="{operation}",status="{status}"}} {count}')
        lines.append("# TYPE fieldstone_s3_errors_total counter")
        lines += [f'fieldstone_s3_errors_total{{code="{code}"}} {count}' for code, count in sorted(self.errors.items())]
        lines.append("# TYPE fieldstone_s3_rejected_total counter")
        lines += [f'fieldstone_s3_rejected_total{{reason="{n}"}} {count}' for n, count in sorted(self.rejected.items())]
        lines += ["# TYPE fieldstone_s3_received_bytes_total counter"]
        lines += [f"fieldstone_s3_received_bytes_total {self.received_bytes}"]
        lines += ["# TYPE fieldstone_s3_sent_bytes_total counter", f"fieldstone_s3_sent_bytes_total {self.sent_bytes}"]
        lines += ["# TYPE fieldstone_s3_open_requests gauge", f"fieldstone_s3_open_requests {self.open_requests}"]
        lines += ["# TYPE fieldstone_s3_request_seconds histogram"]
        below = 0
        for bound, count in zip(_BOUNDS_S, self._buckets, strict=False):
            below += count
            lines.append(f'fieldstone_s3_request_seconds_bucket{{le="{bound}"}} {below}')
        total = below + self._buckets[-1]
        lines.append(f'fieldstone_s3_request_seconds_bucket{{le="+Inf"}} {total}')
        lines.append(f"fieldstone_s3_request_seconds_sum {self._seconds:.6f}")
        lines.append(f"fieldstone_s3_request_seconds_count {total}")
        return ("\n".join(lines) + "\n").encode()
