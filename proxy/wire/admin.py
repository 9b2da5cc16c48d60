"""The admin listener: health, metrics, status and explanations, for operators and never for callers.

It has no login, so it belongs on loopback or behind a firewall; it shows no secret either way. What it shows
comes from the `Office` it is handed.
"""

import asyncio
import socket
from collections.abc import Sequence
from typing import Any, Protocol

import msgspec
from aiohttp import web

from proxy.head import RawHeaders
from proxy.wire.door import bind


class Office(Protocol):
    """What `app.py` answers."""

    def unready(self) -> list[str]:
        """Why no new exchanges should be sent here, a line each; empty when they should."""

    async def status(self) -> dict[str, Any]: ...

    def metrics(self) -> tuple[bytes, str]:
        """The exposition text and its content type."""

    async def explain(self, method: str, target: str, headers: RawHeaders) -> msgspec.Struct: ...


class Question(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of POST /explain."""

    method: str
    target: str
    headers: list[tuple[str, str]] = []


class AdminListener:
    """GET /healthz /readyz /metrics /status, POST /explain."""

    def __init__(self, office: Office) -> None:
        self._office = office
        self._runner: web.AppRunner | None = None

    async def start(self, address: str, sockets: Sequence[socket.socket] | None = None) -> None:
        """Listen on "HOST:PORT", or on sockets that listen there already. Raises OSError when it is taken."""
        app = web.Application()
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/status", self._status)
        app.router.add_post("/explain", self._explain)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        if sockets is None:
            sockets = await asyncio.to_thread(bind, address)
        for sock in sockets:
            await web.SockSite(self._runner, sock).start()

    @property
    def address(self) -> tuple[str, int]:
        assert self._runner is not None
        name = self._runner.addresses[0]
        return name[0], name[1]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _healthz(self, _: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _readyz(self, _: web.Request) -> web.Response:
        reasons = self._office.unready()
        if not reasons:
            return web.Response(text="ready\n")
        return web.Response(text="".join(f"{line}\n" for line in ("not ready", *reasons)), status=503)

    async def _metrics(self, _: web.Request) -> web.Response:
        # In a thread: it reads /proc, and with thousands of series takes milliseconds.
        text, content_type = await asyncio.to_thread(self._office.metrics)
        return web.Response(body=text, headers={"Content-Type": content_type})

    async def _status(self, _: web.Request) -> web.Response:
        return _json(await self._office.status())

    async def _explain(self, request: web.Request) -> web.Response:
        try:
            question = msgspec.json.decode(await request.read(), type=Question)
        except msgspec.DecodeError as error:  # also of the wrong shape
            return _json({"error": str(error)}, status=400)
        headers = [(name.encode(), value.encode()) for name, value in question.headers]
        return _json(await self._office.explain(question.method.upper(), question.target, headers))


def _json(value: Any, status: int = 200) -> web.Response:
    body = msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"
    return web.Response(body=body, status=status, content_type="application/json")
