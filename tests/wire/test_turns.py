"""One connection and its requests, one after the other, on both loops, with and without TLS.

A listener of the test's own answers, so that nothing of an exchange is between the caller and what is tested.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop

from proxy.wire.caller import LINGER_SECONDS, Caller
from proxy.wire.door import Door, bind
from proxy.wire.inflow import HELD_BYTES, READ_BYTES
from proxy.wire.line import Landing
from proxy.wire.reply import Reply
from proxy.wire.request import Malformed, Request
from proxy.wire.watch import Watch
from tests.support.bounds import BOUNDS
from tests.support.certificate import HOST, write_pair
from tests.support.raw import read_message, request_bytes

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
BIG = bytes(range(256)) * 8192  # 2 MB
Answer = Callable[[Request, Reply], Awaitable[None]]
Test = Callable[["Listener"], Awaitable[None]]
Run = Callable[[Test, Answer], None]


async def echo(request: Request, reply: Reply) -> None:
    body = b""
    while piece := await request.body.next():
        body += piece
    reply.whole(200, "OK", [(b"X-Target", request.target.encode()), (b"Content-Length", b"%d" % len(body))], body)


class Listener:
    """Answers each request in a task of its own, and remembers who left."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.gone: list[Caller] = []
        self.failures: list[Exception] = []
        self.begun = 0
        self.tasks: set[asyncio.Task[None]] = set()
        self.watch = Watch()
        landing = Landing()
        self.door = Door(lambda: Caller(self, self.door, landing, BOUNDS, self.watch))
        self.connect: Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]

    def begin(self, caller: Caller, request: Request) -> None:
        self.begun += 1
        task = asyncio.get_running_loop().create_task(self._run(caller, request))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _run(self, caller: Caller, request: Request) -> None:
        reply = Reply(request)
        try:
            await self.answer(request, reply)
        except (ConnectionError, Malformed) as error:
            self.failures.append(error)
        caller.answered(reply)

    def begin_session(self, caller: Caller, request: Request, behind: bytes) -> None:
        raise AssertionError("nobody shook hands")

    def left(self, caller: Caller) -> None:
        self.gone.append(caller)

    @property
    def caller(self) -> Caller:
        (caller,) = self.door.inside
        assert isinstance(caller, Caller)
        return caller


@asynccontextmanager
async def listening(answer: Answer, folder: Path, *, tls: bool) -> AsyncIterator[Listener]:
    listener = Listener(answer)
    sockets = bind("127.0.0.1:0")
    host, port = sockets[0].getsockname()
    server = client = None
    if tls:
        write_pair(folder)
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(folder / "cert.pem", folder / "key.pem")
        client = ssl.create_default_context(cafile=folder / "cert.pem")
    name = HOST if tls else None
    listener.connect = lambda: asyncio.open_connection(host, port, ssl=client, server_hostname=name, limit=1 << 16)
    await listener.door.open(sockets, server)
    try:
        yield listener
    finally:
        await listener.door.shut(0)
        listener.door.close()
        while listener.door.inside or listener.tasks:
            await asyncio.sleep(0.005)
        listener.watch.close()


@pytest.fixture(params=LOOPS, ids=LOOPS)
def loop(request: pytest.FixtureRequest) -> Callable[[], Any]:
    made: Callable[[], Any] = LOOPS[request.param]
    return made


@pytest.fixture(params=[False, True], ids=["plain", "TLS"])
def run(request: pytest.FixtureRequest, loop: Callable[[], Any], tmp_path: Path) -> Run:
    """Runs a test on this loop, against this answer; nothing may go wrong unseen."""

    def runs(test: Test, answer: Answer = echo) -> None:
        faults: list[Any] = []

        async def main() -> None:
            asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
            async with asyncio.timeout(60), listening(answer, tmp_path, tls=request.param) as listener:
                await test(listener)

        with asyncio.Runner(loop_factory=loop) as runner:
            runner.run(main())
        assert faults == []

    return runs


def test_requests_of_a_pipeline_have_their_turns(run: Run) -> None:
    async def test(listener: Listener) -> None:
        reader, writer = await listener.connect()
        for number in range(90):
            writer.write(request_bytes("Content-Length: 3", target=f"/{number}", body=b"%03d" % number, close=False))
        for number in range(90):
            head, body = await read_message(reader)
            assert (b"X-Target: /%d\r\n" % number in head, body) == (True, b"%03d" % number)
        writer.close()

    run(test)


