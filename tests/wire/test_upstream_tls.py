"""Our TLS to endpoints, against OpenSSL in memory, cut anywhere, and against real servers."""

import asyncio
import ssl
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from proxy.wire import upstream_tls
from proxy.wire.intake import TLS_READ_BYTES, Intake
from proxy.wire.upstream_tls import _SIP_BYTES, Tls
from tests.support.certificate import HOST, write_pair
from tests.tools import node, with_stand_ins

LOOPS = [asyncio.new_event_loop, uvloop.new_event_loop]
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


class Wire:
    """The transport below: keeps what is written."""

    def __init__(self) -> None:
        self.written = b""
        self.writes: list[bytes] = []
        self.closing = ""

    def write(self, data: bytes) -> None:
        assert not self.closing
        self.written += data
        self.writes.append(data)

    def close(self) -> None:
        self.closing = self.closing or "closed"

    def abort(self) -> None:
        self.closing = self.closing or "aborted"

    def is_closing(self) -> bool:
        return bool(self.closing)

    def pause_reading(self) -> None:
        """Nobody reads from this but the test."""

    def resume_reading(self) -> None:
        """As above."""

    def get_write_buffer_size(self) -> int:
        return len(self.written)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"peername": ("127.0.0.1", 1)}.get(name, default)


class Told:
    """The protocol above: keeps what it is told."""

    def __init__(self) -> None:
        self.transport: Any = None
        self.came: list[bytes] = []
        self.events: list[str] = []
        self.lost: BaseException | None = None
        self.room = Intake().decrypted
        self.react: Callable[[], None] = lambda: None  # to each read

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.events.append("made")

    def get_buffer(self, sizehint: int) -> memoryview:
        return self.room

    def buffer_updated(self, nbytes: int) -> None:
        self.came.append(bytes(self.room[:nbytes]))
        self.react()

    def eof_received(self) -> None:
        self.events.append("goodbye")

    def pause_writing(self) -> None:
        """It writes on."""

    def resume_writing(self) -> None:
        """As above."""

    def connection_lost(self, exc: BaseException | None) -> None:
        self.events.append("lost")
        self.lost = exc


class Peer:
    """An endpoint's side of the TLS, in memory."""

    def __init__(self, pair: Path) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair / "cert.pem", pair / "key.pem")
        self._coming, self._going = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.session = context.wrap_bio(self._coming, self._going, server_side=True)
        self._open = False

    def take(self, data: bytes) -> bytes:
        """What it was sent; b"" while the handshake goes on."""
        self._coming.write(data)
        got = b""
        try:
            if not self._open:
                self.session.do_handshake()
                self._open = True
            while piece := self.session.read(1 << 16):
                got += piece
        except ssl.SSLWantReadError:
            pass
        return got

    def give(self) -> bytes:
        """What goes to the other side."""
        return self._going.read()


