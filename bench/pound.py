"""Small calls without a pause: every connection has one under way until time is up.

`speed.py` measures by it. A call costs it and the fake upstream 14 µs together, as wrk and an upstream in C did on the
same machine, so that nothing has to be compiled or installed.
"""

import asyncio
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import cast

from bench.http1 import Body
from bench.load import OK, connected

_WARM_SECONDS = 0.3


class _Pounder(asyncio.Protocol):
    """One connection of `pound`: the next call as soon as the last is answered."""

    __slots__ = ("_body", "_head", "_length", "_load", "_sent_at", "_transport")

    def __init__(self, load: "_Load") -> None:
        self._load = load
        self._head = b""
        self._body: Body | None = None
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by class
        self._send()

    def _send(self) -> None:
        self._sent_at = time.perf_counter_ns()
        self._transport.write(next(self._load.requests))

    def data_received(self, data: bytes) -> None:
        load = self._load
        if self._body is None:
            # Answers are as long as the first one was, and most come in one piece.
            if len(data) == load.length and not self._head and data.startswith(OK):
                load.microseconds.append((time.perf_counter_ns() - self._sent_at) / 1e3)
                if load.running:
                    self._send()
                return
            self._head += data
            end = self._head.find(b"\r\n\r\n") + 4
            if end < 4:
                return
            self._head, data = self._head[:end], self._head[end:]
            self._body = Body(self._head)
        if self._body.feed(data):
            if self._head.startswith(OK):
                load.microseconds.append((time.perf_counter_ns() - self._sent_at) / 1e3)
                load.length = load.length or len(self._head) + self._body.received
            else:
                load.failed += 1
            self._head, self._body = b"", None
            if load.running:
                self._send()

    def connection_lost(self, error: Exception | None) -> None:
        if self._load.running:
            self._load.failed += 1


@dataclass(slots=True)
class _Load:
    requests: Iterator[bytes]
    length: int = 0
    running: bool = True
    failed: int = 0
    microseconds: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Pounded:
    """What `pound` saw. `spent`: processor seconds of the proxy meanwhile."""

    calls: int
    failed: int
    seconds: float
    spent: float
    microseconds: Sequence[float]  # each call's, sorted

    def share(self, part: float) -> float:
        return self.microseconds[min(int(part * len(self.microseconds)), len(self.microseconds) - 1)]


async def _until(load: _Load, calls: int, seconds: float, at_most: float) -> None:
    """So many seconds and so many calls."""
    began = time.perf_counter()
    await asyncio.sleep(seconds)
    while len(load.microseconds) < calls and time.perf_counter() - began < at_most:
        await asyncio.sleep(0.05)


async def pound(
    requests: Iterator[bytes], port: int, callers: int, seconds: float, spent: Callable[[], float]
) -> Pounded:
    """As `pound_on`, with so many new connections."""
    return await pound_on([await connected(port) for _ in range(callers)], requests, seconds, spent)


async def pound_on(
    sockets: Sequence[socket.socket], requests: Iterator[bytes], seconds: float, spent: Callable[[], float]
) -> Pounded:
    """A call under way on each, for so long; `spent` is asked at both ends. Closes them.

    Longer where that is too short for some calls of each: what was begun before and what is not ended must not count.
    """
    loop = asyncio.get_running_loop()
    load, callers = _Load(requests), len(sockets)
    lines = [(await loop.create_connection(lambda: _Pounder(load), sock=sock))[0] for sock in sockets]
    await _until(load, 2 * callers, _WARM_SECONDS, 10 * seconds)
    load.microseconds.clear()
    spent_before, began = spent(), time.perf_counter()
    await _until(load, 8 * callers, seconds, 10 * seconds)
    calls, failed = len(load.microseconds), load.failed
    spent_after, ended = spent(), time.perf_counter()
    load.running = False
    for line in lines:
        line.abort()
    await asyncio.sleep(0.05)
    if not calls:
        raise ConnectionError(f"no call was answered, {failed} failed")
    return Pounded(calls, failed, ended - began, spent_after - spent_before, sorted(load.microseconds[:calls]))
