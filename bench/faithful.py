"""Before a target is measured: does it pass everything on whole, and keep the caller's secret?

`run.py` prints what this finds. A proxy that drops bytes is not fast.
"""

from bench.http1 import dechunked
from bench.load import PROMPT, Caller, Line, connect
from bench.running import FRAMINGS, IMAGE, SMALL, STREAM
from bench.targets import UPSTREAM_KEY, Target

_UPLOAD = b'{"contents": [{"parts": [{"text": "' + b"0123456789abcdef" * 40_000 + b'"}]}]}'


async def unfaithful(target: Target, caller: Caller, upstream_port: int) -> list[str]:
    """What it does wrong, in words; empty for a good one."""
    upstream = Caller(upstream_port)
    wrong = []
    for what, path in [
        ("a small answer", f"{SMALL}?bench=wait-0"),
        *((f"an image by {framing}", f"{IMAGE}?bench=image-1-{framing}") for framing in FRAMINGS),
    ]:
        if await _body(caller, path) != await _body(upstream, path):
            wrong.append(f"{what} arrives altered")
    if (await _body(caller, f"{STREAM}5-2")).count(b"data: ") != 5:
        wrong.append("events are lost")
    await _body(caller, SMALL)
    head, body = await _seen(upstream)
    if UPSTREAM_KEY not in head:
        wrong.append("the upstream's key is not put in")
    if any(value.split()[-1] in head for _, value in caller.headers):
        wrong.append("the caller's secret goes up")
    if body != PROMPT:
        wrong.append("a request body is written anew")
    if "upload" in target.phases and body == PROMPT:
        line = await connect(caller.port, Line)
        await line.upload(caller.request(SMALL, framing="Transfer-Encoding: chunked\r\n"), [_UPLOAD])
        line.transport.abort()
        if (await _seen(upstream))[1] != _UPLOAD:
            wrong.append("a request body in chunks arrives altered")
    return wrong


async def _body(caller: Caller, path: str) -> bytes:
    line = await connect(caller.port, lambda: Line(keep=True))
    await line.call(caller.request(path))
    line.transport.abort()
    return dechunked(line.head, b"".join(line.kept))


async def _seen(upstream: Caller) -> tuple[str, bytes]:
    """The last request as the upstream got it."""
    head, _, body = (await _body(upstream, "/seen")).partition(b"\r\n\r\n")
    head += b"\r\n\r\n"
    return head.decode("latin-1"), dechunked(head, body)
