"""What a request asks for, read from its path and its body's skeleton.

The wire calls `read_intent` when a plugin wants to know, or for the record of an exchange whose bill needs it.
`request_fields.py` knows where each fact is said, `prompt_size.py` how large a prompt is. The numbers are estimates for
a reservation that the answer's own counts replace. It changes nothing and forbids nothing but what it cannot read and
must: what it does not know it leaves unsaid.
"""

from typing import Any, Final

import msgspec

from proxy.gemini.plain_request import Plain, read_plain
from proxy.gemini.prompt_size import prompt_size, tokens_of_text
from proxy.gemini.repeated_names import named_model, says_twice
from proxy.gemini.request_fields import BATCH, VIDEO_CALLS, Asked, dearest_size, makes_text, read_fields, read_name
from proxy.gemini.request_names import Names
from proxy.operation import Intent, Operation
from proxy.usage import Usage

# Operations whose body need not be JSON: multipart forms, a partner model's own format, verbs yet unknown.
_ANY_BODY: Final = frozenset(
    {"audio.transcriptions", "images.edits", "invoke", "rawPredict", "streamRawPredict", "unknown"}
)
_ALSO_READ: Final = frozenset({"countTokens", "computeTokens"})  # free, but worth knowing the size of

# More and a body is not looked into: to decode and to walk 300 000 empty objects, 1 MiB, took a quarter of a second
# of everybody's time. A turn of a chat has eight of these, a tool's schema a few hundred.
_MOST_PARTS: Final = 60_000

# Of a body that may be plain: a long chat is rarely without a tool or a file, and would be read twice.
_PLAIN_BYTES: Final = 32 * 1024

# Inlined requests of a batch that are looked at one by one, at 10 microseconds each.
_MOST_REQUESTS: Final = 1000
_INLINED: Final = Names({"items": (("batch", "inputConfig", "requests", "requests"),)})

_decode_any: Final = msgspec.json.Decoder(Any).decode
_decode_raw: Final = msgspec.json.Decoder(msgspec.Raw).decode


def read_intent(operation: Operation, target: str, skeleton: bytes, *, truncated_from: int | None = None) -> Intent:
    """The intent of a request. `skeleton` is its body, or the skeleton of its body.

    `truncated_from`: the skeleton is a beginning only, of a body of so many bytes; what is left is the path
    and an estimate. Raises ValueError, in Google's words, when the operation needs a JSON object and the
    body is not one, or when only the body names the model and it cannot be read.
    """
    in_body = operation.model_in_body
    if not (operation.generates or in_body or operation.name in _ALSO_READ) or operation.api == "live":
        return Intent(model=operation.model, stream=operation.streams)
    if truncated_from is None and len(skeleton) <= _PLAIN_BYTES and not in_body:
        plain = read_plain(skeleton) if makes_text(operation, operation.model) else None
        if plain is not None:
            return _plain_intent(operation, plain)
    return read_any(operation, skeleton, truncated_from)


def read_any(operation: Operation, skeleton: bytes, truncated_from: int | None = None) -> Intent:
    """The intent of a request that need not be plain: as `read_intent`, of what has to be looked into."""
    name, in_body = operation.name, operation.model_in_body
    body = None
    if truncated_from is None:
        try:
            body = _decode(skeleton)
        except ValueError:
            if name in _ANY_BODY:
                return unread(operation, len(skeleton))
            raise
    if body is None:
        if in_body:
            raise ValueError("Request payload has too many parts to find its model.")
        return unread(operation, truncated_from or len(skeleton))
    model = named_model(skeleton) if in_body else operation.model
    if name in VIDEO_CALLS and says_twice(skeleton, body):
        return _unread(operation, model, len(skeleton))
    asked = _read_batch(operation, model, body) if name == BATCH else None
    tokens, images = prompt_size(body)
    return _intent(
        model,
        asked or read_fields(operation, model, body),
        stream=operation.streams or body.get("stream") is True,
        input_tokens=tokens,
        input_images=images,
    )


