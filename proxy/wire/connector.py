"""How the pool gets its connections: aiohttp's connector, with protocols that hold little, under TLS too.

uvloop gives each TLS connection a buffer of 256 KiB and hands on as much at once: 1 MiB a stream whose caller reads
slowly. So TLS is asyncio's own here, on either loop, and reads as much at once as a plain connection; that makes it
0.5. It knows nothing of requests.
"""

import asyncio
from asyncio.sslproto import SSLProtocol
from functools import partial
from typing import Any, cast

import aiohttp
from aiohttp.client_proto import ResponseHandler

from proxy.wire.intake import READ_BYTES, Frugal, Intake


class Connection(Frugal, ResponseHandler):
    """The protocol of one connection to an endpoint."""

    decrypts_little = True

    def __init__(self, loop: asyncio.AbstractEventLoop, intake: Intake) -> None:
        super().__init__(loop)
        self.intake = intake


class _Tls(SSLProtocol):
    max_size = READ_BYTES


class Connector(aiohttp.TCPConnector):
    """Private names of aiohttp and asyncio, pinned by tests/wire/test_aiohttp_private.py: there is no other way in."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._factory = cast(Any, partial(Connection, self._loop, Intake()))

    async def _wrap_create_connection(  # type: ignore[override]
        self, factory: Any, *, req: aiohttp.ClientRequest, **kwargs: Any
    ) -> tuple[Any, Any]:
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
