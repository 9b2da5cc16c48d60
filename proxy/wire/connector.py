"""How the pool gets its connections: aiohttp's connector, with protocols that hold little, under TLS too.

The fast road has protocols of its own dialled; `Connection` is that of the plain road and of sessions' handshakes. An
answer that nobody asked for ends it: it would be taken for that to the next request. Of requests it knows no more.
TLS is ours, on either loop: `upstream_tls.py`.
"""

import asyncio
from collections.abc import Callable, Container
from functools import partial
from typing import Any, cast

import aiohttp
from aiohttp.client_proto import ResponseHandler
from yarl import URL

from proxy.wire.intake import Frugal, Intake
from proxy.wire.upstream_tls import Tls

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


class Destination(aiohttp.ClientRequest):
    """Where to dial, and what makes the protocol of each connection: for `Connector.dial`, and never sent."""

    def __init__(self, url: str, protocol: Callable[[], asyncio.BaseProtocol]) -> None:
        super().__init__("GET", URL(url), loop=asyncio.get_running_loop())
        self.protocol = protocol


class Connector(aiohttp.TCPConnector):
    """Private names of aiohttp, there is no other way in: tests/wire/test_aiohttp_client_private.py."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._intake = Intake()
        self._factory = cast(Any, partial(Connection, self._loop, self._intake, self._acquired))

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
                partial(Tls, protocol, context, name, self._intake, made), req=req, **kwargs
            )
            await made
        except BaseException as error:
            made.cancel()
            if wire is not None:
                wire.abort()
            if isinstance(error, OSError) and not isinstance(error, aiohttp.ClientError | TimeoutError):
                raise aiohttp.ClientConnectorError(req.connection_key, error) from error  # what the handshake met
            raise
        return tls, protocol
