"""The plain road to the endpoints: aiohttp's ClientSession, of which nothing private reads or writes a byte.

The pool takes it where `[server] road` says so; in tests it is what the fast road is held against. Everything that
could change a request or repeat it is switched off: retries, redirects, cookies, decompression, invented headers.
"""

from collections.abc import AsyncGenerator
from functools import partial
from typing import Any

import aiohttp
from aiohttp import ClientSession
from aiohttp.abc import AbstractStreamWriter
from multidict import CIMultiDict
from yarl import URL

from proxy.endpoint import Endpoint
from proxy.head import Headers, RawHeaders, ResponseHead
from proxy.refusal import EndpointFailed, Refusal
from proxy.wire.answer import ONE_WRITE, REASON, AnswerBroke
from proxy.wire.bounds import Bounds
from proxy.wire.connector import Connector
from proxy.wire.headers import BadHeader, decode, end_to_end
from proxy.wire.inflow import Sink
from proxy.wire.intake import READER_BYTES, here, next_piece
from proxy.wire.patience import Interrupted, Patience
from proxy.wire.request_body import RequestBody
from proxy.wire.upstream_head import UpstreamHead

_INVENTED = ("Accept", "Accept-Encoding", "User-Agent", "Content-Type")


class PlainAnswer:
    """An `Answer`."""

    def __init__(
        self,
        response: aiohttp.ClientResponse,
        fields: RawHeaders,
        upload: aiohttp.UploadTracker,
        patience: Patience,
        idle_seconds: float,
    ) -> None:
        self.head = ResponseHead(response.status, response.reason or "", Headers(response.raw_headers))
        self.fields = fields
        self.as_it_came = b""
        bodiless = response.method == "HEAD" or response.status in (204, 304)
        self.length = 0 if bodiless else response.content_length
        self._response = response
        self._upload = upload
        self._patience = patience
        self._idle_seconds = idle_seconds

    @property
    def uploading(self) -> bool:
        return not self._upload.upload_complete.done()

    @property
    def over(self) -> bool:
        return self._response.content.at_eof()

    def here(self) -> list[bytes]:
        try:
            piece = here(self._response.content)
        except (aiohttp.ClientError, OSError) as error:
            raise AnswerBroke("disconnected") from error
        return [piece] if piece else []

    async def more(self, sink: Sink) -> list[bytes]:
        piece = await self.read()  # nothing of it goes to the sink
        return [piece] if piece else []

    async def read(self) -> bytes:
        try:
            return await self._patience.wait(next_piece(self._response.content), self._idle_seconds, "upstream_idle")
        except (aiohttp.ClientError, OSError) as error:
            raise AnswerBroke("disconnected") from error

    def close(self) -> None:
        if self._response.content.at_eof():
            self._response.release()
        else:
            self._response.close()


class _Upload(aiohttp.UploadTracker):
    """Knows whether anything of a body left us; `bytes_written` forgets what was not asked for before a disconnect.

    Private names of aiohttp, pinned by tests/wire/test_aiohttp_client_private.py.
    """

    began = False  # also by its end: a body of no bytes is whole with its last chunk

    def _add_bytes(self, gen: int, size: int, wire_position: int) -> None:
        self.began = True
        super()._add_bytes(gen, size, wire_position)

    def _attempt_finished(self, gen: int) -> None:
        self.began = True
        super()._attempt_finished(gen)


class _Request(aiohttp.ClientRequest):
    async def write_bytes(self, writer: AbstractStreamWriter, conn: Any, content_length: int | None = None) -> None:
        """Wait after each piece, if the transport says so: aiohttp asks it only every 64 KiB."""
        writer.write = partial(writer.write, LIMIT=0)  # type: ignore[method-assign, call-arg]
        try:
            await super().write_bytes(writer, conn, content_length)
        except aiohttp.ClientConnectionResetError:
            pass  # at the very end, where aiohttp lets it pass: who reads the answer is told, and this task is nobody's
        finally:
            del writer.write  # it holds the writer


