"""Our TLS to endpoints, against OpenSSL in memory, cut anywhere, and against a server that changes its keys."""

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from proxy.wire.intake import TLS_READ_BYTES, Intake
from proxy.wire.upstream_tls import Tls
from tests.support.certificate import HOST, write_pair
from tests.tools import node

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


class Wire:
    """The transport below: keeps what is written."""

    def __init__(self) -> None:
        self.written = b""
        self.closing = ""

    def write(self, data: bytes) -> None:
        assert not self.closing
        self.written += data

    def close(self) -> None:
        self.closing = self.closing or "closed"

    def abort(self) -> None:
        self.closing = self.closing or "aborted"

    def is_closing(self) -> bool:
        return bool(self.closing)

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
        self._buffer = Intake().decrypted

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.events.append("made")

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.came.append(bytes(self._buffer[:nbytes]))

    def eof_received(self) -> None:
        self.events.append("goodbye")

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
                self.tls.get_buffer(-1)[: len(piece)] = piece
                self.tls.buffer_updated(len(piece))
        assert not data

    def shake(self) -> None:
        while not self.made.done():
            self.up()
            self.down()
        self.up()


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
    with pytest.raises(ssl.SSLWantReadError):
        both.peer.session.unwrap()
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
        bad = both.peer.give()[:-1] + b"!"
        both.tls.get_buffer(-1)[: len(bad)] = bad
        both.tls.buffer_updated(len(bad))
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
    came = both.peer.give()[:-1] + b"!"
    both.tls.get_buffer(-1)[: len(came)] = came
    both.tls.buffer_updated(len(came))
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
        both.tls.get_buffer(-1)[:4] = b"HTTP"
        both.tls.buffer_updated(4)
        both.tls.get_buffer(-1)[:40] = b"/1.1 400 Bad Request\r\nContent-Length: 0\r\n"[:40]
        both.tls.buffer_updated(40)
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


@pytest.mark.parametrize("make_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_a_peer_may_ask_for_a_new_handshake(make_loop: Callable[[], Any], pair: Path) -> None:
    """As TLS 1.2 allows. What is written meanwhile waits for the peer's part; nothing is lost or out of order."""

    async def main() -> None:
        serving = await asyncio.create_subprocess_exec(
            *node("renegotiate.mjs"), pair / "key.pem", pair / "cert.pem", stdout=asyncio.subprocess.PIPE
        )
        assert serving.stdout is not None
        try:
            await talk(int(await serving.stdout.readline()), serving.stdout)
        finally:
            serving.kill()
            await serving.wait()

    async def talk(port: int, said: asyncio.StreamReader) -> None:
        told, made = Told(), asyncio.get_running_loop().create_future()
        trusted = ssl.create_default_context(cafile=pair / "cert.pem")
        dialling = asyncio.get_running_loop().create_connection(
            lambda: Tls(told, trusted, HOST, Intake(), made), "127.0.0.1", port
        )
        await dialling
        await made
        sent, waited = b"", False
        async with asyncio.timeout(30):
            while not waited:
                piece = b"%09d," % len(sent) * 20
                told.transport.write(piece)
                sent += piece
                waited = bool(told.transport._unsent)
                await asyncio.sleep(0)
            assert told.transport.get_write_buffer_size() >= len(piece)
            assert await said.readline() == b"renegotiated\n"
            while sum(map(len, told.came)) < len(sent):
                await asyncio.sleep(0.01)
        assert b"".join(told.came) == sent
        told.transport.abort()

    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(main())
