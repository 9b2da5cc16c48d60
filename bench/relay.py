"""What the two bare aiohttp relays share: how they are started, and which headers cross.

`targets/aiohttp_session.py` and `targets/aiohttp_connector.py` are measuring rods, not proxies to run: they check
nobody, and have no deadline, no retry and no bound.
"""

import asyncio
import os
import ssl
import sys
from collections.abc import Awaitable, Callable, Iterable

import uvloop
from aiohttp import web
from aiohttp.typedefs import RawHeaders

from bench.targets import ROOT, UPSTREAM_KEY, Place, Start

SMALL_BYTES = 64 << 10  # an answer up to this is read whole and written at once
READ_BYTES = 256 << 10
_STAY = frozenset(
    b"host connection keep-alive te upgrade transfer-encoding content-length authorization x-goog-api-key".split()
)
_STAY_DOWN = frozenset(b"connection keep-alive transfer-encoding upgrade trailer".split())
KEY = UPSTREAM_KEY.encode()


def start_of(module: str) -> Callable[[Place], Start]:
    def start(place: Place) -> Start:
        command = [sys.executable, "-O", "-m", module, str(place.port), f"{place.scheme}://127.0.0.1:{place.upstream}"]
        return command, {"PYTHONPATH": str(ROOT), "BENCH_CA": str(place.certificate or "")}

    return start


def trust() -> ssl.SSLContext | bool:
    """For the connector: whom to trust, where the upstream speaks TLS."""
    file = os.environ["BENCH_CA"]
    return ssl.create_default_context(cafile=file) if file else True


def going_up(fields: RawHeaders) -> Iterable[tuple[bytes, bytes]]:
    return [field for field in fields if field[0].lower() not in _STAY] + [(b"x-goog-api-key", KEY)]


def going_down(fields: RawHeaders) -> Iterable[tuple[bytes, bytes]]:
    return [field for field in fields if field[0].lower() not in _STAY_DOWN]


def run(make: Callable[[str], Awaitable[Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]]]) -> None:
    """Serve with what `make` makes for the upstream's base URL: the arguments are port and URL."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        handler = web.Server(await make(sys.argv[2]), access_log=None)
        server = await loop.create_server(handler, "127.0.0.1", int(sys.argv[1]), backlog=4096)
        await server.serve_forever()

    uvloop.run(main())