class Both:
    """A connection of two in memory."""

    def __init__(self, pair: Path, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3, host: str = HOST) -> None:
        self.loop = asyncio.new_event_loop()
        self.wire, self.told, self.peer = Wire(), Told(), Peer(pair)
        trusted = ssl.create_default_context(cafile=pair / "cert.pem")
        trusted.minimum_version = trusted.maximum_version = version
        self.made = self.loop.create_future()
        self.tls = Tls(self.told, trusted, host, Intake(), self.made)
        self.tls.connection_made(self.wire)

    def up(self) -> bytes:
        """All that was written goes to the peer: what it got."""
        data, self.wire.written = self.wire.written, b""
        return self.peer.take(data)

    def down(self, *sizes: int) -> None:
        """All that the peer has to say comes, in pieces of these sizes and then whole."""
        data = self.peer.give()
        for size in [*sizes, *[TLS_READ_BYTES] * (len(data) // TLS_READ_BYTES + 1)]:
            piece, data = data[:size], data[size:]
            if piece:
                self.feed(piece)
        assert not data

    def feed(self, data: bytes) -> None:
        self.tls.get_buffer(-1)[: len(data)] = data
        self.tls.buffer_updated(len(data))

    def say_goodbye(self) -> None:
        with pytest.raises(ssl.SSLWantReadError):
            self.peer.session.unwrap()

    def shake(self) -> None:
        while not self.made.done():
            self.up()
            self.down()
        self.up()


def spoilt(records: bytes) -> bytes:
    return records[:-1] + bytes([records[-1] ^ 1])


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a certificate and its key."""
    folder = tmp_path_factory.mktemp("pair")
    write_pair(folder)
    return folder


messages = st.lists(st.integers(0, 3 * 16384).map(lambda size: bytes([size % 251]) * size), max_size=6)


@given(
    version=st.sampled_from(VERSIONS),
    ups=messages,
    downs=messages,
    sizes=st.lists(st.integers(1, TLS_READ_BYTES), max_size=40),
    small=st.booleans(),
)
def test_what_either_side_says_comes_whole(
    version: ssl.TLSVersion, ups: list[bytes], downs: list[bytes], sizes: list[int], small: bool, pair: Path
) -> None:
    """However it is cut, the handshake and the goodbye too."""
    both = Both(pair, version)
    cuts = [size % 7 + 1 for size in sizes] * 50 if small else sizes
    while not both.made.done():
        both.up()
        both.down(*cuts)
    got = both.up()
    for message in ups:
        both.tls.write(message)
        got += both.up()
    assert got == b"".join(ups)
    for message in downs:
        if message:
            both.peer.session.write(message)
    both.say_goodbye()
    both.down(*cuts)
    assert b"".join(both.told.came) == b"".join(downs)
    assert both.told.events == ["made", "goodbye"]
    assert both.wire.closing == "closed"
    assert both.tls.get_write_buffer_size() == len(both.wire.written)
    both.loop.close()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_read_is_handed_on_at_once(version: ssl.TLSVersion, pair: Path) -> None:
    both = Both(pair, version)
    both.shake()
    both.told.came.clear()
    both.peer.session.write(b"x" * 10 * TLS_READ_BYTES)
    both.down()
    assert sum(map(len, both.told.came)) == 10 * TLS_READ_BYTES
    assert len(both.told.came) == 11  # records take a little more room than what is in them
    both.loop.close()


@pytest.mark.parametrize("version", VERSIONS)
def test_it_says_goodbye_and_waits_for_no_answer(version: ssl.TLSVersion, pair: Path) -> None:
    both = Both(pair, version)
    both.shake()
    both.tls.write(b"the last")
    both.tls.close()
    both.tls.close()
    both.tls.write(b"too late")
    assert both.wire.closing == "closed"
    assert both.up() == b"the last"
    assert both.peer.session.read(1) == b""  # by a goodbye, else it would want more
    both.tls.connection_lost(None)
    assert both.told.events == ["made", "lost"]
    assert both.told.lost is None
    both.loop.close()


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("how", ["a bad record", "the end of the stream", "a reset"])
def test_what_was_cut_off_is_lost_by_an_error(how: str, version: ssl.TLSVersion, pair: Path) -> None:
    both = Both(pair, version)
    both.shake()
    both.peer.session.write(b"good")
    reset = None
    if how == "a bad record":
        both.feed(spoilt(both.peer.give()))
        assert both.told.came == []
    elif how == "the end of the stream":
        both.down()
        both.tls.eof_received()
    else:
        both.down()
        reset = ConnectionResetError()
    assert both.wire.closing == ("" if reset else "aborted")
    both.tls.connection_lost(reset)
    assert both.told.events == ["made", "lost"]
    assert both.told.lost is reset if reset else isinstance(both.told.lost, ssl.SSLError)
    both.loop.close()


def test_what_came_before_a_bad_record_is_handed_on(pair: Path) -> None:
    both = Both(pair)
    both.shake()
    both.told.came.clear()
    both.peer.session.write(b"good")
    both.peer.session.write(b"bad")
    both.feed(spoilt(both.peer.give()))
    assert both.told.came == [b"good"]
    both.tls.connection_lost(None)
    assert isinstance(both.told.lost, ssl.SSLError)
    both.loop.close()


@pytest.mark.parametrize("how", ["another name", "no TLS", "the end of the stream", "lost", "given up"])
def test_a_handshake_that_fails_is_told_to_who_dialled(how: str, pair: Path) -> None:
    both = Both(pair, host="other.example" if how == "another name" else HOST)
    if how == "another name":
        both.up()
        both.down()
    elif how == "no TLS":
        both.feed(b"HTTP")
        both.feed(b"/1.1 400 Bad Request\r\nContent-Length: 0\r\n")
    elif how == "the end of the stream":
        both.tls.eof_received()
    elif how == "given up":
        both.made.cancel()
        both.tls.abort()
    assert both.wire.closing == ("" if how == "lost" else "aborted")
    both.tls.connection_lost(None)
    assert both.told.events == []
    if how == "given up":
        assert both.made.cancelled()
    else:
        expected = ConnectionResetError if how == "lost" else ssl.SSLError
        assert isinstance(both.made.exception(), expected)
        assert isinstance(both.made.exception(), ssl.SSLCertVerificationError) is (how == "another name")
    both.loop.close()


def test_a_handshake_that_ends_when_nobody_waits_any_more_is_no_error(pair: Path) -> None:
    both = Both(pair)
    both.made.cancel()
    for _ in range(3):
        both.up()
        both.down()
    assert both.told.events == ["made"]
    both.tls.abort()
    both.tls.connection_lost(None)
    assert both.told.events == ["made", "lost"]
    both.loop.close()


def test_what_it_knows_of_itself(pair: Path) -> None:
    both = Both(pair, ssl.TLSVersion.TLSv1_2)
    both.shake()
    assert both.tls.get_extra_info("sslcontext").check_hostname
    assert both.tls.get_extra_info("ssl_object").version() == "TLSv1.2"
    assert both.tls.get_extra_info("peername") == ("127.0.0.1", 1)
    assert both.tls.get_extra_info("socket", 7) == 7
    assert both.tls.get_protocol() is both.told
    both.loop.close()


@pytest.mark.parametrize("behind", ["a goodbye", "a bad record"])
def test_the_end_waits_while_the_protocol_has_paused(behind: str, pair: Path) -> None:
    """aiohttp's parser keeps what it was given when it paused, and an end before it goes on loses that."""
    both = Both(pair)
    both.shake()
    both.told.came.clear()
    both.told.react = both.tls.pause_reading
    both.peer.session.write(b"x" * 50_000)
    if behind == "a goodbye":
        both.say_goodbye()
        both.down()
    else:
        both.feed(both.peer.give() + b"\x17\x03\x03\x00\x20" + b"z" * 32)
    assert (b"".join(both.told.came), both.told.events, both.wire.closing) == (b"x" * 50_000, ["made"], "")

    async def go_on() -> None:
        both.tls.resume_reading()
        both.tls.pause_reading()
        await asyncio.sleep(0)
        assert both.told.events == ["made"]
        assert both.tls.eof_received()  # the wire's own is nothing new
        both.tls.resume_reading()
        await asyncio.sleep(0)

    both.loop.run_until_complete(go_on())
    assert both.told.events == (["made", "goodbye"] if behind == "a goodbye" else ["made"])
    assert both.wire.closing == ("closed" if behind == "a goodbye" else "aborted")
    both.loop.close()


@pytest.mark.parametrize("act", ["abort", "close"])
def test_who_has_hung_up_is_told_of_no_goodbye(act: str, pair: Path) -> None:
    both = Both(pair)
    both.shake()
    both.told.react = getattr(both.tls, act)
    both.peer.session.write(b"more than was asked for")
    both.say_goodbye()
    both.down()
    assert both.told.events == ["made"]
    both.loop.close()


def test_a_reset_behind_a_goodbye_takes_nothing_back(pair: Path) -> None:
    """So it is where the endpoint closes with bytes of an upload unread."""
    both = Both(pair)
    both.shake()
    both.say_goodbye()
    both.down()
    both.tls.connection_lost(ConnectionResetError())
    assert (both.told.events, both.told.lost) == (["made", "goodbye", "lost"], None)
    both.loop.close()


def test_a_protocol_that_fails_when_it_is_made_fails_the_dial(pair: Path) -> None:
    both = Both(pair)
    both.told.connection_made = lambda transport: 1 // 0  # type: ignore[method-assign,assignment,return-value]
    with pytest.raises(ZeroDivisionError):
        both.shake()
    both.tls.connection_lost(ZeroDivisionError())  # as loops do then
    assert isinstance(both.made.exception(), ZeroDivisionError)
    both.loop.close()


def test_a_buffer_that_is_too_small_is_no_goodbye(pair: Path) -> None:
    both = Both(pair)
    both.shake()
    both.told.room = memoryview(bytearray(10_000))
    both.peer.session.write(b"x" * 10_001)
    with pytest.raises(AssertionError, match="too small"):
        both.down()
    assert both.told.events == ["made"]
    both.loop.close()


def test_what_is_lost_keeps_no_session(pair: Path) -> None:
    """A session holds 100 KB and more, and whoever still holds the transport need not."""
    both = Both(pair)
    both.shake()
    session = weakref.ref(both.tls.get_extra_info("ssl_object"))
    both.peer.session.write(b"good")
    both.feed(spoilt(both.peer.give()))
    assert session() is not None
    both.tls.connection_lost(None)
    assert isinstance(both.told.lost, ssl.SSLError)  # and its traceback holds none
    assert session() is None
    both.loop.close()


def test_a_large_write_is_a_row_of_small_ones(pair: Path) -> None:
    """OpenSSL would keep as much memory as the largest took."""
    both = Both(pair)
    both.shake()
    message = b"%07d" % 7 * 100_000
    both.tls.write(message)
    largest = max(map(len, both.wire.writes))
    assert largest < _SIP_BYTES + 1000
    assert both.up() == message
    both.loop.close()


@with_stand_ins
@pytest.mark.parametrize("make_loop", LOOPS, ids=["asyncio", "uvloop"])
def test_what_nobody_takes_after_a_close_is_given_up(
    make_loop: Callable[[], Any], pair: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstream_tls, "_UNSENT_SECONDS", 0.2)

    async def main() -> None:
        reached: asyncio.Future[asyncio.Transport] = asyncio.get_running_loop().create_future()

        async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            transport: Any = writer.transport
            transport.pause_reading()
            reached.set_result(transport)

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair / "cert.pem", pair / "key.pem")
        server = await asyncio.start_server(deaf, "127.0.0.1", 0, ssl=context)
        told = await dialled(server.sockets[0].getsockname()[1], pair)
        peer = await reached
        try:
            for _ in range(200):
                told.transport.write(b"x" * 100_000)
            told.transport.close()
            assert told.transport.get_write_buffer_size()
            async with asyncio.timeout(20):
                while "lost" not in told.events:
                    await asyncio.sleep(0.05)
        finally:
            peer.abort()
            server.close()

    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(main())


async def dialled(port: int, pair: Path) -> Told:
    told, loop = Told(), asyncio.get_running_loop()
    made = loop.create_future()
    trusted = ssl.create_default_context(cafile=pair / "cert.pem")
    await loop.create_connection(lambda: Tls(told, trusted, HOST, Intake(), made), "127.0.0.1", port)
    await made
    return told


@pytest.mark.parametrize("make_loop", LOOPS, ids=["asyncio", "uvloop"])
def test_a_peer_that_asks_for_a_new_handshake_is_refused(make_loop: Callable[[], Any], pair: Path) -> None:
    """Node's answer to that is to hang up. Nobody is left waiting, and what came is not taken for all."""

    async def main() -> None:
        serving = await asyncio.create_subprocess_exec(
            *node("renegotiate.mjs"), pair / "key.pem", pair / "cert.pem", stdout=asyncio.subprocess.PIPE
        )
        assert serving.stdout is not None
        try:
            told = await dialled(int(await serving.stdout.readline()), pair)
            told.transport.write(b"x" * 1000)
            async with asyncio.timeout(30):
                while "lost" not in told.events:
                    await asyncio.sleep(0.01)
        finally:
            serving.kill()
            await serving.wait()
        assert told.events == ["made", "lost"]
        assert told.lost is not None
        assert b"".join(told.came) == b"x" * 1000

    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(main())
