"""Handshakes of WebSocket sessions (RFC 6455, section 4): the caller's is accepted, the endpoint's is asked for.

`pipeline.py` asks whether a request is one, `live_relay.py` accepts it, the pool dials. Both legs refuse compression: a
context for each direction costs 300 KB a session, audio in base64 gains little by it, and a small frame could unpack
into a large one. A refusal by the endpoint is kept with its body, which is all that tells a caller why.
"""

import asyncio
import logging
from typing import Any, Final, cast

import aiohttp
from aiohttp import ClientWSTimeout, web
from multidict import CIMultiDict
from yarl import URL

from proxy.head import Headers, RequestHead, ResponseHead
from proxy.refusal import EndpointFailed
from proxy.wire.bounds import Bounds
from proxy.wire.headers import OF_THIS_HOP, BadHeader, decode, end_to_end
from proxy.wire.leg import CLOSE_SECONDS, Close, Leg
from proxy.wire.request import Request

# Each hop has its own.
HANDSHAKE_FIELDS: Final = OF_THIS_HOP | {
    b"sec-websocket-accept",
    b"sec-websocket-extensions",
    b"sec-websocket-key",
    b"sec-websocket-protocol",
    b"sec-websocket-version",
}
_REFUSAL_BYTES = 64 << 10  # of the body of a handshake that an endpoint refused
logging.getLogger("aiohttp.websocket").setLevel(logging.ERROR)  # its warning quotes what a caller offered


class HandshakeRefused(Exception):
    """The endpoint answered the handshake with something else than 101."""

    def __init__(self, head: ResponseHead, fields: CIMultiDict[str], body: bytes) -> None:
        super().__init__(head.status)
        self.head = head
        self.fields = fields
        self.body = body


def is_handshake(request: Request) -> bool:
    """RFC 6455 section 4.1. Anything else that asks to upgrade may be answered as if it had not."""
    fields = request.headers
    tokens = ",".join(fields.get_all("connection")).split(",")
    return (
        request.method == "GET"
        and request.version == "1.1"
        and (not request.has_body or request.length == 0)  # it would be read as frames
        and (fields.get("upgrade") or "").strip().lower() == "websocket"
        and any(token.strip().lower() == "upgrade" for token in tokens)
    )


def offered(head: RequestHead) -> list[str]:
    """The subprotocols that the caller offers."""
    lines = head.headers.get_all("sec-websocket-protocol")
    return [name for line in lines for token in line.split(",") if (name := token.strip())]


async def accept(
    request: web.BaseRequest, fields: CIMultiDict[str], protocols: list[str], bounds: Bounds
) -> tuple[Leg, web.StreamResponse]:
    """Answer the caller's handshake; `acceptable` said that it can be. Raises ConnectionError."""
    socket = _caller_socket(protocols, bounds)
    socket.headers.extend(fields)
    socket.headers.setdefault("Server", "weir")  # else aiohttp names itself, its version and Python's
    transport = request.transport
    if transport is None:
        raise ConnectionResetError("the caller left")
    await socket.prepare(request)
    return Leg(socket, socket.ws_protocol, transport, bounds.caller_idle_seconds), socket


def acceptable(request: web.BaseRequest, bounds: Bounds) -> bool:
    """The handshake is well-formed."""
    return _caller_socket([], bounds).can_prepare(request).ok


def _caller_socket(protocols: list[str], bounds: Bounds) -> "web.WebSocketResponse[Any]":
    return web.WebSocketResponse(
        timeout=CLOSE_SECONDS,
        autoclose=False,  # it would answer a close, and wait, before we know of it
        autoping=False,
        heartbeat=bounds.caller_idle_seconds,
        protocols=protocols,
        compress=False,
        max_msg_size=bounds.message_bytes,
        decode_text=False,  # what is UTF-8 is for the other side to judge
    )


async def dial(
    connector: aiohttp.BaseConnector, url: URL, fields: CIMultiDict[str], protocols: list[str], bounds: Bounds
) -> Leg:
    """Open an endpoint's leg. Raises EndpointFailed, or HandshakeRefused.

    Errors of aiohttp are never shown: their text holds the URL.
    """
    answered: list[tuple[aiohttp.ClientResponse, asyncio.WriteTransport]] = []

    async def only_101(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        """`ws_connect` would follow a redirect, credential and all, and throw a refusal's body away."""
        response = await send(request)
        if response.status != 101:
            raise await _refused(response)
        connection = response.connection
        if connection is None or connection.transport is None:
            raise aiohttp.ServerDisconnectedError
        answered.append((response, cast(asyncio.WriteTransport, connection.transport)))
        return response

    # A session for the handshake alone: the connection that comes of it does not need it any more.
    async with aiohttp.ClientSession(
        connector=connector,
        connector_owner=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
        skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent"),
        timeout=aiohttp.ClientTimeout(total=None, connect=bounds.connect_seconds),
        max_line_size=bounds.header_bytes,
        max_field_size=bounds.header_bytes,
        middlewares=(only_101,),
    ) as session:
        session._retry_connection = False  # private, as in the pool: a GET would be repeated unseen by the record
        try:
            socket = await session.ws_connect(
                url,
                headers=fields,
                protocols=protocols,
                timeout=ClientWSTimeout(ws_close=CLOSE_SECONDS),
                autoclose=False,
                autoping=False,
                heartbeat=bounds.upstream_idle_seconds,
                compress=0,
                max_msg_size=bounds.message_bytes,
                decode_text=False,
            )
        except aiohttp.ClientConnectorError:
            raise EndpointFailed("connect_failed", sent=False) from None
        except aiohttp.ConnectionTimeoutError:
            raise EndpointFailed("connect_timeout", sent=False) from None
        except (aiohttp.ClientResponseError, ValueError):  # a 101 that is none is one of them
            raise EndpointFailed("bad_answer", sent=True) from None
        except (aiohttp.ClientError, OSError):
            raise EndpointFailed("disconnected", sent=True) from None
    head, transport = answered[0]
    leg = Leg(socket, socket.protocol, transport, bounds.upstream_idle_seconds)
    leg.head = ResponseHead(head.status, head.reason or "", Headers(head.raw_headers))
    try:
        leg.fields = decode(end_to_end(head.raw_headers, HANDSHAKE_FIELDS))
    except BadHeader:
        await leg.close(Close(1002))
        raise EndpointFailed("bad_answer", sent=True) from None
    return leg


async def _refused(response: aiohttp.ClientResponse) -> Exception:
    """The refusal with as much of its body as a person would read."""
    try:
        fields = decode(end_to_end(response.raw_headers, frozenset({b"content-length"})))
        body = b""
        while len(body) < _REFUSAL_BYTES and (piece := await response.content.read(_REFUSAL_BYTES - len(body))):
            body += piece
    except BadHeader:
        return EndpointFailed("bad_answer", sent=True)
    finally:
        response.close()
    fields["Content-Length"] = str(len(body))
    head = ResponseHead(response.status, response.reason or "", Headers(response.raw_headers))
    return HandshakeRefused(head, fields, body)
