"""The load: callers over bare asyncio protocols on uvloop, in the benchmark's own process.

`speed.py`, `memory.py` and `pound.py` use them. A connection carries one call at a time.
"""

import asyncio
import itertools
import re
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
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
OK = b"HTTP/1.1 200 "
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
        return self.head.startswith(OK)


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
