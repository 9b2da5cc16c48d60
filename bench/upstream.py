"""The fake upstream: canned Gemini answers, cheap enough to share a core with the load.

    python -m bench.upstream PORT TLS_PORT FOLDER       FOLDER: of `identity.py`

The query says what comes back, so that models have their real names and are priced:

    ...                          1.1 KB with usageMetadata, one of 89: other text, counts, ids and times, as many bytes
    ?bench=zipped-89             the same 89, gzipped and in chunks, as Google answers the SDKs, who ask for that
    ?bench=wait-SECONDS          the first of those, later
    ?bench=image-MB              so many MB with an image in it; `image-MB-chunked`, `image-MB-gzip`
    ?bench=events-N-MS           N events, MS apart; each carries @nanoseconds@ of when it was sent
    /jwks.json                   the key that signed the callers' tokens
    /seen                        the last model call as it came: head and body, as far as 1 MB

It refuses nothing and checks nothing.
"""

import asyncio
import base64
import gc
import gzip
import itertools
import json
import random
import re
import ssl
import sys
import time
from functools import cache
from pathlib import Path
from typing import cast

import uvloop

from bench.http1 import Body, chunked

_ASKED = re.compile(rb"[?&]bench=([a-z]+)-([\d.]+)(?:-(\w+))?")
_PIECE_BYTES = 256 << 10
_SEEN_BYTES = 1 << 20
_ANSWERS = 89
_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nVary: Origin\r\nVary: X-Origin\r\nVary: Referer\r\n"
    b"Date: Sun, 22 Nov 2026 00:00:00 GMT\r\nServer: scaffolding on HTTPServer2\r\nX-XSS-Protection: 0\r\n"
    b"X-Frame-Options: SAMEORIGIN\r\nX-Content-Type-Options: nosniff\r\nServer-Timing: gfet4t7; dur=812\r\n%b\r\n\r\n"
)
_JSON = b"application/json; charset=UTF-8"
_EVENT = (
    b'data: {"candidates": [{"content": {"parts": [{"text": "@%020d@ and about a dozen tokens more, as a model '
    b'sends them"}],"role": "model"},%b"index": 0}],"usageMetadata": {"promptTokenCount": 118,"candidatesTokenCount"'
    b': %d,"totalTokenCount": %d,"promptTokensDetails": [{"modality": "TEXT","tokenCount": 118}]},"modelVersion": '
    b'"gemini-2.5-flash","responseId": "mZ3xaOr8Fd2kxN8P5_DNkQo"}\r\n\r\n'
)


def small_answers() -> list[bytes]:
    """All of one length, so that the load knows a whole one at a glance."""
    chance = random.Random(0)
    answers = []
    for number in range(_ANSWERS):
        text = "The cup is thrown in stoneware and glazed in celadon; it suits tea and small flowers. " * 10
        given, thought = chance.randint(150, 250), chance.randint(300, 450)
        usage = {
            "promptTokenCount": 118,
            "candidatesTokenCount": given,
            "totalTokenCount": 118 + given + thought,
            "thoughtsTokenCount": thought,
        }
        answer = _answer({"text": text[number : number + 720]}, usage, "gemini-2.5-flash", chance.randbytes(12).hex())
        answer = answer.replace(b"00:00:00 GMT", b"00:%02d:%02d GMT" % divmod(number, 60), 1)
        answers.append(answer.replace(b"dur=812", b"dur=%d" % chance.randint(300, 999), 1))
    return answers


@cache
def image_answer(megabytes: int, framing: str) -> bytes:
    """`framing`: by `length`, `chunked`, or `gzip` and by length."""
    picture = base64.b64encode(random.Random(megabytes).randbytes(megabytes * 750_000)).decode()
    usage = {"promptTokenCount": 14, "candidatesTokenCount": 1290, "totalTokenCount": 1304}
    answer = _answer({"inlineData": {"mimeType": "image/png", "data": picture}}, usage, "gemini-3-pro-image")
    body = answer.partition(b"\r\n\r\n")[2]
    if framing == "chunked":
        return _HEAD % (_JSON, b"Transfer-Encoding: chunked") + chunked(body)
    if framing == "gzip":
        body = gzip.compress(body, 1)
        return _HEAD % (_JSON, b"Content-Encoding: gzip\r\nContent-Length: %d" % len(body)) + body
    return answer


