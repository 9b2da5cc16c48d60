"""What a plugin may fetch: one GET, bounded in time and size, over HTTPS or to this machine."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from proxy.wire.fetch import Fetcher
from tests.support.raw import RawUpstream, answers, raw_upstream


@pytest.fixture
async def fetch() -> AsyncIterator[Fetcher]:
    fetcher = Fetcher()
    await fetcher.start()
    yield fetcher
    await fetcher.stop()


async def test_an_answer_as_it_is(fetch: Fetcher) -> None:
    answer = b"HTTP/1.1 404 Not Found\r\nCache-Control: max-age=60\r\nContent-Length: 2\r\n\r\n{}"
    async with raw_upstream(answers(answer)) as upstream:
        fetched = await fetch(upstream.url + "/keys?a=1")
    assert (fetched.status, fetched.body, fetched.headers.get("cache-control")) == (404, b"{}", "max-age=60")
    assert upstream.requests[0][0].startswith(b"GET /keys?a=1 HTTP/1.1\r\n")


async def test_redirects_are_not_followed(fetch: Fetcher) -> None:
    async with raw_upstream(answers(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")) as other:
        redirect = b"HTTP/1.1 302 Found\r\nLocation: %b/\r\nContent-Length: 0\r\n\r\n" % other.url.encode()
        async with raw_upstream(answers(redirect)) as upstream:
            assert (await fetch(upstream.url)).status == 302
        assert other.connections == 0


@pytest.mark.parametrize("size", [10, 11, 100_000])
@pytest.mark.parametrize("chunked", [False, True])
async def test_the_size_is_bounded(size: int, chunked: bool, fetch: Fetcher) -> None:
    body = b"x" * size
    sent = (
        b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (size, body)
        if chunked
        else b"Content-Length: %d\r\n\r\n%b" % (size, body)
    )
    async with raw_upstream(answers(b"HTTP/1.1 200 OK\r\n" + sent)) as upstream:
        if size == 10:
            assert (await fetch(upstream.url, max_bytes=10)).body == body
        else:
            with pytest.raises(ValueError, match="larger than 10 bytes"):
                await fetch(upstream.url, max_bytes=10)


async def test_the_time_is_bounded(fetch: Fetcher) -> None:
    async def silent(_: RawUpstream, reader: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        await reader.read()

    async with raw_upstream(silent) as upstream:
        with pytest.raises(TimeoutError):
            await fetch(upstream.url, timeout_seconds=0.05)


@pytest.mark.parametrize(
    "answer",
    [b"", b"not http\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort"],
    ids=["none", "not HTTP", "cut short"],
)
async def test_a_failure_names_the_host_and_shows_no_url(answer: bytes, fetch: Fetcher) -> None:
    async with raw_upstream(answers(answer)) as upstream:
        with pytest.raises(OSError, match="while fetching from 127") as failed:
            await fetch(upstream.url + "/keys?key=planted")
    assert "planted" not in repr(failed.value)


async def test_nobody_there(fetch: Fetcher) -> None:
    with pytest.raises(OSError, match="while fetching from localhost"):
        await fetch("http://localhost:9/")


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/keys",
        "http://127.example.com/keys",  # a name, not an address of this machine
        "http://localhost.example.com/keys",
        "ftp://localhost/keys",
        "file:///etc/passwd",
        "keys",
        "",
    ],
)
async def test_only_https_or_this_machine(url: str, fetch: Fetcher) -> None:
    with pytest.raises(ValueError, match="only https is fetched"):
        await fetch(url)
