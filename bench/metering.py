"""What metering adds: processor time and memory of the meter alone, for an answer with a 20 MB image.

`python -m bench.metering`. The answer comes in pieces of 64 KiB, as the relay hands them on. Time is the processor's,
the best of several runs; memory is the peak of Python's allocations while one more run goes on (tracemalloc), beyond
what was there before. Small answers and paths are at the end, each for one call.
"""

import base64
import gzip
import json
import os
import time
import tracemalloc
from collections.abc import Callable, Iterator

import brotli

from proxy.gemini.inflate import zstd
from proxy.gemini.meter import Meter, meter_for
from proxy.gemini.paths import parse_operation
from proxy.head import Headers, ResponseHead
from proxy.operation import Operation
from proxy.usage import UsageState

IMAGE_BYTES = 20_000_000
PIECE_BYTES = 64 << 10
RUNS = 7
UNARY = "/v1beta/models/gemini-3-pro-image:generateContent"
STREAM = "/v1beta/models/gemini-3-pro-image:streamGenerateContent"
SMALL = "/v1beta/models/gemini-2.5-flash:generateContent"
VERTEX = "/v1/projects/p/locations/europe-west4/publishers/google/models/gemini-2.5-flash:generateContent"
CHAT = "/v1beta/openai/chat/completions"


def document(data: str) -> dict[str, object]:
    part = {"inlineData": {"mimeType": "image/png", "data": data}}
    return {
        "candidates": [{"content": {"parts": [part], "role": "model"}, "finishReason": "STOP", "index": 0}],
        "usageMetadata": {
            "promptTokenCount": 14,
            "candidatesTokenCount": 2120,
            "totalTokenCount": 2308,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 14}],
            "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 2000}],
            "thoughtsTokenCount": 174,
        },
        "modelVersion": "gemini-3-pro-image",
        "responseId": "bench",
    }


def head(content_type: str, coding: str | None) -> ResponseHead:
    fields = [(b"Content-Type", content_type.encode())]
    return ResponseHead(200, "OK", Headers(fields + ([(b"Content-Encoding", coding.encode())] if coding else [])))


def feed(meter: Meter, pieces: list[bytes]) -> None:
    for piece in pieces:
        meter.feed(piece)
        while meter.behind:
            meter.catch_up()


def measure(operation: Operation, answer: ResponseHead, body: bytes) -> tuple[float, float, float]:
    """Milliseconds in all, of the longest step, and KiB at the peak."""
    pieces = [body[at : at + PIECE_BYTES] for at in range(0, len(body), PIECE_BYTES)]

    def once() -> None:
        meter = meter_for(operation, answer)
        feed(meter, pieces)
        usage, state = meter.finish(complete=True)
        assert usage is not None
        assert (usage.total_tokens, usage.images, state) == (2308, 1, UsageState.FINAL)

    once()
    total = min(timed(once, 1) for _ in range(RUNS)) * 1000
    longest = min(longest_step(operation, answer, pieces) for _ in range(RUNS)) * 1000
    tracemalloc.start()
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    once()
    peak = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    return total, longest, peak / 1024


def longest_step(operation: Operation, answer: ResponseHead, pieces: list[bytes]) -> float:
    """Between two moments in which others may run."""

    def steps(meter: Meter) -> Iterator[Callable[[], object]]:
        for piece in pieces:
            yield lambda piece=piece: meter.feed(piece)
            while meter.behind:
                yield meter.catch_up
        yield lambda: meter.finish(complete=True)

    return max(timed(step, 1) for step in steps(meter_for(operation, answer)))


def timed(work: Callable[[], object], times: int) -> float:
    started = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - started) / times


def microseconds(work: Callable[[], object]) -> float:
    return min(timed(work, 5000) for _ in range(RUNS)) * 1e6


def main() -> None:
    unary, stream = parse_operation("POST", UNARY), parse_operation("POST", STREAM)
    answer = document(base64.b64encode(os.urandom(IMAGE_BYTES * 3 // 4)).decode())
    plain = json.dumps(answer, indent=2).encode()
    event = b"data: " + json.dumps(answer).encode() + b"\r\n\r\n"
    bomb = document("A" * 60_000_000)
    rows = [
        ("identity, by length", unary, head("application/json", None), plain),
        ("server-sent event", stream, head("text/event-stream", None), event),
        ("JSON array", stream, head("application/json", None), b"[" + plain + b"\n]"),
        ("gzip", unary, head("application/json", "gzip"), gzip.compress(plain, 6)),
        ("br", unary, head("application/json", "br"), brotli.compress(plain, quality=4)),
        ("zstd", unary, head("application/json", "zstd"), zstd.compress(plain)),
        (
            "gzip of 60 MB of one letter",
            unary,
            head("application/json", "gzip"),
            gzip.compress(json.dumps(bomb).encode()),
        ),
    ]
    print(f"{'answer of 20 MB':30}{'sent, MB':>10}{'ms':>8}{'longest step, ms':>18}{'peak KiB':>10}")
    for name, operation, begins, body in rows:
        total, longest, peak = measure(operation, begins, body)
        print(f"{name:30}{len(body) / 1e6:>10.2f}{total:>8.2f}{longest:>18.2f}{peak:>10.1f}")
    small = json.dumps(document("AAAA")).encode()
    begins, operation = head("application/json", None), parse_operation("POST", SMALL)

    def one() -> None:
        meter = meter_for(operation, begins)
        meter.feed(small)
        meter.finish(complete=True)

    print(f"\n{'one call':60}{'us':>6}")
    print(f"{'metering an answer of ' + str(len(small)) + ' bytes':60}{microseconds(one):>6.1f}")
    for target in (SMALL, VERTEX, CHAT):
        each = microseconds(lambda target=target: parse_operation("POST", target))
        print(f"{'parse_operation, seen before: ' + target[:29]:60}{each:>6.1f}")


if __name__ == "__main__":
    main()
