"""The load: callers over bare asyncio protocols on uvloop, in the benchmark's own process.

`speed.py` and `memory.py` use them. A small call costs them and the fake upstream 14 µs together, as wrk and an
upstream in C did on the same machine, so that nothing has to be compiled or installed. A connection carries one call
at a time; in `pound` every connection has one under way until time is up.
"""

import asyncio
import itertools
import re
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar, cast

from bench.http1 import Body

_ABOUT = "Describe the attached product photo in two sentences for a catalogue, naming material and use. Item %05d. "
_BEHIND = (
    b'"}]}], "generationConfig": {"temperature": 0.4, "maxOutputTokens": 512, "thinkingConfig": {"thinkingLevel": '
    b'"low"}}, "safetySettings": [{"category": "HARM_CATEGORY_DANGEROUS_CONTENT", "threshold": "BLOCK_ONLY_HIGH"}]}'
)


def prompt(number: int) -> bytes:
    """A request's body; another text for another number, and another length for most."""
    text = (_ABOUT % (number * 7919 % 100_000) * 4)[: 380 + number % 13]
    return b'{"contents": [{"role": "user", "parts": [{"text": "' + text.encode() + _BEHIND


PROMPT = prompt(0)
_PROMPTS = 97  # that callers go through: nobody asks the same again and again
_SENT_AT = re.compile(rb"@(\d{20})@")
_OK = b"HTTP/1.1 200 "
_WARM_SECONDS = 0.3
_RECEIVE_BYTES = 64 << 10  # of a slow reader's socket; the kernel doubles it


@dataclass(frozen=True, slots=True)
class Caller:
    """Where to call, and the headers that let one in."""

    port: int
    prefix: str = ""
    headers: Sequence[tuple[str, str]] = ()

    def request(self, target: str, body: bytes = PROMPT, framing: str = "") -> bytes:
        """A whole POST; with `framing`, the head of one whose body the caller sends."""
        fields = [
            ("Host", f"127.0.0.1:{self.port}"),
            ("Content-Type", "application/json"),
            *self.headers,
            *([] if framing else [("Content-Length", str(len(body)))]),
        ]
        head = "".join(f"{name}: {value}\r\n" for name, value in fields) + framing
        return f"POST {self.prefix}{target} HTTP/1.1\r\n{head}\r\n".encode() + (b"" if framing else body)

    def requests(self, target: str) -> Iterator[bytes]:
        """Whole POSTs without end, of different prompts."""
        return itertools.cycle([self.request(target, prompt(number)) for number in range(_PROMPTS)])


class Line(asyncio.Protocol):
    """One connection to a proxy. Keeps the answers' bodies when asked to."""

    def __init__(self, keep: bool = False) -> None:
        self._loop = asyncio.get_running_loop()
        self._keep = keep
        self._answer: asyncio.Future[None] = self._loop.create_future()
        self._answer.set_result(None)
        self.transport: asyncio.Transport
        self.head = b""
        self.body: Body | None = None
        self.kept: list[bytes] = []
        self._room = asyncio.Event()
        self._room.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is none by class

    def pause_writing(self) -> None:
        self._room.clear()

    def resume_writing(self) -> None:
        self._room.set()

    async def call(self, request: bytes) -> None:
        """Send it, and wait for the whole answer; ConnectionError if it breaks off."""
        self.begin(request)
        await self._answer

    async def upload(self, head: bytes, pieces: Iterable[bytes]) -> None:
        """The same for a body in pieces, at the pace at which they are taken; in chunks where the head says so."""
        self.begin(head)
        in_chunks = b"chunked" in head
        for piece in pieces:
            self.transport.write(b"%x\r\n%b\r\n" % (len(piece), piece) if in_chunks else piece)
            await self._room.wait()
            if self._answer.done():
                break  # answered before the end: a refusal
        if in_chunks:
            self.transport.write(b"0\r\n\r\n")
        await self._answer

    def begin(self, request: bytes) -> None:
        self.head, self.body, self.kept = b"", None, []
        self._answer = self._loop.create_future()
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        if self.body is None:
            self.head += data
            end = self.head.find(b"\r\n\r\n") + 4
            if end < 4:
                return
            self.head, data = self.head[:end], self.head[end:]
            self.body = Body(self.head)
        if self._keep:
            self.kept.append(data)
        self.received(data)
        if self.body.feed(data) and not self._answer.done():
            self._answer.set_result(None)

    def received(self, data: bytes) -> None:
        """For those who look at pieces of a body as they come."""

    def connection_lost(self, error: Exception | None) -> None:
        self._room.set()
        if not self._answer.done():
            size = self.body.received if self.body else 0
            self._answer.set_exception(ConnectionError(f"closed after {size} bytes of an answer {self.head[:40]!r}"))

    @property
    def good(self) -> bool:
        return self.head.startswith(_OK)


class Events(Line):
    """Notes how long each event was under way, in µs."""

    def __init__(self) -> None:
        super().__init__()
        self.latencies: list[float] = []
        self.first_at = 0
        self._rest = b""

    def received(self, data: bytes) -> None:
        now = time.monotonic_ns()
        data = self._rest + data
        end = 0
        for mark in _SENT_AT.finditer(data):
            self.latencies.append((now - int(mark[1])) / 1e3)
            self.first_at = self.first_at or now
            end = mark.end()
        self._rest = data[end:][-21:]


class SlowReader(Line):
    """Takes what its socket holds, then nothing until it is told to go on."""

    def __init__(self) -> None:
        super().__init__()
        self.slow = True

    def received(self, data: bytes) -> None:
        if self.slow:
            self.transport.pause_reading()

    def go_on(self) -> None:
        if not self.transport.is_closing():
            self.transport.resume_reading()


_LineT = TypeVar("_LineT", bound=Line)


async def connected(port: int) -> socket.socket:
    """A new connection to the proxy, bare."""
    sock = socket.socket()
    sock.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
    except BaseException:
        sock.close()
        raise
    return sock


async def connect(port: int, make: Callable[[], _LineT]) -> _LineT:
    """A new connection to the proxy; that of a slow reader has little room."""
    sock = socket.socket()
    sock.setblocking(False)
    if make is SlowReader:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BYTES)
    loop = asyncio.get_running_loop()
    try:
        await loop.sock_connect(sock, ("127.0.0.1", port))
        return (await loop.create_connection(make, sock=sock))[1]
    except BaseException:
        sock.close()
        raise


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
            if len(data) == load.length and not self._head and data.startswith(_OK):
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
            if self._head.startswith(_OK):
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
