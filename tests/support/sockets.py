"""A scripted endpoint of WebSocket sessions: its script gets each open one, and what was sent to open it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import WSMsgType, web

Socket = web.WebSocketResponse
Script = Callable[[Socket], Awaitable[None]]


class SocketEndpoint:
    """
    Attributes:
        handshakes: every request that came, in order.
        closes: how each session was closed by its other side: the code, or None where no close frame came.
    """

    def __init__(self, script: Script | None, refusal: Callable[[], web.StreamResponse], protocols: list[str]) -> None:
        self.url = ""
        self.handshakes: list[web.BaseRequest] = []
        self.closes: list[int | None] = []
        self._script = script
        self._refusal = refusal
        self._protocols = protocols

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.handshakes.append(request)
        if self._script is None:
            return self._refusal()
        socket = Socket(autoclose=False, autoping=False, compress=True, max_msg_size=0, protocols=self._protocols)
        socket.headers["X-Of-The-Endpoint"] = "yes"
        await socket.prepare(request)
        try:
            await self._script(socket)
            if not socket.closed and socket.close_code is None:
                while (message := await socket.receive()).type not in (WSMsgType.CLOSE, WSMsgType.CLOSED):
                    pass
                self.closes.append(message.data)
                await socket.close(code=message.data or 1000)
        except ConnectionError:
            return socket  # the gateway hung up
        return socket


@asynccontextmanager
async def socket_endpoint(
    script: Script | None = None,
    *,
    refusal: Callable[[], web.StreamResponse] = lambda: web.Response(status=403),
    protocols: list[str] | None = None,
) -> AsyncIterator[SocketEndpoint]:
    """Without a script it refuses every handshake. After its script it waits for the other side's close."""
    endpoint = SocketEndpoint(script, refusal, protocols or [])
    runner = web.ServerRunner(web.Server(endpoint.handle, handler_cancellation=True), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    endpoint.url = "http://{}:{}".format(*runner.addresses[0][:2])
    try:
        yield endpoint
    finally:
        await runner.cleanup()
