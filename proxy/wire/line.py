"""A caller's connection as a wire: bytes down, and when they may flow either way. It knows no request.

`caller.py` builds its turns on it. It holds little: reads of all lines land in one buffer, since a loop reads one after
the other; what is unsent is bounded, and what nobody takes stays in the socket.
"""

import asyncio
import socket
import struct
from collections.abc import Sequence
from typing import Any, cast

from proxy.wire.inflow import READ_BYTES, UNSENT_BYTES


class Landing:
    """Where reads land. Whoever is told of one takes what it needs before the next."""

    __slots__ = ("buffer",)

    def __init__(self) -> None:
        self.buffer = memoryview(bytearray(READ_BYTES))


class Line(asyncio.BufferedProtocol):
    """See the module. A `Connection` for whoever answers, the `Source` of bodies.

    Attributes:
        peer: the caller's address; never trusted to be more than the last hop.
        paused: so much is unsent that nobody should write before `drain` returns.
    """

    __slots__ = ("_drained", "_landing", "_pauses", "_tls", "_transport", "paused", "peer")

    def __init__(self, landing: Landing) -> None:
        self.peer = ""
        self.paused = False
        self._landing = landing.buffer
        self._transport: asyncio.Transport | None = None  # while it is ours
        self._tls = False
        self._pauses = 0  # how many want no more to be read
        self._drained: asyncio.Future[None] | None = None

    # --- what the loop calls ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport = cast(asyncio.Transport, transport)
        transport.set_write_buffer_limits(high=UNSENT_BYTES)
        self._tls = transport.get_extra_info("sslcontext") is not None
        name = transport.get_extra_info("peername")
        self.peer = name[0] if isinstance(name, tuple) else ""

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._landing

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self.paused = False
        if self._drained is not None and not self._drained.done():
            self._drained.set_exception(ConnectionResetError("the caller left"))

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    # --- for whoever answers ---

    @property
    def scheme(self) -> str:
        return "https" if self._tls else "http"

    @property
    def listening_at(self) -> str:
        name = self._transport.get_extra_info("sockname") if self._transport is not None else None
        host, port = name[:2] if isinstance(name, tuple) else ("", 0)  # the caller has left, and will not read it
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def writelines(self, pieces: Sequence[bytes]) -> None:
        if self._transport is not None:
            self._transport.writelines(pieces)

    async def drain(self) -> None:
        while self.paused:
            self._drained = asyncio.get_running_loop().create_future()
            try:
                await self._drained
            finally:
                self._drained = None
        if self._transport is None:  # it left after it was told to go on: who writes on would never hear of it
            raise ConnectionResetError("the caller left")

    def force_close(self) -> None:
        """Once what is unsent has left."""
        if self._transport is not None:
            self._transport.close()

    def reset(self) -> None:
        """At once, and not as a stream ends: to HTTP/1.0 that could be the end of a body."""
        if self._transport is not None:
            wire = self._transport.get_extra_info("socket")
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._transport.abort()

    # --- for the taker of a body ---

    def pause_reading(self) -> None:
        self._pauses += 1
        if self._pauses == 1:
            self._read(on=False)

    def resume_reading(self) -> None:
        self._pauses -= 1
        if self._pauses == 0:
            self._read(on=True)

    def _read(self, *, on: bool) -> None:
        transport: Any = self._transport
        if transport is None or transport.is_closing():
            return
        if self._tls:  # else the loop reads on, 512 KiB
            transport.set_read_buffer_limits(high=None if on else 0)
        if on:
            transport.resume_reading()
        else:
            transport.pause_reading()
