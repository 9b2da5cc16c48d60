"""The promise itself: what crosses the gateway is what would have arrived without it.

Each case goes to the simulator twice, direct and through the gateway, as the same bytes on a raw socket. Method,
target, body and end-to-end headers must be equal at the upstream; status, headers and body at the caller. What may
differ is `INTENDED_DIFFERENCES` and nothing else.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest

from proxy.gemini.paths import parse_operation
from proxy.simulator import Entry, Simulator
from proxy.wire.headers import INTENDED_DIFFERENCES
from tests.support.gateway import Gateway, gateway, routes
from tests.support.raw import answers, raw_upstream, read_chunks, send_bytes

ROOT = Path(__file__).parents[2]
KEY = "a-callers-key"  # good at the simulator too, so that the direct call passes
TEXT = b'{"contents":[{"parts":[{"text":"Hello"}]}]}'
IMAGE = TEXT[:-1] + b',"generationConfig":{"responseModalities":["IMAGE"],"imageConfig":{"imageSize":"1K"}}}'
CHAT = b'{"model":"gemini-2.5-flash","messages":[{"role":"user","content":"Hello"}]}'
R = "/v1beta1/projects/p/locations/us-central1"


class Case(NamedTuple):
    method: str
    target: str
    body: bytes | None = None
    headers: tuple[str, ...] = ()


HEADERS = (
    "X-Many: 1",
    "x-many: 2",
    "X-Many: 1",
    "X-Empty:",
    "X-Utf8: gr\u00fc\u00df",
    "Accept: */*, a;q=0.1",
    "Cookie: a=b; c=d",
    "User-Agent: google-genai-sdk/3.4.0 gl-python/3.11",
    "X-Server-Timeout: 30",
    "Range: bytes=0-9",
    'If-None-Match: W/"x"',
    "Via: 1.0 other",
    "X-Forwarded-For: 10.0.0.1",
)

# One or more of every family of operations, then what is in no list.
FAMILIES = [
    Case("POST", "/v1beta/models/gemini-2.5-flash:generateContent", TEXT),
    Case("POST", "/v1/models/gemini-2.5-flash:generateContent", TEXT),
    Case("POST", "/v1alpha/models/gemini-2.5-flash:generateContent", TEXT),
    Case("POST", "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse", TEXT),
    Case("POST", "/v1beta/models/gemini-2.5-flash:streamGenerateContent", TEXT),
    Case("POST", "/v1beta/models/gemini-3-pro-image-preview:generateContent", IMAGE),
    Case("POST", "/v1beta/models/gemini-3-pro-image-preview:streamGenerateContent?alt=sse", IMAGE),
    Case("POST", "/v1beta/models/gemini-2.5-flash:generateContent?%24alt=json;enum-encoding=int", TEXT),
    Case("POST", "/v1beta/models/gemini-2.5-flash:countTokens", TEXT),
    Case("POST", "/v1beta/models/gemini-embedding-2:embedContent", b'{"content":{"parts":[{"text":"x"}]}}'),
    Case(
        "POST",
        "/v1beta/models/gemini-embedding-2:batchEmbedContents",
        b'{"requests":[{"content":{"parts":[{"text":"x"}]}}]}',
    ),
    Case("POST", "/v1beta/tunedModels/mine:generateContent", TEXT),
    Case("POST", "/v1beta/dynamic/mine:generateContent", TEXT),
    Case("POST", "/v1beta/models/gemini-2.5-flash:batchGenerateContent", b'{"batch":{}}'),
    Case("POST", "/v1beta/models/imagen-4.0-generate-001:predict", b'{"instances":[{"prompt":"x"}]}'),
    Case("POST", "/v1beta/models/veo-3.1-generate-preview:predictLongRunning", b'{"instances":[{"prompt":"x"}]}'),
    Case("GET", "/v1beta/models"),
    Case("GET", "/v1beta/models?pageSize=2&pageToken="),
    Case("GET", "/v1beta/models/gemini-2.5-flash"),
    Case("GET", "/v1beta/batches/b1"),
    Case("POST", "/v1beta/batches/b1:cancel", b""),
    Case("GET", "/v1beta/models/m/operations/o1"),
    Case("POST", "/v1beta/cachedContents", b'{"model":"models/gemini-2.5-flash","contents":[]}'),
    Case("GET", "/v1beta/cachedContents"),
    Case("PATCH", "/v1beta/cachedContents/c1?updateMask=ttl", b'{"ttl":"60s"}'),
    Case("DELETE", "/v1beta/cachedContents/c1"),
    Case("GET", "/v1beta/files?pageSize=10"),
    Case("GET", "/v1beta/files/f1"),
    Case("DELETE", "/v1beta/files/f1"),
    Case("GET", "/v1beta/files/f1:download?alt=media"),
    Case("POST", "/v1beta/files", b'{"file":{}}'),
    Case("POST", "/v1beta/fileSearchStores", b"{}"),
    Case("DELETE", "/v1beta/fileSearchStores/s1?force=true"),
    Case("GET", "/v1beta/fileSearchStores/s1/documents"),
    Case("POST", "/v1alpha/auth_tokens", b"{}"),
    Case("POST", "/v1/interactions", b'{"model":"gemini-2.5-flash","input":"x","stream":true}', ("Cookie: ",)),
    Case("GET", "/v1/interactions/i1?stream=false"),
    Case("POST", "/v1/interactions/i1/cancel", b""),
    Case("GET", "/v1beta/tunedModels"),
    Case("GET", "/v1beta/corpora/c/documents"),
    Case("POST", "/v1beta/models/aqa:generateAnswer", b"{}"),
    Case("POST", "/v1beta/openai/chat/completions", CHAT),
    Case(
        "POST",
        "/v1beta/openai/chat/completions",
        CHAT[:-1] + b',"stream":true,"stream_options":{"include_usage":true}}',
    ),
    Case("POST", "/v1beta/openai/embeddings", b'{"model":"gemini-embedding-2","input":"x"}'),
    Case("GET", "/v1beta/openai/models"),
    Case("POST", "/v1beta:chatCompletions", CHAT),
    Case("POST", f"{R}/publishers/google/models/gemini-2.5-flash:generateContent", TEXT),
    Case("POST", f"{R}/publishers/google/models/gemini-2.5-flash:streamGenerateContent?alt=sse", TEXT),
    Case("POST", f"{R}/publishers/google/models/gemini-2.5-flash:countTokens", TEXT),
    Case("POST", f"{R}/publishers/google/models/imagen-4.0-generate-001:predict", b'{"instances":[{"prompt":"x"}]}'),
    Case("POST", f"{R}/publishers/google/models/veo-3.1-generate-preview:fetchPredictOperation", b"{}"),
    Case("POST", f"{R}/endpoints/123:generateContent", TEXT),
    Case("POST", f"{R}/endpoints/openapi/chat/completions", CHAT),
    Case("POST", "/v1/publishers/google/models/gemini-2.5-flash:generateContent", TEXT),
    Case("GET", "/v1beta1/publishers/google/models/gemini-2.5-flash"),
    Case("GET", f"{R}/cachedContents"),
    Case("POST", f"{R}/batchPredictionJobs", b"{}"),
    Case("GET", f"{R}/tuningJobs"),
]
ODD = [
    Case("GET", "/"),
    Case("GET", "/not/anything/we/know"),
    Case("PUT", "/v9/new:verb?x=1", b"\x00\xff binary \r\n\r\n"),
    Case("PATCH", "/a%2Fb/%20c/~/%7E/%zz", b"x"),
    Case("DELETE", "/a/../b/./c//d///e"),
    Case("OPTIONS", "/cors", None, ("Origin: https://app.example", "Access-Control-Request-Method: POST")),
    Case("GET", "//double//slash"),
    Case("GET", "/q?a=1&a=2&b=&c&=d&%26=%3D&e=a+b%20c;f"),
    Case("GET", "/q?k%20ey=1&keyx=2&xkey=3"),
    Case("GET", "/colon:verb:again?alt=media"),
    Case("POST", "/empty-body", b""),
    Case("POST", "/chunked", b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", ("Transfer-Encoding: chunked",)),
    Case("POST", "/gzip", b"\x1f\x8b\x08\x00not-really-gzip", ("Content-Encoding: gzip",)),
    Case("POST", "/large", bytes(range(256)) * 2000),
    Case("GET", "/headers", None, HEADERS),
    Case("POST", "/status", b"{}", ("X-Sim-Status: 201",)),
    Case("GET", "/status", None, ("X-Sim-Status: 304",)),
    Case("GET", "/status", None, ("X-Sim-Status: 404",)),
    Case("HEAD", "/head"),
]

HOP = {"connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "content-length", "host", "expect"}
CREDENTIALS = {"x-goog-api-key", "authorization"}


class Answer(NamedTuple):
    status_line: str
    headers: list[tuple[str, str]]
    body: bytes


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    simulator = Simulator()
    await simulator.start()
    yield simulator
    await simulator.stop()


@pytest.fixture(params=["fast", "plain"])
async def through(
    simulator: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> AsyncIterator[Gateway]:
    """On each road."""
    text = routes(simulator.url, server=f'road = "{request.param}"')
    async with gateway(tmp_path, text, monkeypatch) as running:
        yield running


async def ask(host: str, port: int, case: Case, *, echo: bool) -> Answer:
    framed = any("chunked" in header for header in case.headers)
    length = () if case.body is None or framed else (f"Content-Length: {len(case.body)}",)
    lines = [
        f"{case.method} {case.target} HTTP/1.1",
        f"Host: {host}:{port}",  # as the endpoint's own; errors of Vertex name it
        "Content-Type: application/json",
        credential_for(case),
        *(["X-Sim-Echo: 1"] if echo else []),
        *case.headers,
        *length,
    ]
    reader, writer = await asyncio.open_connection(host, port)
    writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + (case.body or b""))
    try:
        async with asyncio.timeout(60):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            status_line, *fields = head.removesuffix("\r\n\r\n").split("\r\n")
            headers = [(name, value.strip()) for name, _, value in (field.partition(":") for field in fields)]
            return Answer(status_line, headers, await _body(reader, status_line, headers, case.method))
    finally:
        writer.close()


def credential_for(case: Case) -> str:
    """As its clients send it, and as the gateway puts it in."""
    openai = parse_operation(case.method, case.target).api == "openai"
    return f"Authorization: Bearer {KEY}" if openai else f"x-goog-api-key: {KEY}"


async def _body(reader: asyncio.StreamReader, status_line: str, headers: list[tuple[str, str]], method: str) -> bytes:
    of = {name.lower(): value for name, value in headers}
    if method == "HEAD" or status_line.split()[1] in ("204", "304"):
        return b""
    if of.get("transfer-encoding") == "chunked":
        return await read_chunks(reader)
    return await reader.readexactly(int(of["content-length"]))


def end_to_end(headers: list[tuple[str, str]], *, but: set[str]) -> list[tuple[str, str]]:
    """Name and value in order; the case of a name carries no meaning (RFC 9110 section 5.1)."""
    return [(name.lower(), value) for name, value in headers if name.lower() not in HOP | but]


def seen(entry: Entry) -> dict[str, object]:
    return {
        "method": entry.method,
        "target": entry.target,
        "body": (entry.body_bytes, entry.body_sha256),
        "headers": end_to_end(entry.headers, but=CREDENTIALS),
    }


VARIES = {"date", "server-timing", "x-weir-exchange"}  # of their own nature from one call to the next, or ours


@pytest.mark.parametrize("case", FAMILIES + ODD, ids=lambda case: f"{case.method} {case.target}")
async def test_nothing_but_the_intended_changes(case: Case, simulator: Simulator, through: Gateway) -> None:
    echo = case in ODD or parse_operation(case.method, case.target).account_bound
    host, _, port = simulator.url.removeprefix("http://").partition(":")
    direct = await ask(host, int(port), case, echo=echo)
    proxied = await ask(through.host, through.port, case, echo=echo)
    await simulator.idle()
    at_direct, at_proxied = simulator.ledger

    assert seen(at_proxied) == seen(at_direct)
    assert [header for header in at_proxied.headers if header[0].lower() in CREDENTIALS] in (
        [("x-goog-api-key", "key-of-a")],
        [("Authorization", "Bearer key-of-a")],
    )
    assert proxied.status_line == direct.status_line
    assert end_to_end(proxied.headers, but=VARIES) == end_to_end(direct.headers, but=VARIES)
    if echo:
        return  # the echo names the credential and the connection; what it saw was compared above
    assert without_ids(proxied.body) == without_ids(direct.body)


def without_ids(body: bytes) -> bytes:
    """The simulator numbers its answers, as Google does."""
    return re.sub(rb'"(responseId|createTime|id|created)": ?("[^"]*"|\d+)', rb'"\1":0', body)


@pytest.mark.parametrize("case", FAMILIES, ids=lambda case: f"{case.method} {case.target}")
def test_every_family_is_known_by_name(case: Case) -> None:
    assert parse_operation(case.method, case.target).name != "unknown"


@pytest.mark.parametrize(
    ("target", "arrives"),
    [
        ("/x?key=team&a=1", "/x?a=1"),
        ("/x?a=1&key=team", "/x?a=1"),
        ("/x?key=team", "/x"),
        ("/x?a=&access_token=t&b&oauth_token=t", "/x?a=&b"),
        ("/x?k%65y=team&a=%20", "/x?a=%20"),
    ],
)
async def test_what_is_taken_out_of_the_target(
    target: str, arrives: str, simulator: Simulator, through: Gateway
) -> None:
    await ask(through.host, through.port, Case("GET", target), echo=True)
    assert simulator.ledger[-1].target == arrives


@pytest.mark.parametrize(("road", "arrives"), [("fast", "/x?"), ("plain", "/x")])
async def test_a_bare_question_mark_arrives_but_by_the_plain_road(
    road: str, arrives: str, simulator: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with gateway(tmp_path, routes(simulator.url, server=f'road = "{road}"'), monkeypatch) as weir:
        await ask(weir.host, weir.port, Case("GET", "/x?"), echo=True)
    assert simulator.ledger[-1].target == arrives


async def test_bytes_that_are_no_text_and_spellings_that_vary_cross_as_they_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = b"X-Odd: caf\xe9 \xff\r\nX-ODD: 2\r\nx-odd:\r\n"
    answer = b"HTTP/1.1 200 OK\r\n" + odd + b"Content-Length: 2\r\n\r\nok"
    async with raw_upstream(answers(answer)) as upstream:
        async with gateway(tmp_path, routes(upstream.url), monkeypatch) as weir:
            got = await send_bytes(
                weir.host, weir.port, b"GET / HTTP/1.1\r\nHost: a\r\n" + odd + b"Connection: close\r\n\r\n"
            )
    fields = odd.replace(b"x-odd:\r\n", b"x-odd: \r\n")
    assert b"\r\n" + fields in got
    assert b"\r\n" + fields in upstream.requests[0][0]


@pytest.mark.parametrize(("route", "status"), [("", 400), ('hidden_usage = "allow"', 200)])
@pytest.mark.parametrize("query", ["fields=candidates", "%24fields=candidates", "alt=proto"])
async def test_what_would_hide_usage_is_refused_unless_allowed(
    query: str, route: str, status: int, simulator: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = Case("POST", f"/v1beta/models/gemini-2.5-flash:generateContent?{query}", TEXT, ("X-Sim-Status: 200",))
    async with gateway(tmp_path, routes(simulator.url, route=route), monkeypatch) as weir:
        answer = await ask(weir.host, weir.port, case, echo=True)
    assert int(answer.status_line.split()[1]) == status
    (record,) = weir.records()
    assert (record.reason, len(simulator.ledger)) == (("USAGE_HIDDEN", 0) if status == 400 else (None, 1))


def test_the_readme_lists_the_intended_differences() -> None:
    readme = (ROOT / "README.md").read_text()
    for side, what, why in INTENDED_DIFFERENCES:
        assert f"| {side} | {what} | {why} |" in readme
