"""The OpenAI-compatible surface: chat/completions, embeddings, images/generations and models.

Usage follows Google's, not OpenAI's: completion_tokens leaves thinking out and total_tokens has it (Gemini fact 4.4).
Streams are `data:` lines ended by LF LF and `[DONE]`; only `stream_options.include_usage` adds the counts.
Refuses an unknown model; errors leave as a list of one, which the server sees to.
"""

import base64
import secrets
import struct
import time
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from proxy.simulator import answer, images, prose
from proxy.simulator.answer import Answer, Piece
from proxy.simulator.call import Call
from proxy.simulator.embed import DIMENSIONS, vector
from proxy.simulator.errors import invalid_argument, unknown_method, unknown_model
from proxy.simulator.models import Model, Models
from proxy.simulator.usage import text_tokens

_CHUNKS = 4
_DONE = b"data: [DONE]\n\n"
_PIXELS = {"1024x1024": "1K", "2048x2048": "2K", "4096x4096": "4K", "auto": "1K"}


class TextPart(msgspec.Struct, frozen=True):
    text: str = ""


class Message(msgspec.Struct, frozen=True):
    content: str | list[TextPart] | None = None

    @property
    def text(self) -> str:
        if isinstance(self.content, list):
            return "\n".join(part.text for part in self.content)
        return self.content or ""


class StreamOptions(msgspec.Struct, frozen=True):
    include_usage: bool = False


class Chat(msgspec.Struct, frozen=True):
    model: str = ""
    messages: list[Message] = []
    stream: bool = False
    stream_options: StreamOptions = StreamOptions()
    max_tokens: int | None = None
    max_completion_tokens: int | None = None


class EmbeddingsAsked(msgspec.Struct, frozen=True):
    model: str = ""
    input: str | list[str] = []
    dimensions: Annotated[int, msgspec.Meta(ge=1, le=3072)] = DIMENSIONS
    encoding_format: str = "float"


class Pictures(msgspec.Struct, frozen=True):
    model: str = ""
    prompt: str = ""
    n: Annotated[int, msgspec.Meta(ge=1, le=10)] = 1
    size: str = "auto"


def openai(call: Call, models: Models) -> Answer:
    folders = call.path.segments
    rest = folders[6:] if call.path.vertex else folders[1:]
    match call.method, rest:
        case "POST", ("chat", "completions"):
            return _chat(call, models)
        case "POST", ("embeddings",):
            return _embeddings(call, models)
        case "POST", ("images", "generations"):
            return _images(call, models)
        case "GET", ("models",):
            return answer.unary({"object": "list", "data": [_card(model) for model in models]})
        case "GET", ("models", *name):
            return answer.unary(_card(_find("/".join(name), models, call)))
        case _:
            raise unknown_method()


def _find(name: str, models: Models, call: Call) -> Model:
    short = name.rpartition("/")[2]
    model = models.find(short)
    if model is None:
        raise unknown_model(short, call.path.version, "generateContent")
    return model


def _card(model: Model) -> dict[str, Any]:
    return {"id": f"models/{model.name}", "object": "model", "owned_by": "google", "display_name": model.name}


def _chat(call: Call, models: Models) -> Answer:
    asked = call.read(Chat)
    model = _find(asked.model, models, call)
    if not asked.messages:
        raise invalid_argument("Invalid value: messages is not specified")
    texts = [message.text for message in asked.messages]
    bound = asked.max_completion_tokens or asked.max_tokens
    wanted = call.number("output-tokens", prose.TOKENS)
    tokens = wanted if bound is None else min(wanted, bound)
    text = prose.write(texts[-1], tokens)
    reason = "length" if tokens < wanted else "stop"
    prompt_tokens, completion_tokens = sum(map(text_tokens, texts)), text_tokens(text)
    used = {
        "completion_tokens": completion_tokens,
        "prompt_tokens": prompt_tokens,
        "total_tokens": prompt_tokens + completion_tokens + model.thoughts,
    }
    opening = {"created": int(time.time()), "id": secrets.token_urlsafe(16), "model": asked.model}
    if asked.stream:
        count = max(1, call.number("chunks", _CHUNKS))
        return _chat_stream(opening, text, reason, count, used if asked.stream_options.include_usage else None)
    choice = {"finish_reason": reason, "index": 0, "message": {"content": text, "role": "assistant"}}
    return answer.unary({"choices": [choice], "object": "chat.completion", "usage": used} | opening, usage=used)


def _chat_stream(
    opening: Mapping[str, Any], text: str, reason: str, count: int, used: Mapping[str, Any] | None
) -> Answer:
    size = max(1, -(-len(text) // count))
    starts = range(0, max(1, len(text)), size)
    chunks: list[tuple[object, Mapping[str, Any] | None]] = []
    for start in starts:
        last = start == starts[-1]
        delta = {"content": text[start : start + size], "role": "assistant"}
        choice: dict[str, Any] = {"delta": delta, "index": 0}
        if last:
            choice["finish_reason"] = reason
        body: dict[str, Any] = {"choices": [choice], "object": "chat.completion.chunk"} | dict(opening)
        if last and used:
            body["usage"] = used
        chunks.append((body, used if last else None))
    return answer.sse(chunks, last=_DONE, line_end=b"\n\n")


def _embeddings(call: Call, models: Models) -> Answer:
    asked = call.read(EmbeddingsAsked)
    _find(asked.model, models, call)
    texts = [asked.input] if isinstance(asked.input, str) else asked.input
    if not texts:
        raise invalid_argument("Invalid value: input is not specified")
    data = []
    for number, text in enumerate(texts):
        values = vector(text, asked.dimensions)
        form: object = values
        if asked.encoding_format == "base64":  # what openai-python asks unless told (Gemini fact 1.6)
            form = base64.b64encode(struct.pack(f"<{asked.dimensions}f", *values)).decode()
        data.append({"embedding": form, "index": number, "object": "embedding"})
    tokens = sum(map(text_tokens, texts))
    used = {"prompt_tokens": tokens, "total_tokens": tokens}
    return answer.unary({"data": data, "model": asked.model, "object": "list", "usage": used}, usage=used)


def _images(call: Call, models: Models) -> Answer:
    asked = call.read(Pictures)
    _find(asked.model, models, call)
    if not asked.prompt:
        raise invalid_argument("Invalid value: prompt is not specified")
    if asked.size not in _PIXELS:
        raise invalid_argument(f"Invalid value for size: {asked.size}")
    size = _PIXELS[asked.size]
    byte_count = call.number("image-bytes", images.natural_bytes(size))
    pictures: dict[str, Piece] = {
        answer.placeholder(): images.picture(size, byte_count, "image/png", number) for number in range(asked.n)
    }
    data = [{"b64_json": name} for name in pictures]
    return answer.unary({"created": int(time.time()), "data": data}, payloads=pictures)
