"""The fast road to the endpoints: connections of our own, which aiohttp's connector dials and nothing of aiohttp reads.

The pool takes it unless `[server] road` says otherwise. It makes a request's head, sends it with a small body in one
write, and waits for the head of the answer. It repeats nothing: what became of a request, its attempt's record says.
"""

from typing import Final, final

from proxy.endpoint import Endpoint
from proxy.refusal import CallerGone, EndpointFailed
from proxy.wire.answer import ONE_WRITE
from proxy.wire.bounds import Bounds
from proxy.wire.connections import Connections
from proxy.wire.connector import Connector
from proxy.wire.fast_answer import FastAnswer
from proxy.wire.intake import Intake
from proxy.wire.patience import Interrupted, Patience
from proxy.wire.request_body import RequestBody
from proxy.wire.upstream_head import UpstreamHead

# That one of these has no body goes without saying; of another it is said, else some answer 411 (RFC 9110 section 8.6).
_SELDOM_WITH_BODY: Final = frozenset({"GET", "HEAD", "OPTIONS"})


@final
class FastRoad:
    """See the module."""

    def __init__(self, connector: Connector, bounds: Bounds) -> None:
        self._connector = connector
        self._bounds = bounds
        # From the last piece that went up. Flex calls may queue at Google for half an hour (Gemini fact 6.3).
        self._first_byte_seconds = bounds.first_byte_seconds
        self._flex_first_byte_seconds = bounds.flex_first_byte_seconds
        self._intake = Intake()
        self._connections: dict[str, Connections] = {}  # by the endpoint's URL

    @property
    def in_use(self) -> int:
        """How many connections a request has."""
        return sum(connections.in_use for connections in self._connections.values())

    async def stop(self) -> None:
        for connections in self._connections.values():
            await connections.stop()

    async def send(
        self,
        endpoint: Endpoint,
        head: UpstreamHead,
        body: RequestBody,
        patience: Patience,
        *,
        flex: bool = False,
    ) -> FastAnswer:
        """As `Pool.send`."""
        connections = self._connections.get(endpoint.url)
        if connections is None:
            connections = Connections(endpoint.url, self._connector, self._intake, self._bounds)
            self._connections[endpoint.url] = connections
        whole = body.at_once(ONE_WRITE)
        if whole is None:
            whole = await body.small(ONE_WRITE)
        lines = head.lines(connections.host)
        connection = connections.take()
        if connection is None:
            connection = await connections.dial(patience)
        if body.caller_left:
            connections.keep(connection)  # nothing was asked on it
            raise CallerGone("it left before anything was sent")
        length = body.length if whole is None else len(whole)
        data = b"".join([lines, _framing(head.method, body, length), whole or b""])
        answer = connection.ask(data, patience, no_body=head.method == "HEAD", sent=whole is not None)
        data = lines = b""  # they would be held until the answer comes
        if whole is None:
            body.moved = lambda: patience.extend(self._seconds(flex=flex or body.asks_for_flex()))
            connection.upload(body)
        elif not flex:
            patience.reprieve = body.flex_seconds
        try:
            patience.begin(answer, self._seconds(flex=flex), "first_byte_timeout")
            came = await answer
        except BaseException as stop:
            sent = connection.sent and not connection.uploading
            connection.cut()
            if isinstance(stop, Interrupted):
                if stop.reason == "first_byte_timeout":
                    raise EndpointFailed("first_byte_timeout", sent=True) from None
                stop.sent = sent
            raise
        finally:
            patience.end()
        if isinstance(came, FastAnswer):
            return came
        raise came

    def _seconds(self, *, flex: bool) -> float:
        """To wait for the first byte."""
        return self._flex_first_byte_seconds if flex else self._first_byte_seconds


def _framing(method: str, body: RequestBody, length: int | None) -> bytes:
    """What a head ends with."""
    if length is None:
        return b"\r\nTransfer-Encoding: chunked\r\n\r\n"
    if body.exists or method not in _SELDOM_WITH_BODY:
        return b"\r\nContent-Length: %d\r\n\r\n" % length
    return b"\r\n\r\n"