def test_no_more_is_read_of_a_pipeline_than_waits(run: Run) -> None:
    go_on = asyncio.Event()

    async def answer(request: Request, reply: Reply) -> None:
        await go_on.wait()
        await echo(request, reply)

    async def test(listener: Listener) -> None:
        reader, writer = await listener.connect()
        one = request_bytes(method="GET", close=False)
        writer.write(one * 20_000)
        while not (listener.door.inside and listener.caller._held_back):
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.05)
        assert len(listener.caller._pipeline.waiting) <= 100
        go_on.set()
        answers = []
        while not answers or b"\r\nConnection: close\r\n" not in answers[-1]:
            answers.append((await read_message(reader))[0])
        assert 100 <= len(answers) <= 101, "the last one says that the rest will not be answered"
        writer.transport.abort()

    run(test, answer)


@pytest.mark.parametrize("framing", ["Content-Length: 2097152", "Transfer-Encoding: chunked"])
def test_a_body_waits_in_the_socket_for_its_taker(run: Run, framing: str) -> None:
    most = 0

    async def answer(request: Request, reply: Reply) -> None:
        nonlocal most
        body = b""
        await asyncio.sleep(0.05)
        while piece := await request.body.next():
            most = max(most, request.body._held_bytes + len(piece))
            body += piece
            await asyncio.sleep(0)
        assert body == BIG
        reply.whole(200, "OK", [(b"Content-Length", b"2")], b"ok")

    async def test(listener: Listener) -> None:
        reader, writer = await listener.connect()
        data = BIG
        if framing.startswith("T"):
            pieces = (BIG[at : at + 100_000] for at in range(0, len(BIG), 100_000))
            data = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
        for _ in range(2):
            writer.write(request_bytes(framing, body=data, close=False))
            assert (await read_message(reader))[1] == b"ok"
        assert 0 < most <= HELD_BYTES + 2 * READ_BYTES
        writer.close()

    run(test, answer)


async def refuse(request: Request, reply: Reply) -> None:
    reply.whole(403, "No", [(b"Content-Length", b"2")], b"no")


