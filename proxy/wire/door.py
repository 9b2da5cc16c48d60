"""The door of one process: its listening sockets, the connections it let in, and how it shuts without loss.

`server.py` opens it at the start and shuts it at the stop. The sockets may be other processes' as well: what waits in
their queue when this door shuts is accepted by one of those. It knows nothing of exchanges, and never cuts a request
under way.
"""

import asyncio
import os
import socket
import ssl
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, cast

BACKLOG = 1024  # connections that may wait to be accepted; Linux cuts it to net.core.somaxconn
HANDSHAKE_SECONDS = 10.0  # of TLS, before a connection counts; asyncio's own limit is 60
GOODBYE_SECONDS = 30.0  # of TLS, for what is unsent, which counts, and then for the caller's close_notify
SETTLE_SECONDS = 0.05  # for connections that are accepted and have no transport yet
LAST_CALL_SECONDS = 1.0  # in which an idle connection may bring one more request, to be told that it is the last
_POLL_SECONDS = 0.02


class Sockets(NamedTuple):
    """What one process listens on, made by another: its supervisor."""

    public: Sequence[socket.socket]
    admin: Sequence[socket.socket]


def bind(address: str) -> list[socket.socket]:
    """Listening sockets for every address that "HOST:PORT" is. Raises OSError when it is taken, and names it."""
    host, _, port = address.rpartition(":")
    sockets: list[socket.socket] = []
    try:
        # "localhost" may be two addresses, one of each family.
        found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
        for family, place in dict.fromkeys((family, place[:2]) for family, _, _, _, place in found):
            sockets.append(socket.create_server(cast(Any, place), family=family, backlog=BACKLOG))
    except socket.gaierror as error:
        raise OSError(error.errno, f"{address}: {error.strerror}") from error
    except OSError as error:
        for made in sockets:
            made.close()
        # Its own text holds the address a second time.
        raise OSError(error.errno, f"{address}: {os.strerror(error.errno or 0).lower()}") from error
    return sockets


class Visitor(Protocol):
    """One connection inside, as the door sees it."""

    def hurry(self, seconds: float) -> None:
        """Without a request under way, it has no longer than this to bring one."""

    def force_close(self) -> None: ...


class Door:
    """See the module.

    Args:
        visitor: makes the protocol of a connection, which tells the door when it has `arrived` and when it has `left`.
        most: connections let in at once; the next gets the answer `full` and is closed.

    Attributes:
        last_call: every answer from now on ends its connection.
    """

    def __init__(
        self, visitor: Callable[[], asyncio.BaseProtocol], *, most: int = sys.maxsize, full: bytes = b""
    ) -> None:
        self._visitor = visitor
        self._most = most
        self._full = full
        self._listeners: list[asyncio.Server] = []
        self._has_tls = False
        self.inside: set[Visitor] = set()
        # Accepted, but still without a transport, or in its TLS handshake; one whose handshake fails is never told to
        # us again, and forgotten by its timer.
        self._arriving: dict[object, asyncio.TimerHandle | None] = {}
        self.turned_away = 0
        self.last_call = False

    async def open(self, sockets: Sequence[socket.socket], tls: ssl.SSLContext | None = None) -> None:
        """Let connections in. The door closes the sockets when it shuts."""
        self._has_tls = tls is not None
        for sock in sockets:
            listener = await asyncio.get_running_loop().create_server(
                self._let_in,
                sock=sock,
                ssl=tls,
                backlog=BACKLOG,
                ssl_handshake_timeout=HANDSHAKE_SECONDS if tls else None,
                ssl_shutdown_timeout=GOODBYE_SECONDS if tls else None,
            )
            self._listeners.append(listener)

    async def shut(self, within_seconds: float) -> None:
        """Let nobody in any more, and wait until everybody has left, or the time is over.

        Two reasons why closing at once loses requests (bench/restart.py shows it): idle connections that never were
        told, and CPython resets what it has accepted but not yet given a transport.
        """
        loop = asyncio.get_running_loop()
        began = time.monotonic()
        for listener in self._listeners:
            for sock in listener.sockets:
                # Nothing on uvloop, which needs none of it: accept and transport are one step there.
                loop.remove_reader(sock.fileno())
        if self._listeners:
            await asyncio.sleep(SETTLE_SECONDS)
        for listener in self._listeners:
            listener.close()
        self.last_call = True
        for visitor in self.inside:
            visitor.hurry(LAST_CALL_SECONDS)
        handshakes_until = began + (LAST_CALL_SECONDS if self._has_tls and self._listeners else 0)
        self._listeners.clear()
        while time.monotonic() < began + within_seconds:
            if not self.inside and time.monotonic() >= handshakes_until:
                break
            await asyncio.sleep(_POLL_SECONDS)

    def close(self) -> None:
        """Whoever is still inside has to leave."""
        for visitor in list(self.inside):
            visitor.force_close()

    def arrived(self, visitor: Visitor) -> None:
        """It has a transport now."""
        timer = self._arriving.pop(visitor, None)
        if timer is not None:
            timer.cancel()
        self.inside.add(visitor)
        if self.last_call:
            visitor.hurry(LAST_CALL_SECONDS)

    def left(self, visitor: Visitor) -> None:
        self.inside.discard(visitor)

    def _let_in(self) -> asyncio.BaseProtocol:
        if len(self.inside) + len(self._arriving) >= self._most:
            self.turned_away += 1
            return _TurnedAway(self._full)
        visitor = self._visitor()
        self._arriving[visitor] = None
        if self._has_tls:
            late = HANDSHAKE_SECONDS + 1
            forget = self._arriving.pop
            self._arriving[visitor] = asyncio.get_running_loop().call_later(late, forget, visitor, None)
        return visitor


class _TurnedAway(asyncio.Protocol):
    """One connection too many: answered before it asks, so that it costs nothing, and closed."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast(asyncio.Transport, transport)
        transport.write(self._answer)
        transport.close()
