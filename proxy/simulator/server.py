"""The simulator itself: it listens, reads each request whole, has it answered and keeps the ledger.

`weir simulate` runs one; tests and benches start one in their own loop. On aiohttp's low-level server, because the
raw target and any method must arrive as they were sent.
Refuses to pass for Google: every answer says `x-weir-simulator: 1`.
"""

import asyncio
import hashlib
import time
from collections.abc import Collection

from aiohttp import web

from proxy.simulator import live
from proxy.simulator.accounts import Accounts
from proxy.simulator.answer import Answer, break_off, failure
from proxy.simulator.call import Call
from proxy.simulator.codings import ENCODINGS
from proxy.simulator.control import PREFIX, control
from proxy.simulator.doubled import Server, as_sent
from proxy.simulator.echo import echo
from proxy.simulator.errors import GoogleError, invalid_argument, plain
from proxy.simulator.faults import Fault, Faults, parse
from proxy.simulator.files import Files
from proxy.simulator.ledger import BODY_KEPT_BYTES, Entry, Ledger, new_ledger
from proxy.simulator.models import Models
from proxy.simulator.routes import route
from proxy.simulator.storage import Storage
from proxy.simulator.transmission import transmit

_TOKEN_SEGMENTS = ("token",)  # the path where oauth2.googleapis.com gives tokens
_READ_BYTES = 256 << 10
_HEADER_BYTES = 64 << 10


class Simulator:
    """
    Attributes:
        ledger: every request seen, oldest first.
        faults: what is to go wrong, for whom.
        accounts: the keys that are good (empty: any credential is).
    """

    def __init__(self, keys: Collection[str] = (), *, models: Collection[str] = ()) -> None:
        """`models`: patterns of names to accept beside the known ones, `("*",)` for any."""
        self.ledger: Ledger = new_ledger()
        self.faults = Faults()
        self.accounts = Accounts(keys)
        self.url = ""
        self._models = Models(models)
        self._storage = Storage()
        self._files = Files(self._storage)
        self._seen = 0
        self._news = asyncio.Event()
        self._busy = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._server: web.Server | None = None
        self._listener: asyncio.Server | None = None

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self._server = Server(
            self._handle,
            handler_cancellation=True,  # a caller that leaves ends a hang, a stall or a slow stream
            access_log=None,
            read_bufsize=_READ_BYTES,
            max_field_size=_HEADER_BYTES,
            max_line_size=_HEADER_BYTES,
            auto_decompress=False,
        )
        self._listener = await asyncio.get_running_loop().create_server(self._server, host, port)
        bound = self._listener.sockets[0].getsockname()
        name = f"[{bound[0]}]" if ":" in bound[0] else bound[0]
        self.url = f"http://{name}:{bound[1]}"

    async def stop(self) -> None:
        """Close the listener and every connection, also those that hang on demand."""
        if self._listener is None or self._server is None:
            return
        self._listener.close()
        await self._server.shutdown(timeout=0.1)
        await self._listener.wait_closed()
        self._listener = self._server = None

    async def idle(self) -> None:
        """Wait until no request is under way, so that the ledger is complete."""
        await self._idle.wait()

    async def seen(self, count: int) -> None:
        """Wait until so many requests have come since the start, answered or not."""
        while self._seen < count:
            await self._news.wait()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        started = time.monotonic()
        self._busy += 1
        self._idle.clear()
        try:
            return await self._serve(request, started)
        except ConnectionError:  # the caller left between two writes; aiohttp finds the same and closes
            return web.StreamResponse(status=499)
        finally:
            self._busy -= 1
            if not self._busy:
                self._idle.set()

    async def _serve(self, request: web.BaseRequest, started: float) -> web.StreamResponse:
        target = request.raw_path
        entry = Entry(
            number=self._seen + 1,
            received_at=time.time(),
            method=request.method,
            target=target,
            headers=[_text(header) for header in as_sent(request.raw_headers)],
        )
        own = target.startswith(PREFIX)
        if not own:
            self.ledger.append(entry)
            self._seen += 1
            self._news.set()
            self._news = asyncio.Event()
        try:
            body = await _read(request, entry)
            base_url = f"{request.scheme}://{request.headers.get('Host', self.url.partition('//')[2])}"
            call = Call(request.method, target, request.headers, body, base_url)
            entry.model = call.path.model
            if own:
                answer, fault = self._control(call), Fault()
            else:
                answer, fault = self._answer(call, entry)
            if answer.status == 101:
                return await live.hold(request, call, entry, self._models)
            return await transmit(request, call, answer, fault, entry, started)
        finally:
            if entry.complete is None:
                entry.complete = False

    def _control(self, call: Call) -> Answer:
        try:
            return control(call, self.faults, self.ledger)
        except GoogleError as error:
            return failure(error)

    def _answer(self, call: Call, entry: Entry) -> tuple[Answer, Fault]:
        """Answer, whatever goes wrong on demand before the first byte included."""
        fault = Fault()
        try:
            fault = self._read_fault(call, entry)
            encoding = call.switch("encoding")
            if encoding is not None and encoding not in ENCODINGS:
                raise invalid_argument(f"x-sim-encoding takes {' or '.join(ENCODINGS)}, found {encoding}")
            if call.switch("echo") is not None:
                return echo(call, entry.headers), fault
            if call.path.segments == _TOKEN_SEGMENTS:
                return self.accounts.give_token(call), fault
            error = fault.error(
                call.path.model,
                vertex=call.path.vertex,
                dedicated=call.headers.get("x-vertex-ai-llm-request-type") == "dedicated",
            )
            if error is not None:
                raise error
            if call.path.segments[:1] == ("ws",):
                return live.handshake(call), fault
            answer = route(call, self._models, self._storage, self._files)
        except GoogleError as error:
            return failure(error, in_list=call.openai), fault
        if fault.midstream_error is not None and answer.framing != "unary":
            answer = break_off(answer, plain(fault.midstream_error))
        return answer, fault

    def _read_fault(self, call: Call, entry: Entry) -> Fault:
        """Who calls, then what is to go wrong for them: a header of the call's own beats a standing order."""
        needs_account = call.switch("echo") is None and call.path.segments != _TOKEN_SEGMENTS
        if needs_account and not self._files.is_chunk(call):
            call.account = entry.key = self.accounts.authenticate(call)
        entry.fault = call.switch("fault") or self.faults.take(call.account, call.path.model)
        try:
            return parse(entry.fault)
        except ValueError as error:
            raise invalid_argument(str(error)) from error


def _text(header: tuple[bytes, bytes]) -> tuple[str, str]:
    return header[0].decode("latin-1"), header[1].decode("latin-1")


async def _read(request: web.BaseRequest, entry: Entry) -> bytes:
    """The body, whole; its size and digest go into the ledger as it comes, so that a broken upload shows too."""
    if request.headers.get("Expect", "").lower() == "100-continue" and request.transport is not None:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    digest = hashlib.sha256()
    pieces: list[bytes] = []
    async for piece in request.content.iter_any():
        digest.update(piece)
        pieces.append(piece)
        entry.body_bytes += len(piece)
        entry.body_sha256 = digest.hexdigest()
    body = b"".join(pieces)
    entry.body_sha256 = digest.hexdigest()
    entry.body = body if len(body) < BODY_KEPT_BYTES else None
    entry.body_complete = True
    return body
