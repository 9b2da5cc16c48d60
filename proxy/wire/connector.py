"""How the pool gets its connections: aiohttp's connector, with protocols that hold little, under TLS too.

The fast road has protocols of its own dialled; `Connection` is that of the plain road and of sessions' handshakes.

uvloop gives each TLS connection a buffer of 256 KiB and hands on as much at once: 1 MiB a stream whose caller reads
slowly. So TLS is asyncio's own here, on either loop, and reads as much at once as a plain connection; that makes it
0.5. An answer that nobody asked for ends its connection: it would be taken for that to the next request. Of requests it
knows no more.
"""

import asyncio
import ssl
from asyncio.sslproto import SSLProtocol
from collections.abc import Callable, Container
from functools import partial
from typing import Any, cast

import aiohttp
from aiohttp.client_proto import ResponseHandler
from yarl import URL

from proxy.wire.inflow import READ_BYTES
from proxy.wire.intake import Frugal, Intake

_NO_TIMEOUT = aiohttp.ClientTimeout(total=None)  # whoever dials has its own


class Connection(Frugal, ResponseHandler):
    """The protocol of one connection to an endpoint."""

    decrypts_little = True

    def __init__(self, loop: asyncio.AbstractEventLoop, intake: Intake, in_use: Container[ResponseHandler]) -> None:
        super().__init__(loop)
        self.intake = intake
        self._in_use = in_use  # the connections that a request has; the others are idle

    def data_received(self, data: bytes) -> None:
        unasked = bool(data) and self not in self._in_use
        if not unasked:
            super().data_received(data)  # may end the answer, and with it the use
            unasked = self not in self._in_use and self.should_close
        if unasked:
            self.abort()
        elif self.transport is not None and self.transport.is_closing():
            # For a bad chunk. Under TLS a close waits half a minute for the other side's, and the reader with it.
            self.transport.abort()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Tell who reads an answer's body, where aiohttp does not.

        It tells nothing when it closed the connection for a bad chunk, and takes a reset for the end of a body that
        ends with its connection.
        """
        body = self._payload
        if exc is not None:
            _break(body)
        super().connection_lost(exc)
        _break(body)


def _break(body: object) -> None:
    # of a WebSocket's frames it is another class, which aiohttp sees to
    if isinstance(body, aiohttp.StreamReader) and not body.is_eof() and body.exception() is None:
        body.set_exception(aiohttp.ClientPayloadError("the connection was lost"))


class _Tls(SSLProtocol):
    max_size = READ_BYTES

    def _do_read__buffered(self) -> None:
        """As asyncio's, which asks once more after each read to be told by an exception that nothing is left.

        A tenth of a small call. OpenSSL takes a record off the buffer before it says that it has not come whole, so
        that nothing is left where the buffer is empty and nothing is decrypted.
        """
        tls: Any = self
        session, coming = tls._sslobj, tls._incoming
        buffer = tls._app_protocol_get_buffer(tls._get_read_buffer_size())
        room, came, count = len(buffer), 0, 1
        try:
            while count and came < room and (not came or coming.pending or session.pending()):
                count = session.read(room - came, buffer[came:] if came else buffer)
                came += count
            if came == room:
                tls._loop.call_soon(tls._do_read)
        except (ssl.SSLWantReadError, ssl.SSLSyscallError):
            pass  # asyncio's SSLAgainErrors
        if came:
            tls._app_protocol_buffer_updated(came)
        if not count:  # the peer's goodbye
            tls._call_eof_received()
            tls._start_shutdown()


class Destination(aiohttp.ClientRequest):
    """Where to dial, and what makes the protocol of each connection: for `Connector.dial`, and never sent."""

    def __init__(self, url: str, protocol: Callable[[], asyncio.BaseProtocol]) -> None:
        super().__init__("GET", URL(url), loop=asyncio.get_running_loop())
        self.protocol = protocol


class Connector(aiohttp.TCPConnector):
    """Private names of aiohttp and asyncio, there is no other way in: tests/wire/test_aiohttp_client_private.py."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._factory = cast(Any, partial(Connection, self._loop, Intake(), self._acquired))

    async def dial(self, destination: Destination) -> Any:
        """The protocol of a new connection. Raises ClientError, OSError."""
        _, protocol = await self._create_direct_connection(destination, [], _NO_TIMEOUT)
        return protocol

    async def _wrap_create_connection(  # type: ignore[override]
        self, factory: Any, *, req: aiohttp.ClientRequest, **kwargs: Any
    ) -> tuple[Any, Any]:
        if isinstance(req, Destination):
            factory = req.protocol
        context = kwargs.pop("ssl", None)
        name = kwargs.pop("server_hostname", None)
        if context is None:
            return await super()._wrap_create_connection(factory, req=req, **kwargs)
        made = self._loop.create_future()
        protocol = factory()
        wire: Any = None
        try:
            wire, tls = await super()._wrap_create_connection(
                partial(_Tls, self._loop, protocol, context, made, server_hostname=name), req=req, **kwargs
            )
            await made
        except BaseException as error:
            made.cancel()
            if wire is not None:
                wire.abort()
            if isinstance(error, OSError) and not isinstance(error, aiohttp.ClientError | TimeoutError):
                raise aiohttp.ClientConnectorError(req.connection_key, error) from error  # what the handshake met
            raise
        return cast(Any, tls)._app_transport, protocol
