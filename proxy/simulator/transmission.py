"""Puts an Answer onto the wire, whole or broken as a Fault says, and writes into the ledger what left.

The server calls `transmit` once an exchange. Pieces go out at most 64 KiB at a time and each waits until the kernel
took the one before: a slow reader is felt here, and `sent_bytes` is what really left.
Refuses nothing; the caller leaving shows as a ConnectionError or a cancellation, and is the server's to note.
"""

import asyncio
import socket
import struct
import time
from collections.abc import Iterator, Sequence

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from proxy.simulator.answer import Answer, Event, Piece
from proxy.simulator.call import Call
from proxy.simulator.codings import ENCODINGS, packed
from proxy.simulator.faults import Fault
from proxy.simulator.ledger import Entry

_PIECE_BYTES = 64 << 10
_NO_BODY = frozenset({204, 304})


async def transmit(
    request: web.BaseRequest, call: Call, answer: Answer, fault: Fault, entry: Entry, started: float
) -> web.StreamResponse:
    if fault.latency_seconds:
        await asyncio.sleep(fault.latency_seconds)
    if fault.hang:
        await asyncio.Event().wait()  # until the caller leaves or the simulator stops
    events = answer.events
    asked = call.switch("encoding")
    encoding = asked if asked in ENCODINGS else None  # the error that refuses another one goes out as it is
    response = _head(call, answer, encoding, started)
    if encoding is not None:
        events = tuple(packed(events, encoding))
    _hold_back(request)
    writer = await response.prepare(request)
    entry.status = answer.status
    entry.billed = answer.usage
    assert writer is not None
    if request.method == "HEAD" or answer.status in _NO_BODY:
        await response.write_eof()
        entry.complete = True
        return response
    await _send_body(request, response, writer, events, fault, entry)
    return response


def _head(call: Call, answer: Answer, encoding: str | None, started: float) -> web.StreamResponse:
    response = web.StreamResponse(status=answer.status)
    for name, value in answer.headers:
        response.headers.add(name, value)
    response.headers.add("Server-Timing", f"gfet4t7; dur={(time.monotonic() - started) * 1000:.0f}")
    response.headers.add("x-weir-simulator", "1")
    if call.switch("duplicate-headers"):  # Google repeats these two at times (Gemini fact 2.7)
        for name in ("Content-Type", "Server"):
            if name in response.headers:
                response.headers.add(name, response.headers[name])
    if encoding is not None:
        response.headers.add("Content-Encoding", encoding)
    streamed = answer.framing != "unary" or encoding is not None or call.switch("chunked") is not None
    if "Content-Length" not in response.headers and not streamed:
        response.content_length = answer.size
    return response


def _hold_back(request: web.BaseRequest) -> None:
    """With no room above the kernel's, every write waits until its bytes are taken."""
    transport = request.transport
    if transport is None:
        raise ConnectionResetError("the caller left before the head")
    transport.set_write_buffer_limits(high=0)


async def _send_body(
    request: web.BaseRequest,
    response: web.StreamResponse,
    writer: AbstractStreamWriter,
    events: tuple[Event, ...],
    fault: Fault,
    entry: Entry,
) -> None:
    bounds = [bound for bound in (fault.cut_bytes, fault.stall_bytes) if bound is not None]
    end = min(bounds, default=None)
    if end == 0:
        await writer.write(b"")  # aiohttp holds the head back until the first write
    for number, event in enumerate(events):
        if number and fault.slow_seconds:
            await asyncio.sleep(fault.slow_seconds)
        for piece in _slices(event.pieces):
            room = len(piece) if end is None else min(len(piece), end - entry.sent_bytes)
            if room:
                await writer.write(piece[:room])
                await writer.drain()
                entry.sent_bytes += room
            if room < len(piece):
                await _break_off(request, fault)
                return
        if event.usage:
            entry.usage = event.usage
    if end is not None and entry.sent_bytes == end:
        await _break_off(request, fault)
        return
    await response.write_eof()
    entry.complete = True


def _slices(pieces: Sequence[Piece]) -> Iterator[Piece]:
    """Small pieces together, large ones cut without a copy: an event leaves as one chunk, as Google's do."""
    small: list[Piece] = []
    small_bytes = 0
    for piece in pieces:
        if small_bytes + len(piece) <= _PIECE_BYTES:
            small.append(piece)
            small_bytes += len(piece)
            continue
        yield b"".join(small)
        small, small_bytes = [], 0
        view = memoryview(piece)
        for start in range(0, len(view), _PIECE_BYTES):
            yield view[start : start + _PIECE_BYTES]
    yield b"".join(small)


async def _break_off(request: web.BaseRequest, fault: Fault) -> None:
    if fault.cut_bytes is None or (fault.stall_bytes is not None and fault.stall_bytes < fault.cut_bytes):
        await asyncio.Event().wait()  # stall: open, silent, until the caller leaves
    transport = request.transport
    if transport is None:
        return
    if fault.reset:  # RST in the place of FIN: what has left may be lost on the way
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
    await asyncio.Event().wait()  # the loss of the connection ends this task, as a caller's leaving does