def test_a_body_that_nobody_wanted_is_dropped_and_the_connection_stays(run: Run) -> None:
    """Whether it had come, was held back, or came later."""

    async def test(listener: Listener) -> None:
        reader, writer = await listener.connect()
        for size in (10, READ_BYTES + 10, len(BIG)):
            writer.write(request_bytes(f"Content-Length: {size}", body=BIG[: size // 2], close=False))
            assert (await read_message(reader))[1] == b"no"
            caller = listener.caller
            assert caller._lingers
            assert 0 < caller.deadline - listener.watch.now() <= LINGER_SECONDS
            writer.write(BIG[size // 2 : size])
            while caller._lingers:
                await asyncio.sleep(0.005)
        writer.write(request_bytes("Content-Length: 0", method="GET"))
        assert (await read_message(reader))[1] == b"no"
        assert await reader.read() == b""
        writer.close()
        assert listener.gone == [], "nobody left in the middle of anything"

    run(test, refuse)


def test_one_that_does_not_come_in_time_ends_the_connection(run: Run) -> None:
    async def test(listener: Listener) -> None:
        reader, writer = await listener.connect()
        writer.write(request_bytes("Content-Length: 10", body=b"half", close=False))
        await read_message(reader)
        listener.caller.run_out()
        assert await reader.read() == b""
        writer.close()

    run(test, refuse)


def test_a_last_answer_before_its_body_is_not_lost(run: Run) -> None:
    """A socket that is closed with bytes unread takes back what it has sent."""

    async def test(listener: Listener) -> None:
        reader, writer = await listener.connect()
        writer.write(request_bytes(f"Content-Length: {len(BIG)}", body=BIG))
        head, body = await read_message(reader)
        assert (b"\r\nConnection: close\r\n" in head, body) == (True, b"no")
        assert await reader.read() == b""
        writer.close()

    run(test, refuse)


def test_a_slow_reader_is_waited_for(run: Run) -> None:
    sent: list[int] = []

    async def answer(request: Request, reply: Reply) -> None:
        reply.begin(200, "OK", [], [], last=False)
        while not request.connection.paused:
            reply.send([BIG[:READ_BYTES]], last=False)
            sent.append(READ_BYTES)
        await request.connection.drain()
        assert not request.connection.paused
        reply.send([BIG[:1]], last=False)
        sent.append(1)
        reply.send([], last=True)

    async def test(listener: Listener) -> None:
        reader, writer = await listener.connect()
        writer.write(request_bytes(method="GET", close=False))
        assert (await read_message(reader))[1] == b"".join(BIG[:size] for size in sent)
        writer.close()

    run(test, answer)


def test_who_leaves_is_told_of_once_and_its_answer_goes_nowhere(run: Run) -> None:
    over = asyncio.Event()

    async def answer(request: Request, reply: Reply) -> None:
        reply.begin(200, "OK", [], [], last=False)
        try:
            while True:
                reply.send([BIG[:READ_BYTES]], last=False)
                await asyncio.sleep(0)  # else the loop, which knows that nothing is taken any more, could not tell
                await request.connection.drain()
        finally:
            over.set()

    async def test(listener: Listener) -> None:
        _, writer = await listener.connect()
        writer.write(request_bytes(method="GET", close=False) * 3)
        while not (listener.door.inside and listener.caller.paused):
            await asyncio.sleep(0.005)
        writer.transport.abort()
        await over.wait()
        assert len(listener.gone) == 1
        assert [type(failure) for failure in listener.failures] == [ConnectionResetError]
        assert listener.begun == 1, "those that waited never had their turn"

    run(test, answer)


def test_a_body_whose_sender_leaves_fails(run: Run) -> None:
    async def test(listener: Listener) -> None:
        _, writer = await listener.connect()
        writer.write(request_bytes("Content-Length: 10", body=b"half", close=False))
        while not listener.tasks:
            await asyncio.sleep(0.005)
        writer.close()
        while listener.door.inside:
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.01)
        assert [type(failure) for failure in listener.failures] == [ConnectionResetError]
        assert len(listener.gone) == 1

    run(test)


def test_an_answer_that_did_not_end_does_not_look_whole(run: Run) -> None:
    async def answer(request: Request, reply: Reply) -> None:
        reply.begin(200, "OK", [], [], last=False)
        reply.send([b"half"], last=False)

    async def test(listener: Listener) -> None:
        reader, writer = await listener.connect()
        writer.write(request_bytes(method="GET", close=False))
        assert (await reader.read()).endswith(b"4\r\nhalf\r\n")
        writer.close()
        reader, writer = await listener.connect()
        writer.write(b"GET / HTTP/1.0\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()

    run(test, answer)


@pytest.mark.parametrize("spoilt", [b"\0\0", b"GET / HTTP/1.1\r\nbad field: x\r\n\r\n", b"GET /" + b"a" * 20_000])
def test_what_was_well_formed_is_answered_before_what_is_not(run: Run, spoilt: bytes) -> None:
    async def test(listener: Listener) -> None:
        reader, writer = await listener.connect()
        writer.write(request_bytes(target="/good", method="GET", close=False) * 2 + spoilt)
        for _ in range(2):
            assert b"X-Target: /good\r\n" in (await read_message(reader))[0]
        head, body = await read_message(reader)
        assert head.startswith((b"HTTP/1.1 400 Bad Request\r\nDate: ", b"HTTP/1.1 431 "))
        assert b'"code": 4' in body
        assert await reader.read() == b""
        writer.close()

    run(test)


def test_who_is_told_that_it_sends_no_http_may_still_be_sending(run: Run) -> None:
    """Closed with bytes unread, a socket takes back what it has sent."""

    async def test(listener: Listener) -> None:
        reader, writer = await listener.connect()
        writer.write(b"POST / HTTP/1.1\r\nbad field: x\r\n\r\n" + 4 * BIG)
        head, _ = await read_message(reader)
        assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
        await writer.drain()
        caller = listener.caller
        assert 0 < caller.deadline - listener.watch.now() <= LINGER_SECONDS
        caller.run_out()
        assert await reader.read() == b""
        writer.close()
        assert listener.begun == 0

    run(test)


def test_where_it_was_reached_and_by_whom(run: Run) -> None:
    async def test(listener: Listener) -> None:
        _, writer = await listener.connect()
        while not listener.door.inside:
            await asyncio.sleep(0.005)
        caller = listener.caller
        host, port = writer.get_extra_info("peername")
        assert (caller.peer, caller.listening_at) == (host, f"{host}:{port}")
        assert caller.scheme == ("https" if listener.door._has_tls else "http")
        writer.close()
        while listener.door.inside:
            await asyncio.sleep(0.005)
        assert caller.listening_at == ":0"

    run(test)