class PlainRoad:
    """See the module."""

    def __init__(self, connector: Connector, bounds: Bounds) -> None:
        self._bounds = bounds
        self._connector = connector
        self._session = ClientSession(
            connector=connector,
            connector_owner=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            requote_redirect_url=False,
            skip_auto_headers=_INVENTED,
            read_bufsize=READER_BYTES,
            request_class=_Request,
            # connect and not sock_connect, which leaves out the name's resolution; with limit=0 nobody queues in it
            timeout=aiohttp.ClientTimeout(total=None, connect=bounds.connect_seconds),
            max_line_size=bounds.header_bytes,
            max_field_size=bounds.header_bytes,
        )
        # Private: aiohttp repeats GET, PUT and DELETE by itself after a disconnect, unseen by the record.
        self._session._retry_connection = False

    @property
    def in_use(self) -> int:
        """How many connections a request or a session has."""
        return len(self._connector._acquired)

    async def stop(self) -> None:
        await self._session.close()

    async def send(
        self,
        endpoint: Endpoint,
        head: UpstreamHead,
        body: RequestBody,
        patience: Patience,
        *,
        flex: bool = False,
    ) -> PlainAnswer:
        """As `Pool.send`. Also raises Refusal: of a field that aiohttp cannot send.

        Errors of aiohttp are never shown: their text holds the URL.
        """
        try:
            decoded = decode(head.fields)
        except BadHeader as error:
            raise Refusal(400, f"The request cannot be forwarded: {error}.", reason="BAD_HEADER") from error
        upload = _Upload()
        data = await self._data(decoded, body)
        flex = flex or body.asks_for_flex()
        body.moved = lambda: patience.extend(self._first_byte_seconds(flex=flex or body.asks_for_flex()))
        request = self._session.request(
            head.method,
            # The authority comes from the routes file alone; `encoded` keeps the target's bytes.
            URL(endpoint.url + head.target, encoded=True),
            headers=decoded,
            data=data,
            allow_redirects=False,
            upload_tracker=upload,
        )
        try:
            response = await patience.wait(request, self._first_byte_seconds(flex=flex), "first_byte_timeout")
        except Interrupted as stop:
            if stop.reason == "first_byte_timeout":
                raise EndpointFailed("first_byte_timeout", sent=True) from None
            stop.sent = upload.began and upload.upload_complete.done()
            raise
        except aiohttp.ClientConnectorError:
            raise EndpointFailed("connect_failed", sent=False) from None
        except aiohttp.ConnectionTimeoutError:
            raise EndpointFailed("connect_timeout", sent=False) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            if body.failure is not None:
                raise body.failure from None
            reason = "bad_answer" if isinstance(error, aiohttp.ClientResponseError | ValueError) else "disconnected"
            # A body that never left us proves that the request was not run; a request without one proves nothing.
            raise EndpointFailed(reason, sent=not body.exists or upload.began) from None
        return self._checked(response, upload, patience)

    def _first_byte_seconds(self, *, flex: bool) -> float:
        """From the last piece that went up. Flex calls may queue at Google for half an hour (Gemini fact 6.3)."""
        return self._bounds.flex_first_byte_seconds if flex else self._bounds.first_byte_seconds

    async def _data(self, fields: CIMultiDict[str], body: RequestBody) -> object:
        if not body.exists:
            return None
        small = await body.small(ONE_WRITE)
        if small is not None:
            fields["Content-Length"] = str(len(small))
            return small
        if body.length is not None:
            fields["Content-Length"] = str(body.length)
        return _pieces(body)

    def _checked(
        self, response: aiohttp.ClientResponse, upload: aiohttp.UploadTracker, patience: Patience
    ) -> PlainAnswer:
        """Refuse a head that could not be passed on faithfully: aiohttp's response parser is lenient."""
        fields = end_to_end(response.raw_headers)
        try:
            if response.status == 101:
                raise BadHeader("an upgrade nobody asked for")
            if not REASON.fullmatch(response.reason or ""):
                raise BadHeader("a reason phrase with control characters")
            decode(fields)
        except BadHeader:
            response.close()
            raise EndpointFailed("bad_answer", sent=True) from None
        return PlainAnswer(response, fields, upload, patience, self._bounds.upstream_idle_seconds)


async def _pieces(body: RequestBody) -> AsyncGenerator[bytes, None]:
    """aiohttp sends the head with the first piece, but an endpoint may answer, or hang up, before there is one."""
    yield b""
    async for piece in body.pieces():
        yield piece
