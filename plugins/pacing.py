"""Keeps our own pace under an endpoint's limit, by a short wait or by going on to the next endpoint.

An attempt plugin: asking an account for more than it grants costs a 429 and a round trip each time. The
pace is aiolimiter's leaky bucket, filled so that no window of `per`, wherever it begins, sees more than
`requests`. It counts attempts, not tokens, and only those of this process. Place it inside
`circuit_breaker`, so that what an open circuit stops uses up no pace.
"""

import asyncio
from collections.abc import Awaitable, Mapping
from math import ceil
from typing import Any, Literal

import msgspec
from aiolimiter import AsyncLimiter

from proxy import Attempt, Endpoint, EndpointFailed, Exchange, Plugin, Seconds, Services

_SECONDS = {"second": 1, "minute": 60, "hour": 3600}


class Pace(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """At most `requests` in any `per`; `burst` of them at once, by default a quarter."""

    requests: int
    per: Literal["second", "minute", "hour"] = "minute"
    burst: int | None = None


class _Bucket:
    """One endpoint's limiter, and how many wait for it."""

    __slots__ = ("interval_seconds", "limiter", "pace", "waiting")

    def __init__(self, pace: Pace) -> None:
        burst = pace.burst or ceil(pace.requests / 4)
        # AsyncLimiter(n, period) lets n through at once and n more within the period: twice the account's
        # limit. A burst plus what leaks out in one period must stay within `requests`; the one that is
        # due exactly when the period ends is the next window's.
        self.interval_seconds = _SECONDS[pace.per] / (pace.requests - burst + 1)
        self.limiter = AsyncLimiter(burst, burst * self.interval_seconds)
        self.pace = pace
        self.waiting = 0


class Pacing(Plugin):
    """Waits for an endpoint's pace, `max_wait` at most, else fails the attempt as "paced"."""

    class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        max_wait: Seconds = Seconds(2)
        endpoints: dict[str, Pace] = {}  # by the endpoint's name; one that is not named is not paced

    provides = frozenset({"pace"})
    config: Config

    def __init__(self, config: Config, services: Services) -> None:
        super().__init__(config, services)
        for name, pace in config.endpoints.items():
            if pace.requests < 1:
                raise ValueError(f"endpoints.{name}.requests: expected 1 or more, found {pace.requests}")
            if pace.burst is not None and not 1 <= pace.burst <= pace.requests:
                raise ValueError(f"endpoints.{name}.burst: expected 1 to {pace.requests}, found {pace.burst}")
        # A limiter belongs to the loop it is first used in; made here, it is not yet bound to any.
        self._buckets = {name: _Bucket(pace) for name, pace in config.endpoints.items()}

    def before_attempt(self, attempt: Attempt) -> Awaitable[None] | None:
        bucket = self._buckets.get(attempt.endpoint.name)
        if bucket is None:
            return None
        if bucket.waiting or not bucket.limiter.has_capacity():
            return self._wait(bucket)
        return bucket.limiter.acquire()  # does not suspend: there is capacity

    async def _wait(self, bucket: _Bucket) -> None:
        """Queue up, unless those ahead alone take longer than we may wait."""
        interval = bucket.interval_seconds
        if bucket.waiting * interval >= self.config.max_wait:
            raise EndpointFailed("paced", sent=False, retry_after=(bucket.waiting + 1) * interval)
        bucket.waiting += 1
        try:
            # A timeout cancels the waiter, and a cancelled waiter of aiolimiter takes no capacity.
            async with asyncio.timeout(self.config.max_wait):
                await bucket.limiter.acquire()
        except TimeoutError:
            raise EndpointFailed("paced", sent=False, retry_after=bucket.waiting * interval) from None
        finally:
            bucket.waiting -= 1

    async def explain(self, exchange: Exchange) -> list[str]:
        return [
            f"endpoint {endpoint.name}: {bucket.pace.requests} requests per {bucket.pace.per}, "
            + (
                "has room now"
                if bucket.limiter.has_capacity()
                else f"full, would wait up to {self.config.max_wait:g} s"
            )
            for endpoint in exchange.candidates
            if (bucket := self._buckets.get(endpoint.name))
        ]

    def endpoint_status(self, endpoint: Endpoint) -> Mapping[str, Any]:
        bucket = self._buckets.get(endpoint.name)
        if bucket is None:
            return {}
        return {"pace": {"requests": bucket.pace.requests, "per": bucket.pace.per, "waiting": bucket.waiting}}
