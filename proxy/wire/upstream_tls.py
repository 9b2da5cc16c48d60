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


@final
class Tls(asyncio.BufferedProtocol):
    """See the module.

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
        "_made",
        "_open",
        "_over",
        "_protocol",
        "_session",
        "_unsent",
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
        self._protocol = protocol
        self._context = context
        self._buffer = intake.encrypted
        self._made = made
        self._coming = ssl.MemoryBIO()
        self._going = ssl.MemoryBIO()
        self._session: Any = context.wrap_bio(self._coming, self._going, server_hostname=host)
        self._open = False  # the protocol knows of us
        self._unsent: list[bytes] = []  # for a moment; or until the peer has done its part of a new handshake (TLS 1.2)
        self._over = False  # by a goodbye or a fault
        self._fault: ssl.SSLError | None = None
        self._wire: Any = None

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
        if self._unsent:
            self._send()
        elif self._going.pending:  # the peer has changed its keys
            self._flush()
        if came:
            self._protocol.buffer_updated(came)
        if self._over and self._fault is None:
            self._protocol.eof_received()
            self.close()

    def eof_received(self) -> None:
        self._fail(ssl.SSLEOFError("the stream ended without a goodbye"))

    def connection_lost(self, exc: BaseException | None) -> None:
        exc = exc or self._fault
        if self._open:
            self._protocol.connection_lost(exc)
        elif not self._made.done():
            self._made.set_exception(exc or ConnectionResetError("lost in the handshake"))
        self._protocol = None  # it holds us

    def pause_writing(self) -> None:
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        self._protocol.resume_writing()

    # --- for the protocol ---

    def write(self, data: Any) -> None:
        if data and not self._wire.is_closing():
            self._unsent.append(bytes(data))
            if len(self._unsent) == 1:
                self._send()

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

    def abort(self) -> None:
        self._wire.abort()

    def is_closing(self) -> bool:
        closing: bool = self._wire.is_closing()
        return closing

    def pause_reading(self) -> None:
        self._wire.pause_reading()

    def resume_reading(self) -> None:
        self._wire.resume_reading()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Of what is encrypted and unsent, in bytes."""
        self._wire.set_write_buffer_limits(high=high, low=low)

    def get_write_buffer_size(self) -> int:
        size: int = self._wire.get_write_buffer_size()
        return size + sum(map(len, self._unsent)) if self._unsent else size

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

    def _send(self) -> None:
        unsent = self._unsent
        try:
            while unsent:
                count = self._session.write(unsent[0])
                if count < len(unsent[0]):
                    unsent[0] = unsent[0][count:]
                else:
                    del unsent[0]
        except ssl.SSLWantReadError:
            pass  # goes on after the next read
        except ssl.SSLError as error:
            self._fail(error)
        self._flush()

    def _flush(self) -> None:
        if self._going.pending:
            self._wire.write(self._going.read())

    def _fail(self, fault: ssl.SSLError) -> None:
        self._over = True
        self._fault = fault
        self._flush()  # OpenSSL's word to the peer, where the loop writes at once
        self._wire.abort()
