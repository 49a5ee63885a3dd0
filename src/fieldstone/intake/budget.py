"""Budgets that are asked before any signature is checked, so that a flood costs its sender more than the network.

Two buckets, because an unchecked message proves nothing about who sent it:

- a *device's* bucket is charged only when a signature of that device was right: nobody can use up another's budget;
- an *address's* bucket is charged for refused messages: thousands of honest devices behind one gateway do not touch it,
  and whoever sends forgeries, garbage or repeats runs dry.
"""

from __future__ import annotations

from collections import OrderedDict

MAX_ADDRESSES = 50_000


class Bucket:
    """A token bucket: `rate_per_ms` tokens flow in, at most `capacity` stay."""

    __slots__ = ("stamp_ms", "tokens")

    def __init__(self, capacity: float, now_ms: int) -> None:
        self.tokens = capacity
        self.stamp_ms = now_ms

    def level(self, now_ms: int, rate_per_ms: float, capacity: float) -> float:
        """Return the tokens in it now."""
        if now_ms > self.stamp_ms:
            self.tokens = min(capacity, self.tokens + (now_ms - self.stamp_ms) * rate_per_ms)
            self.stamp_ms = now_ms
        return self.tokens


class Budget:
    """Buckets by key, the least recently used forgotten beyond `MAX_ADDRESSES`. `per_minute` in messages.

    The capacity is two minutes' worth, so that a short outage can be caught up with.
    """

    def __init__(self, per_minute: int) -> None:
        self._rate_per_ms = per_minute / 60_000
        self._capacity = float(max(2 * per_minute, 1))
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()

    def left(self, key: str, now_ms: int) -> float:
        """Return how many messages `key` may still send now; asking costs nothing."""
        bucket = self._buckets.get(key)
        return self._capacity if bucket is None else bucket.level(now_ms, self._rate_per_ms, self._capacity)

    def charge(self, key: str, count: int, now_ms: int) -> None:
        """Take `count` tokens; a debt delays the next message."""
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = Bucket(self._capacity, now_ms)
            if len(self._buckets) > MAX_ADDRESSES:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(key)
        bucket.level(now_ms, self._rate_per_ms, self._capacity)
        bucket.tokens = max(bucket.tokens - count, -self._capacity)
