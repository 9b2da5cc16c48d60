"""The only way a plugin reaches out by itself: GET, bounded in time and size, no redirects."""

from urllib.parse import urlsplit

import aiohttp

from proxy.endpoint import is_loopback
from proxy.head import Headers
from proxy.plugin import Fetched


class Fetcher:
    """Implements `proxy.Fetch` on a session of its own, apart from the exchanges'."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        self._session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), trust_env=False)

    async def stop(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def __call__(self, url: str, *, timeout_seconds: float = 5.0, max_bytes: int = 256 * 1024) -> Fetched:
        assert self._session is not None, "the fetcher is not started"
        _check(url)
        timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        try:
            # No redirects: PyJWT's own JWKS fetch followed them (CVE-2026-102267).
            async with self._session.get(url, timeout=timeout, allow_redirects=False) as response:
                body = await response.content.read(max_bytes + 1)
                while len(body) <= max_bytes and (piece := await response.content.read(max_bytes + 1 - len(body))):
                    body += piece
                if len(body) > max_bytes:
                    raise ValueError(f"the answer is larger than {max_bytes} bytes")
                return Fetched(response.status, Headers(response.raw_headers), body)
        except aiohttp.ClientError as error:
            raise OSError(f"{type(error).__name__} while fetching from {urlsplit(url).hostname}") from None


def _check(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname or "")):
        raise ValueError(f"only https is fetched, found {parts.scheme or 'no scheme'}")
