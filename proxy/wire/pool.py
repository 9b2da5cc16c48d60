"""Connections to the endpoints, behind one narrow seam: send a request, get an `Answer` to read.

The relays are its only users. This road goes through aiohttp's ClientSession with everything that could
change a request or repeat it switched off: retries, redirects, cookies, decompression, invented headers.
"""

import re
from functools import partial
from typing import Any

import aiohttp
from aiohttp import ClientSession
from aiohttp.abc import AbstractStreamWriter
from multidict import CIMultiDict
from yarl import URL

from proxy.endpoint import Endpoint
from proxy.head import Headers, ResponseHead
from proxy.refusal import EndpointFailed
from proxy.wire.bounds import Bounds
from proxy.wire.connector import Connector
from proxy.wire.handshake import dial
from proxy.wire.headers import BadHeader, decode, end_to_end
from proxy.wire.intake import READER_BYTES, next_piece
from proxy.wire.leg import Leg
from proxy.wire.patience import Interrupted, Patience
from proxy.wire.request_body import RequestBody

ONE_WRITE = 64 << 10  # a body up to this goes out together with its head
_INVENTED = ("Accept", "Accept-Encoding", "User-Agent", "Content-Type")
_REASON = re.compile(r"[\t\x20-\x7e\x80-\xff]*")  # RFC 9112 section 4


class AnswerBroke(Exception):
    """The answer began and did not end as it said it would."""


class Answer:
    """An endpoint's answer: its head, and its body piece by piece."""

    def __init__(
        self,
        response: aiohttp.ClientResponse,
        fields: CIMultiDict[str],
        upload: aiohttp.UploadTracker,
        patience: Patience,
        idle_seconds: float,
    ) -> None:
        self.fields = fields  # end-to-end only, ready to be sent down
        self.head = ResponseHead(response.status, response.reason or "", Headers(response.raw_headers))
        self.length = response.content_length
        self._response = response
        self._upload = upload
        self._patience = patience
        self._idle_seconds = idle_seconds

    @property
    def uploading(self) -> bool:
        """It came before the request had gone up whole, and the rest is still going."""
        return not self._upload.upload_complete.done()

    async def read(self) -> bytes:
        """The next piece, b"" at the end. Raises AnswerBroke, or Interrupted when the exchange was."""
        try:
            return await self._patience.wait(next_piece(self._response.content), self._idle_seconds, "upstream_idle")
        except (aiohttp.ClientError, OSError) as error:
            raise AnswerBroke(type(error).__name__) from error

    def close(self) -> None:
        """Let go of it: the connection goes back to the pool if the body was read to its end, else it is cut."""
        if self._response.content.at_eof():
            self._response.release()
        else:
            self._response.close()


class _Upload(aiohttp.UploadTracker):
    """Knows whether anything of a body left us; `bytes_written` forgets what was not asked for before a disconnect.

    Private names of aiohttp, pinned by tests/wire/test_aiohttp_private.py.
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


class Pool:
    """All upstream connections of this process."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._session: ClientSession | None = None
        self._connector: aiohttp.TCPConnector | None = None

    async def start(self) -> None:
        bounds = self._bounds
        # limit=0: the default of 100 connections would queue the 101st exchange without a word.
        # pool idle time below any front end's, so that we never write into a connection being closed.
        self._connector = Connector(limit=0, keepalive_timeout=bounds.pool_idle_seconds, ttl_dns_cache=30)
        self._session = ClientSession(
            connector=self._connector,
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

    async def stop(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def send(
        self,
        endpoint: Endpoint,
        method: str,
        target: str,
        fields: CIMultiDict[str],
        body: RequestBody,
        patience: Patience,
        *,
        flex: bool = False,
    ) -> Answer:
        """One try. Raises EndpointFailed, CallerGone, or Interrupted when the exchange was.

        Errors of aiohttp are never shown: their text holds the URL.
        """
        assert self._session is not None, "the pool is not started"
        upload = _Upload()
        data = await self._data(fields, body)
        flex = flex or body.asks_for_flex
        body.moved = lambda: patience.extend(self._first_byte_seconds(flex=flex or body.asks_for_flex))
        request = self._session.request(
            method,
            # The authority comes from the routes file alone; `encoded` keeps the target's bytes.
            URL(endpoint.url + target, encoded=True),
            headers=fields,
            data=data,
            allow_redirects=False,
            upload_tracker=upload,
        )
        try:
            response = await patience.wait(request, self._first_byte_seconds(flex=flex), "first_byte_timeout")
        except Interrupted as stop:
            if stop.reason == "first_byte_timeout":
                raise EndpointFailed("first_byte_timeout", sent=True) from None
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

    async def dial(self, endpoint: Endpoint, target: str, fields: CIMultiDict[str], protocols: list[str]) -> Leg:
        """Open a WebSocket session. Raises EndpointFailed, or HandshakeRefused."""
        assert self._connector is not None, "the pool is not started"
        return await dial(self._connector, URL(endpoint.url + target, encoded=True), fields, protocols, self._bounds)

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
        return body.pieces()

    def _checked(self, response: aiohttp.ClientResponse, upload: aiohttp.UploadTracker, patience: Patience) -> Answer:
        """Refuse a head that could not be passed on faithfully: aiohttp's response parser is lenient."""
        try:
            if response.status == 101:
                raise BadHeader("an upgrade nobody asked for")
            if not _REASON.fullmatch(response.reason or ""):
                raise BadHeader("a reason phrase with control characters")
            fields = decode(end_to_end(response.raw_headers))
        except BadHeader:
            response.close()
            raise EndpointFailed("bad_answer", sent=True) from None
        return Answer(response, fields, upload, patience, self._bounds.upstream_idle_seconds)
