"""The line of an exchange whose attempt is about to be sent: all that is known of it, should its process die now.

The ledger puts it into the write-ahead file; nobody reads it but `recovery`. Whole, it is a record already, of a loss.
In brief, as nearly all are, it is what its form knows, where it goes, its id, and five numbers: enough to make the same
record of it.
"""

import struct
from typing import Any, Final

import msgspec

from plugins.usage_log.logger import line_of
from plugins.usage_log.record import BYTES_PER_TEXT_TOKEN, Form
from plugins.usage_log.slots import Kind
from plugins.usage_log.texts import rfc3339
from proxy import Attempt

_BRIEF: Final = Kind.BRIEF
_WHOLE: Final = Kind.OPENING

# When it was received (unix seconds), began its attempt (ms), bytes of the body so far, tokens in and out as asked.
_NUMBERS: Final = struct.Struct("<ddQQQ")
_pack: Final = _NUMBERS.pack
_MOST: Final = 1 << 60  # what a caller asks for may be any number

_END: Final = b'"]'  # an id is ours, and plain
_Text = tuple[dict[str, Any], dict[str, Any], str]  # the form's, the endpoint's, the exchange's


def opening_of(form: Form, attempt: Attempt) -> tuple[Kind, bytes]:
    """The line, and of which kind it is. Of a lost exchange is known how long it took until its last attempt began."""
    exchange = attempt.exchange
    if not form.is_kept or exchange.labels or len(exchange.attempts) != 1:
        return _WHOLE, _whole(form, attempt)
    size_bytes, intent = exchange.request_bytes, exchange.intent_read
    input_tokens = output_tokens = 0
    if intent is not None:
        if intent.image_count or intent.video_seconds or intent.image_size is not None:
            return _WHOLE, _whole(form, attempt)
        if intent.service_tier is not None or intent.video_resolution is not None:
            return _WHOLE, _whole(form, attempt)
        input_tokens, most = intent.input_tokens, intent.max_output_tokens
        if input_tokens >= _MOST:
            return _WHOLE, _whole(form, attempt)
        if most is not None:
            output_tokens = most * max(intent.candidate_count, 1)
            if not 0 <= output_tokens < _MOST:
                return _WHOLE, _whole(form, attempt)
    tried = attempt.record
    numbers = _pack(
        exchange.received_at,
        tried.started_ms,
        size_bytes,
        input_tokens or size_bytes // BYTES_PER_TEXT_TOKEN,
        output_tokens,
    )
    return _BRIEF, b"".join((numbers, form.text, form.place(attempt.endpoint).opening, exchange.id.encode(), _END))


def from_brief(line: bytes) -> bytes:
    """The whole opening that a brief one stands for. Raises struct.error, ValueError for what is none."""
    received_at, started_ms, size_bytes, input_tokens, output_tokens = _NUMBERS.unpack_from(line)
    shared, place, exchange = msgspec.json.decode(line[_NUMBERS.size :], type=_Text)
    own = {
        "time": rfc3339(received_at),
        "id": exchange,
        "attempts": [place | {"started_ms": started_ms, "sent": True}],
        "total_ms": started_ms,
        "request_bytes": size_bytes,
        "estimate": {"input_tokens": input_tokens, "output_tokens": output_tokens},
    }
    return msgspec.json.encode(shared | own) + b"\n"


def _whole(form: Form, attempt: Attempt) -> bytes:
    exchange, tried = attempt.exchange, attempt.record
    was_sent, tried.sent = tried.sent, True  # for all that anybody will know of it
    try:
        return line_of(form.fill(exchange, exchange.started + tried.started_ms / 1000))
    finally:
        tried.sent = was_sent
