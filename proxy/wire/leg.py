"""One leg of a WebSocket session, the caller's or the endpoint's: frames in, frames out, and how it ended.

`handshake.py` makes legs, `live_relay.py` and `session.py` use them. A message comes whole, in one piece however many
fragments it had: that is aiohttp's way, and why `[server.sizes] message` bounds it. Pings and pongs come too, for the
other leg. It knows nothing of Gemini.
"""

import asyncio
from typing import Any, NamedTuple

from aiohttp import ClientWebSocketResponse, WebSocketError, WSMsgType, web
from multidict import CIMultiDict

from proxy.head import Headers, ResponseHead

CLOSE_SECONDS = 2.0  # for the other side to answer a close frame
_REASON_BYTES = 123  # RFC 6455 section 5.5: a control frame holds 125 bytes, two of them the code
_NEVER_SENT = 1006  # RFC 6455 section 7.4.1; aiohttp refuses the others of its kind by itself


class Frame(NamedTuple):
    kind: WSMsgType  # TEXT, BINARY, PING or PONG
    data: bytes

    @property
    def is_message(self) -> bool:
        return self.kind in (WSMsgType.TEXT, WSMsgType.BINARY)


class Close(NamedTuple):
    """How one side ended the session, or how it is told that the other did."""

    code: int
    reason: str = ""
    said: bool = True  # by a close frame; else the connection was lost, or the peer broke the protocol

    def onward(self) -> "Close":
        """What the other side is told. Some codes stand for what was seen and may not be sent (RFC 6455, 7.4.1)."""
        if not self.said:
            return Close(1011, "The other side was lost.")
        return Close(1000) if self.code == 1005 else self


class Leg:
    """See the module. `head` and `fields` are those of the endpoint's 101; `fields` ready to be sent down."""

    def __init__(
        self,
        socket: "web.WebSocketResponse[Any] | ClientWebSocketResponse[Any]",
        protocol: str | None,
        transport: asyncio.WriteTransport,
        linger_seconds: float,
    ) -> None:
        self.protocol = protocol  # the subprotocol agreed on
        self.head = ResponseHead(101, "Switching Protocols", Headers(()))
        self.fields: CIMultiDict[str] = CIMultiDict()
        self._socket = socket
        self._transport = transport
        self._linger_seconds = linger_seconds  # for a slow reader to take what was sent before the close
        self._empty_pings = 0  # sent for the other leg and not yet answered
        self._said_close = False

    async def receive(self) -> Frame | Close:
        """The next frame. After a Close there is none."""
        while True:
            message = await self._socket.receive()
            match message.type:
                case WSMsgType.TEXT | WSMsgType.BINARY | WSMsgType.PING:
                    return Frame(message.type, bytes(message.data))
                case WSMsgType.PONG:
                    if message.data or self._empty_pings:
                        self._empty_pings -= 0 if message.data else 1
                        return Frame(message.type, bytes(message.data))
                    # else the answer to a heartbeat of our own: aiohttp's are empty
                case WSMsgType.CLOSE if message.data == _NEVER_SENT:
                    await self.close(Close(1002))
                    return Close(1002, said=False)
                case WSMsgType.CLOSE:
                    return Close(message.data or 1005, message.extra or "")
                case WSMsgType.ERROR if isinstance(message.data, WebSocketError):
                    return Close(message.data.code, said=False)
                case _:
                    return Close(1006, said=False)

    async def next_message(self) -> Frame | Close:
        """The next message or close; a ping is answered here, while there is nobody to pass it on to."""
        while True:
            said = await self.receive()
            if isinstance(said, Close) or said.is_message:
                return said
            if said.kind is WSMsgType.PING:
                await self.send(Frame(WSMsgType.PONG, said.data))

    async def send(self, frame: Frame) -> None:
        """Waits while the peer does not read. Raises ConnectionError."""
        if frame.kind is WSMsgType.PING and not frame.data:
            self._empty_pings += 1
        await self._socket.send_frame(frame.data, frame.kind)

    async def say_close(self, close: Close) -> None:
        """Send a close frame and nothing more: the peer may still have something to say. Raises ConnectionError."""
        self._said_close = True
        payload = close.code.to_bytes(2, "big") + _short(close.reason)
        await self._socket.send_frame(payload, WSMsgType.CLOSE)

    async def close(self, close: Close) -> None:
        """Close, or answer a close, and let go of the connection. Never raises, and never waits for long."""
        task = asyncio.current_task()
        assert task is not None
        cancels = task.cancelling()  # a stop may be what brought us here
        if self._said_close:  # `socket.close` would say it again, to a peer that may have answered and gone
            self._transport.close()
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._socket.close(code=close.code, message=_short(close.reason))
        except (TimeoutError, ConnectionError):
            pass  # then without an answer
        except asyncio.CancelledError:
            # aiohttp's own: a send that was cut short leaves its future behind, cancelled, for the next one to await.
            if task.cancelling() > cancels:
                raise
        if self._transport.get_write_buffer_size():  # closed, it would wait for such a reader for ever
            asyncio.get_running_loop().call_later(self._linger_seconds, self._transport.abort)


def _short(reason: str) -> bytes:
    """As much of a text as a close frame holds, in whole characters."""
    return reason.encode("utf-8", "replace")[:_REASON_BYTES].decode("utf-8", "ignore").encode()
