"""aiohttp by its public API alone, tuned: low-level server, lean ClientSession, one write for a small answer ("L5")."""

from aiohttp import ClientSession, ClientTimeout, DummyCookieJar, TCPConnector, web
from multidict import CIMultiDict
from yarl import URL

from bench.relay import READ_BYTES, SMALL_BYTES, going_down, going_up, run, start_of, trust
from bench.targets import Target

TARGETS = (
    Target(
        name="aiohttp-session",
        label="aiohttp ClientSession, bare",
        start=start_of("bench.targets.aiohttp_session"),
        phases=("small", "events", "image", "slow"),
        note="the usual tuned relay: checks nobody, logs nothing, no deadline",
    ),
)
_OWN_HEADERS = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")


async def relay(base: str) -> "Relay":
    session = ClientSession(
        connector=TCPConnector(limit=0, use_dns_cache=False, ssl=trust()),
        cookie_jar=DummyCookieJar(),
        timeout=ClientTimeout(total=None, sock_connect=None),
        auto_decompress=False,
        skip_auto_headers=_OWN_HEADERS,
        read_bufsize=READ_BYTES,
    )
    return Relay(session, base)


class Relay:
    def __init__(self, session: ClientSession, base: str) -> None:
        self._session = session
        self._base = base

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read() if request.body_exists else None
        headers = CIMultiDict((name.decode(), value.decode()) for name, value in going_up(request.raw_headers))
        url = URL(self._base + request.raw_path, encoded=True)
        async with self._session.request(
            request.method, url, headers=headers, data=body, allow_redirects=False
        ) as answer:
            fields = CIMultiDict((name.decode(), value.decode()) for name, value in going_down(answer.raw_headers))
            length = answer.content_length
            if length is not None and length <= SMALL_BYTES:
                data = await answer.read()
                return web.Response(status=answer.status, reason=answer.reason, headers=fields, body=data)
            out = web.StreamResponse(status=answer.status, reason=answer.reason, headers=fields)
            await out.prepare(request)
            async for chunk in answer.content.iter_any():
                await out.write(chunk)
            await out.write_eof()
            return out


if __name__ == "__main__":
    run(relay)
