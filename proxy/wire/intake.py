"""How much a stream holds in memory where aiohttp reads it: what its connections take from a socket at once.

Sessions on both sides and the plain road stand on `Frugal`; answers are read with `here` and `next_piece`. Left alone,
a loop reads up to 256 KiB at once, aiohttp holds twice its limit beside that, and a transport takes 64 KiB (512 under
TLS) before anybody waits. It changes no byte, and when to read stays aiohttp's to decide.
"""

import asyncio
from typing import TYPE_CHECKING, Any, Final, cast

from aiohttp import StreamReader

from proxy.wire.inflow import READ_BYTES, UNSENT_BYTES

if TYPE_CHECKING:
    from aiohttp.base_protocol import BaseProtocol
else:
    BaseProtocol = object  # a second base with __slots__ of its own would not fit beside aiohttp's

# Per direction: 112 KiB in aiohttp's reader, 56 in hand and 64 unsent, where a loop copies what it leaves unsent.
READER_BYTES: Final = READ_BYTES // 2  # aiohttp stops reading above twice this, and has then taken one read more
# What a connection to an endpoint reads at once under TLS. Half of it costs a fifth more processor time a megabyte, for
# each read and write wakes a process on another core; twice as much gains nothing.
TLS_READ_BYTES: Final = 2 * READ_BYTES
TLS_RECORD_BYTES: Final = 17 << 10  # RFC 8446 section 5.2; a read may end the one that the last began
_ENOUGH_BYTES: Final = 16 << 10  # a piece worth a write of its own; smaller ones are joined


class Intake:
    """Where reads land, one for all connections of a pool or a door: a loop reads one after the other."""

    def __init__(self) -> None:
        self.buffer = memoryview(bytearray(READ_BYTES))
        self.encrypted = memoryview(bytearray(TLS_READ_BYTES))
        self.decrypted = memoryview(bytearray(TLS_READ_BYTES + TLS_RECORD_BYTES))


class Frugal(BaseProtocol):
    """For a protocol of aiohttp; comes first among its bases.

    Under TLS all that was decrypted must be taken at once: of smaller pieces the rest would be lost if the peer closed
    behind it. But a pause is passed on to the socket.
    """

    intake: Intake
    decrypts_little = False  # TLS is ours, `upstream_tls.py`: it decrypts no more than a read brought
    _tls: Any = None  # the transport, if it is one of the loop's TLS

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        wire = cast(asyncio.Transport, transport)
        wire.set_write_buffer_limits(high=UNSENT_BYTES)
        if wire.get_extra_info("sslcontext") is None:
            wire.set_protocol(_Sips(self, self.intake.buffer))
        elif self.decrypts_little:
            wire.set_protocol(_Sips(self, self.intake.decrypted))
        else:
            self._tls = wire
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._tls = None
        super().connection_lost(exc)

    def _pause_transport_reading(self) -> None:
        super()._pause_transport_reading()
        if self._tls is not None and not self._tls.is_closing():
            # Else the loop reads on, 512 KiB; and uvloop forgets what it has not handed on when the peer closes.
            self._tls.set_read_buffer_limits(high=0)

    def _resume_transport_reading(self) -> None:
        super()._resume_transport_reading()
        if self._tls is not None and not self._tls.is_closing():
            self._tls.set_read_buffer_limits()


class _Sips(asyncio.BufferedProtocol):
    """Stands between a transport and its protocol, for the sake of the reads."""

    def __init__(self, protocol: BaseProtocol, buffer: memoryview) -> None:
        self._protocol = protocol
        self._buffer = buffer
        self._received = protocol.data_received

    def get_buffer(self, sizehint: int) -> Any:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._received(bytes(self._buffer[:nbytes]))

    def eof_received(self) -> bool | None:
        return self._protocol.eof_received()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._protocol.connection_lost(exc)

    def pause_writing(self) -> None:
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        self._protocol.resume_writing()


def here(content: StreamReader) -> bytes | None:
    """What has come, at most READ_BYTES of it, b"" at the end; None while there is nothing. Raises what it was told.

    `read(n)` would raise the reader's limits to n, and cut what came in pieces of n, copying all of it; `readany`
    would join all of it.
    """
    if content.at_eof() or content.exception() is not None:
        return content.read_nowait()  # b"", or raises
    if not content._buffer:
        return None
    first = len(content._buffer[0])
    return content.read_nowait(first if _ENOUGH_BYTES <= first <= READ_BYTES else READ_BYTES)


async def next_piece(content: StreamReader) -> bytes:
    """As `here`, once there is something."""
    while (piece := here(content)) is None:
        await content._wait("next_piece")
    return piece
