"""What the simulator will say, before it is sent: a status, headers and a body made of events.

A body is a list of events (one for a unary answer, one a chunk for a stream), and an event is a list of pieces, so
that megabytes of image are never copied into one string. `transmission.py` puts an Answer onto the wire.
Refuses nothing; it knows Google's framing and head, not what is said.
"""

import secrets
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from proxy.simulator.errors import GoogleError

JSON = "application/json; charset=UTF-8"
Framing = Literal["unary", "sse", "array"]
Piece = bytes | memoryview


class Event(msgspec.Struct, frozen=True):
    """Bytes that leave together, and the usage a reader knows after them."""

    pieces: Sequence[Piece]
    usage: Mapping[str, Any] | None = None

    @property
    def size(self) -> int:
        return sum(len(piece) for piece in self.pieces)


class Answer(msgspec.Struct, frozen=True):
    status: int
    headers: tuple[tuple[str, str], ...]
    events: tuple[Event, ...]
    framing: Framing = "unary"

    @property
    def size(self) -> int:
        return sum(event.size for event in self.events)

    @property
    def usage(self) -> Mapping[str, Any] | None:
        """What Google would bill, whether or not the caller stays to read it."""
        return next((event.usage for event in reversed(self.events) if event.usage), None)


def head(content_type: str, *, tier: str | None = None, sse: bool = False) -> tuple[tuple[str, str], ...]:
    """The headers of a real answer (Gemini fact 4.5), Vary as the three lines Google sends."""
    headers = [("Content-Type", content_type)]
    if sse:
        headers.append(("Content-Disposition", "attachment"))
    headers += [("Vary", "Origin"), ("Vary", "X-Origin"), ("Vary", "Referer")]
    headers += [
        ("Server", "scaffolding on HTTPServer2"),
        ("X-XSS-Protection", "0"),
        ("X-Frame-Options", "SAMEORIGIN"),
        ("X-Content-Type-Options", "nosniff"),
    ]
    if tier is not None:
        headers.append(("x-gemini-service-tier", tier))
    return tuple(headers)


def encode(document: object, *, pretty: bool = True) -> bytes:
    """JSON as Google writes it: two spaces deep in unary answers, one line in events."""
    packed = msgspec.json.encode(document)
    return msgspec.json.format(packed, indent=2) + b"\n" if pretty else packed


def placeholder() -> str:
    """A text that stands for a payload in JSON until `insert` puts it in; never in what a caller wrote."""
    return f"@{secrets.token_hex(16)}@"


def insert(packed: bytes, payloads: Mapping[str, Piece]) -> list[Piece]:
    """Put each payload where its placeholder stands, without joining: the payloads may be tens of megabytes."""
    pieces: list[Piece] = [packed]
    for placeholder, payload in payloads.items():
        last = pieces.pop()
        before, found, after = bytes(last).partition(placeholder.encode())
        pieces += [before, payload, after] if found else [last]
    return pieces


def unary(
    document: object,
    *,
    usage: Mapping[str, Any] | None = None,
    tier: str | None = None,
    payloads: Mapping[str, Piece] | None = None,
    pretty: bool = True,
) -> Answer:
    pieces = insert(encode(document, pretty=pretty), payloads or {})
    return Answer(200, head(JSON, tier=tier), (Event(pieces, usage),))


def sse(
    chunks: Sequence[tuple[object, Mapping[str, Any] | None]],
    *,
    tier: str | None = None,
    payloads: Mapping[str, Piece] | None = None,
    last: bytes = b"",
    line_end: bytes = b"\r\n\r\n",
) -> Answer:
    """Each chunk is one `data:` line, ended by CRLF CRLF; nothing follows the last one unless asked."""
    events = [
        Event([b"data: ", *insert(encode(document, pretty=False), payloads or {}), line_end], usage)
        for document, usage in chunks
    ]
    if last:
        events.append(Event([last]))
    return Answer(200, head("text/event-stream", tier=tier, sse=True), tuple(events), "sse")


def array(
    chunks: Sequence[tuple[object, Mapping[str, Any] | None]],
    *,
    tier: str | None = None,
    payloads: Mapping[str, Piece] | None = None,
) -> Answer:
    """The default framing of a stream: one JSON array whose elements are written as they come."""
    events = []
    for number, (document, usage) in enumerate(chunks):
        opening = b"[" if number == 0 else b",\r\n"
        pieces = insert(encode(document).rstrip(b"\n"), payloads or {})
        events.append(Event([opening, *pieces], usage))
    events.append(Event([b"]"]))
    return Answer(200, head(JSON, tier=tier), tuple(events), "array")


def failure(error: GoogleError, *, in_list: bool = False) -> Answer:
    """`in_list`: the OpenAI-compatible surface wraps the error in a list of one (Gemini fact 3)."""
    document = error.document()
    body = encode([document] if in_list else document)
    return Answer(error.code, head(JSON), (Event([body]),))


def break_off(answer: Answer, error: GoogleError) -> Answer:
    """A stream that fails half way: the status stays 200 and the error follows the chunks (Gemini fact 3).

    Under SSE it is bare JSON over many lines without `data:`; in an array it is one more element.
    """
    body = encode(error.document())
    whole = answer.events[:-1] if answer.framing == "array" else answer.events
    kept = whole[: max(1, len(whole) // 2)]
    last = Event([b",\r\n", body.rstrip(b"\n"), b"]"]) if answer.framing == "array" else Event([body])
    return msgspec.structs.replace(answer, events=(*kept, last))
