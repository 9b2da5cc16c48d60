"""WebSocket in bytes (RFC 6455): frames as a test wants them, right or wrong, and both ends of a handshake."""

import asyncio
import base64
import hashlib
import os

from tests.support.raw import request_bytes

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
_MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, masked: bool = False) -> bytes:
    """One frame. A caller's are `masked`."""
    head = bytes([fin << 7 | opcode])
    mark = masked << 7
    if len(payload) < 126:
        head += bytes([mark | len(payload)])
    elif len(payload) < 1 << 16:
        head += bytes([mark | 126]) + len(payload).to_bytes(2, "big")
    else:
        head += bytes([mark | 127]) + len(payload).to_bytes(8, "big")
    if not masked:
        return head + payload
    key = os.urandom(4)
    wide = key * (len(payload) // 4 + 1)
    changed = int.from_bytes(payload, "big") ^ int.from_bytes(wide[: len(payload)], "big")
    return head + key + changed.to_bytes(len(payload), "big")


def close_frame(code: int, reason: str = "", *, masked: bool = False) -> bytes:
    return frame(CLOSE, code.to_bytes(2, "big") + reason.encode(), masked=masked)


async def read_frame(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Opcode and payload. Raises IncompleteReadError at the end."""
    first, second = await reader.readexactly(2)
    size = second & 127
    if size > 125:
        size = int.from_bytes(await reader.readexactly(2 if size == 126 else 8), "big")
    key = await reader.readexactly(4) if second & 128 else b""
    payload = await reader.readexactly(size)
    if key:
        wide = key * (size // 4 + 1)
        payload = (int.from_bytes(payload, "big") ^ int.from_bytes(wide[:size], "big")).to_bytes(size, "big")
    return first & 15, payload


def handshake(target: str) -> bytes:
    """A caller's."""
    return request_bytes(
        *("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"),
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        target=target,
        method="GET",
        close=False,
    )


async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """Read a handshake and answer it as an endpoint; its head."""
    head = await reader.readuntil(b"\r\n\r\n")
    key = head.lower().split(b"sec-websocket-key:")[1].split(b"\r\n")[0].strip()
    key = head[head.lower().index(key) :][: len(key)]
    accepted = base64.b64encode(hashlib.sha1(key + _MAGIC).digest())
    writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n")
    writer.write(b"Sec-WebSocket-Accept: " + accepted + b"\r\n\r\n")
    return head