def _answer(
    part: dict[str, object], usage: dict[str, int], model: str, response_id: str = "mZ3xaOr8Fd2kxN8P5_DNkQo"
) -> bytes:
    candidate = {"content": {"parts": [part], "role": "model"}, "finishReason": "STOP", "index": 0}
    details = [{"modality": "TEXT", "tokenCount": usage["promptTokenCount"]}]
    document = {
        "candidates": [candidate],
        "usageMetadata": usage | {"promptTokensDetails": details},
        "modelVersion": model,
        "responseId": response_id,
    }
    body = json.dumps(document).encode()
    return _HEAD % (_JSON, b"Content-Length: %d" % len(body)) + body


def _zipped(answer: bytes) -> bytes:
    """An answer by length, as it is to who accepts gzip."""
    head, _, body = answer.partition(b"\r\nContent-Length")
    fields = b"\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + fields + chunked(gzip.compress(body.partition(b"\r\n\r\n")[2]))


class Upstream:
    """What all connections share."""

    def __init__(self, jwks: bytes) -> None:
        answers = small_answers()
        self.same = answers[0]
        self.small = itertools.cycle(answers)
        self.zipped = itertools.cycle([_zipped(answer) for answer in answers])
        self.jwks = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
            len(jwks),
            jwks,
        )
        self.seen = b""


class Connection(asyncio.Protocol):
    """One connection of a proxy: one request at a time, as HTTP/1.1 proxies send them."""

    __slots__ = ("_buffer", "_loop", "_paused", "_pending", "_request", "_transport", "_upstream")

    def __init__(self, upstream: Upstream, loop: asyncio.AbstractEventLoop) -> None:
        self._upstream = upstream
        self._loop = loop
        self._buffer = b""
        self._request: tuple[bytes, Body, list[bytes]] | None = None  # under way: head, framing, what came of it
        self._pending = memoryview(b"")  # of a large answer
        self._paused = False
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by class

    def data_received(self, data: bytes) -> None:
        if self._request is None:
            data = self._buffer + data
            end = data.find(b"\r\n\r\n") + 4
            if end < 4:
                self._buffer = data
                return
            self._buffer, head, data = b"", data[:end], data[end:]
            self._request = head, Body(head), []
        head, body, kept = self._request
        ended = body.feed(data)
        if body.received <= _SEEN_BYTES:
            kept.append(data)
        if ended:
            self._request = None
            self._serve(head, kept)

    def _serve(self, head: bytes, kept: list[bytes]) -> None:
        target = head[: head.find(b"\r\n")]
        upstream = self._upstream
        if b"/models/" not in target:
            seen = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(upstream.seen), upstream.seen)
            self._transport.write(upstream.jwks if b"/jwks.json" in target else seen)
            return
        upstream.seen = head + b"".join(kept)
        asked = _ASKED.search(target)
        if asked is None:
            self._transport.write(next(upstream.small))
            return
        kind, amount, detail = asked[1], asked[2], (asked[3] or b"length").decode()
        if kind == b"zipped":
            self._transport.write(next(upstream.zipped))
        elif kind == b"wait":
            self._loop.call_later(float(amount), self._transport.write, upstream.same)
        elif kind == b"image":
            self._pending = memoryview(image_answer(int(amount), detail))
            self.resume_writing()
        else:
            self._transport.write(_HEAD % (b"text/event-stream", b"Transfer-Encoding: chunked"))
            self._tell(0, int(amount), int(detail) / 1000, self._loop.time())

    def _tell(self, number: int, events: int, gap: float, began: float) -> None:
        """Send one event, and see to the next."""
        last = number == events - 1
        finish = b'"finishReason": "STOP",' if last else b""
        event = _EVENT % (time.monotonic_ns(), finish, 4 * number + 4, 4 * number + 122)
        self._transport.write(b"%x\r\n%b\r\n%b" % (len(event), event, b"0\r\n\r\n" if last else b""))
        if not last:
            self._loop.call_at(began + (number + 1) * gap, self._tell, number + 1, events, gap, began)

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        while self._pending and not self._paused:
            piece, self._pending = self._pending[:_PIECE_BYTES], self._pending[_PIECE_BYTES:]
            self._transport.write(piece)

    def connection_lost(self, error: Exception | None) -> None:
        self._pending = memoryview(b"")


async def serve(port: int, tls_port: int, folder: Path) -> None:
    loop = asyncio.get_running_loop()
    upstream = Upstream((folder / "jwks.json").read_bytes())
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    gc.freeze()
    gc.disable()  # nothing here makes cycles, and a collection would show as the proxy's latency
    await loop.create_server(lambda: Connection(upstream, loop), "127.0.0.1", tls_port, ssl=tls, backlog=4096)
    server = await loop.create_server(lambda: Connection(upstream, loop), "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])))
