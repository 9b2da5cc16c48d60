"""TLS to an endpoint, between a connection's transport and its protocol: OpenSSL, which reads and writes in memory.

To the loop it is the protocol, to the connection the transport. The loops' own TLS goes on reading when it is told to
pause, and costs 256 KiB a connection (uvloop) or a tenth of a small call (asyncio). Here a pause is one of the wire:
what a read brought is decrypted and handed on at once, and nothing stays behind.

A stream that ends without TLS's goodbye was cut off: the connection is lost by an error, so that nobody takes what came
for a whole answer (RFC 8446 section 6.1, RFC 9112 section 9.8).
"""

import asyncio
import contextlib
import ssl
from collections.abc import Iterable
from typing import Any, Final, final

from proxy.wire.inflow import READ_BYTES
from proxy.wire.intake import Intake

_SIP_BYTES: Final = READ_BYTES  # OpenSSL keeps as much memory as it was ever given at once
_UNSENT_SECONDS: Final = 30.0  # after a close, for the peer to take what is unsent; as long as the loops' own TLS waits


@final
class Tls(asyncio.BufferedProtocol):
    """See the module.

    A peer that asks for a new handshake, as TLS 1.2 lets it, is refused: what is written would have to wait for it.

    Args:
        protocol: is told once the handshake is done. Its buffer is as large as `intake.decrypted`.
        host: whom the certificate must name.
        made: done with the handshake, or fails with it: SSLError, OSError.
    """

    __slots__ = (
        "_buffer",
        "_coming",
        "_context",
        "_fault",
        "_going",
        "_last",
        "_loop",
        "_made",
        "_open",
        "_over",
        "_paused",
        "_protocol",
        "_session",
        "_wire",
    )

    def __init__(
        self,
        protocol: Any,
        context: ssl.SSLContext,
        host: str | None,
        intake: Intake,
        made: "asyncio.Future[None]",
    ) -> None:
        context.options |= ssl.OP_NO_RENEGOTIATION
        self._protocol = protocol
        self._context = context
        self._buffer = intake.encrypted
        self._made = made
        self._loop = made.get_loop()
        self._coming: Any = ssl.MemoryBIO()
        self._going: Any = ssl.MemoryBIO()
        self._session: Any = context.wrap_bio(self._coming, self._going, server_hostname=host)
        self._open = False  # the protocol knows of us
        self._over = False  # nothing more comes, by a goodbye or a fault
        self._fault: ssl.SSLError | None = None
        self._paused = False
        self._wire: Any = None
        self._last: asyncio.TimerHandle | None = None  # for what is unsent

    # --- for the loop ---

    def connection_made(self, transport: Any) -> None:
        self._wire = transport
        self._shake()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        came = start = 0
        while start < nbytes and not self._over:
            self._coming.write(self._buffer[start : min(start + _SIP_BYTES, nbytes)])
            start += _SIP_BYTES
            if self._open or self._shake():
                came = self._decrypt(came)
        self._flush()  # the peer may have changed its keys
        if came:
            self._protocol.buffer_updated(came)
        if self._over:
            self._end()

    def eof_received(self) -> bool:
        if not self._over:
            self._fail(ssl.SSLEOFError("the stream ended without a goodbye"))
            self._end()
        return True  # the end is ours

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._over:
            exc = self._fault  # a reset behind a goodbye takes nothing back
        if self._last is not None:
            self._last.cancel()
        if not self._made.done():
            self._made.set_exception(exc or ConnectionResetError("lost in the handshake"))
        protocol, self._protocol = self._protocol, None  # it holds us
        self._session = self._coming = self._going = None  # whoever holds us longer needs not hold their buffers
        if self._open:
            protocol.connection_lost(exc)

    def pause_writing(self) -> None:
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        self._protocol.resume_writing()

    # --- for the protocol ---

    def write(self, data: Any) -> None:
        if self._wire.is_closing():
            return
        view, start = memoryview(data), 0
        try:
            while start < len(view):
                start += self._session.write(view[start : start + _SIP_BYTES])
                self._flush()
        except ssl.SSLError as error:
            self._fail(error)
            self._end()

    def writelines(self, pieces: Iterable[Any]) -> None:
        self.write(b"".join(pieces))

    def close(self) -> None:
        """Say goodbye, and wait for no answer to that."""
        if self._wire.is_closing():
            return
        with contextlib.suppress(ssl.SSLError):  # there is no answer yet; or the peer broke the rules, and none will be
            self._session.unwrap()
        self._flush()
        self._wire.close()
        if self._wire.get_write_buffer_size():
            self._last = self._loop.call_later(_UNSENT_SECONDS, self._wire.abort)

    def abort(self) -> None:
        self._wire.abort()

    def is_closing(self) -> bool:
        closing: bool = self._wire.is_closing()
        return closing

    def pause_reading(self) -> None:
        self._paused = True
        self._wire.pause_reading()

    def resume_reading(self) -> None:
        self._paused = False
        self._wire.resume_reading()
        if self._over:
            self._loop.call_soon(self._end)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Of what is encrypted and unsent, in bytes."""
        self._wire.set_write_buffer_limits(high=high, low=low)

    def get_write_buffer_size(self) -> int:
        size: int = self._wire.get_write_buffer_size()
        return size

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """`sslcontext`, `ssl_object`, or what the wire knows of itself."""
        if name == "sslcontext":
            return self._context
        return self._session if name == "ssl_object" else self._wire.get_extra_info(name, default)

    def get_protocol(self) -> Any:
        return self._protocol

    def set_protocol(self, protocol: Any) -> None:
        self._protocol = protocol

    # --- between the two ---

    def _shake(self) -> bool:
        """Go on with the handshake. True once it is done."""
        try:
            self._session.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return False
        except ssl.SSLError as error:
            self._fail(error)
            self._end()
            return False
        self._flush()
        self._open = True
        self._protocol.connection_made(self)
        if not self._made.done():  # else whoever dialled has given up, and cuts it
            self._made.set_result(None)
        return True

    def _decrypt(self, before: int) -> int:
        """What has come, into the protocol's buffer behind `before`; the new end.

        OpenSSL takes a record off what has come before it says that it is not whole, so nothing is left once that is
        empty. To ask once more, and be told by an exception, costs more than a read.
        """
        session, coming = self._session, self._coming
        room: memoryview = self._protocol.get_buffer(-1)
        size, end = len(room), before
        try:
            while end == before or coming.pending or session.pending():
                assert end < size, "the protocol's buffer is too small"  # a read into none would look like a goodbye
                count = session.read(size, room[end:] if end else room)
                if not count:  # the peer's goodbye
                    self._over = True
                    break
                end += count
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            self._fail(error)
        return end

    def _flush(self) -> None:
        if self._going.pending:
            self._wire.write(self._going.read())

    def _fail(self, fault: ssl.SSLError) -> None:
        """Nothing more comes, as `_end` will say."""
        self._over = True
        self._fault = fault.with_traceback(None)  # its frames would keep the session
        self._flush()  # OpenSSL's word to the peer, which leaves where the loop writes at once

    def _end(self) -> None:
        """Nothing more comes: act on it, once the protocol has taken what came. A paused one has not."""
        if self._paused or self._wire.is_closing():
            return
        if self._fault is not None:
            self._wire.abort()
            return
        self._protocol.eof_received()
        self.close()