def _plain_intent(operation: Operation, plain: Plain) -> Intent:
    return Intent(
        model=operation.model,
        stream=operation.streams,
        input_tokens=tokens_of_text(plain.text),
        max_output_tokens=plain.output or None,  # 0 bounds nothing
        candidate_count=plain.candidates or 1,
        thinking_budget=plain.thinking,
    )


def asked_usage(intent: Intent) -> Usage | None:
    """What the request alone says of its use: no answer tells how long a video is (Gemini fact 4.4)."""
    if not intent.video_seconds:
        return None
    return Usage(video_seconds=intent.video_seconds, video_resolution=intent.video_resolution)


def unread(operation: Operation, size_bytes: int) -> Intent:
    """What the path alone says, of a body of so many bytes that could not be read."""
    return _unread(operation, operation.model, size_bytes)


def _unread(operation: Operation, model: str | None, size_bytes: int) -> Intent:
    asked = read_name(operation, operation.model)
    return _intent(model, asked, stream=operation.streams, input_tokens=tokens_of_text(size_bytes))


def _intent(model: str | None, asked: Asked, *, stream: bool, input_tokens: int, input_images: int = 0) -> Intent:
    if asked.by_name and not (asked.image_count or asked.video_seconds):  # nearly all: to say less takes less time
        return Intent(model=model, stream=stream, input_tokens=input_tokens, input_images=input_images)
    return Intent(
        model=model,
        stream=stream,
        input_tokens=input_tokens,
        input_images=input_images,
        max_output_tokens=asked.max_output_tokens,
        candidate_count=asked.candidate_count,
        thinking_budget=asked.thinking_budget,
        wants_images=asked.wants_images,
        image_size=asked.image_size,
        image_count=asked.image_count,
        video_seconds=asked.video_seconds,
        video_resolution=asked.video_resolution,
        service_tier=asked.service_tier,
    )


def _parts(skeleton: bytes) -> int:
    """No fewer than the values in it; commas and brackets in its short strings are counted too."""
    if len(skeleton) <= _MOST_PARTS:
        return len(skeleton)
    return skeleton.count(b",") + skeleton.count(b"{") + skeleton.count(b"[")


def _decode(skeleton: bytes) -> dict[str, Any] | None:
    """None: an object of too many parts to be looked into, which is passed over in a millisecond."""
    try:
        body = _decode_raw(skeleton) if _parts(skeleton) > _MOST_PARTS else _decode_any(skeleton)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        what = str(error).partition(" (byte")[0].removeprefix("JSON is malformed: ").rstrip(".")
        raise ValueError(f"Invalid JSON payload received. {what[:1].upper()}{what[1:]}.") from None
    except RecursionError:
        raise ValueError("Invalid JSON payload received. Message too deep.") from None
    if isinstance(body, dict):
        return body
    if isinstance(body, msgspec.Raw) and bytes(body).startswith(b"{"):
        return None
    raise ValueError('Invalid JSON payload received. Unknown name "": Root element must be a message.')


def _read_batch(operation: Operation, model: str | None, body: dict[str, Any]) -> Asked | None:
    """A batch's requests as one: the dearest of them, as often as there are requests. None: they are in a file."""
    lists = [value if isinstance(value, list) else [value] for value in _INLINED.said(body).get("items", ())]
    items = [item for items in lists for item in items if isinstance(item, dict)]
    requests = [item["request"] for item in items if isinstance(item.get("request"), dict)]
    if not requests:
        return None
    looked_at = [read_fields(operation, model, request) for request in requests[:_MOST_REQUESTS]]
    first = looked_at[0]
    bounds = [asked.max_output_tokens for asked in looked_at]
    sizes = [asked.image_size for asked in looked_at if asked.image_size is not None]
    all_seen = len(looked_at) == len(requests)
    return Asked(
        max_output_tokens=max((bound for bound in bounds if bound), default=None) if all(bounds) and all_seen else None,
        candidate_count=len(requests) * max(asked.candidate_count for asked in looked_at),
        thinking_budget=first.thinking_budget,
        wants_images=any(asked.wants_images for asked in looked_at),
        image_size=dearest_size(sizes if all_seen else [*sizes, "4K"]),
        image_count=len(requests) * max(asked.image_count for asked in looked_at),
        service_tier=first.service_tier,
    )
