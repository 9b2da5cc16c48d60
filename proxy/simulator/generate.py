"""generateContent and streamGenerateContent, on the Gemini API's and on Vertex's surface.

Works out the whole answer first (a Draft: parts, tokens, why it ended) and then writes it as one JSON object or as
chunks with running totals. Every switch a caller may set is read in `draft`.
Refuses what Google refuses: an unknown field, an empty prompt, a size the model does not draw, another's file.
"""

import secrets
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from proxy.simulator import answer, images, prose, usage
from proxy.simulator.answer import Answer, Piece
from proxy.simulator.asked import GENERATION_FIELDS, Generation, GenerationConfig, parts_of, text_of
from proxy.simulator.call import Call
from proxy.simulator.errors import invalid_argument, unknown_field
from proxy.simulator.models import Model
from proxy.simulator.output import Output, shape
from proxy.simulator.storage import Storage

_CHUNKS = 4
_TEXT_SIGNATURE_BYTES = 600
_IMAGE_SIGNATURE_BYTES = 13_000  # above 16 KB in base64 was recorded (Gemini fact 7)
_SEARCHES = frozenset({"googleSearch", "googleSearchRetrieval"})


class Draft(msgspec.Struct, frozen=True):
    """One answer, worked out: the text, the pictures to put in, what was used and why it ended.

    Attributes:
        pictures: placeholder in the JSON to base64; `parts` holds the placeholders.
    """

    text: str
    image_parts: Sequence[Mapping[str, Any]]
    pictures: Mapping[str, Piece]
    prompt: usage.Prompt
    spent: usage.Spent
    finish_reason: str
    candidates: int = 1
    thought: str = ""
    signature: str = ""
    queries: Sequence[str] = ()
    blocked: str = ""


def generate(call: Call, model: Model, storage: Storage) -> Answer:
    asked = read(call)
    made, output = draft(call, asked, model, storage), shape(call, asked)
    used = output.usage(made.prompt, made.spent)
    body = _response(made, output, model, _all_parts(made), used, finished=True)
    return answer.unary(body, usage=used, tier=output.tier, payloads=made.pictures, pretty=output.pretty)


def stream(call: Call, model: Model, storage: Storage) -> Answer:
    asked = read(call)
    made, output = draft(call, asked, model, storage), shape(call, asked)
    chunks = list(_chunks(made, output, model, max(1, call.number("chunks", _CHUNKS))))
    frame = answer.sse if call.query.get("alt") == "sse" else answer.array
    return frame(chunks, tier=output.tier, payloads=made.pictures)


def read(call: Call) -> Generation:
    for field in call.document:
        if field not in GENERATION_FIELDS:
            raise unknown_field(field)
    asked = call.read(Generation)
    if not asked.contents and not asked.continuation_token:
        raise invalid_argument("* GenerateContentRequest.contents: contents is not specified\n")
    return asked


def draft(call: Call, asked: Generation, model: Model, storage: Storage) -> Draft:
    """Decide everything there is to answer, by the request and the caller's switches."""
    for part in parts_of(asked.contents):
        if part.file_data is not None:
            storage.check_file(call.account, part.file_data.file_uri)
    prompt = usage.count_prompt(asked, model, storage.cached_tokens(call.account, asked.cached_content))
    blocked = call.switch("block")
    if blocked:
        return Draft("", (), {}, prompt, usage.Spent(), "", blocked=blocked)

    config = asked.generation_config
    modalities = {modality.upper() for modality in config.response_modalities}
    if not modalities:
        modalities = {"TEXT", "IMAGE"} if model.kind == "image" else {"TEXT"}
    text, finish_reason = _write(call, asked) if "TEXT" in modalities else ("", "STOP")
    parts, pictures, image_tokens = _draw(call, config, model) if "IMAGE" in modalities else ([], {}, 0)
    if "IMAGE" in modalities and not parts:
        finish_reason = "NO_IMAGE"
    candidates = 1 if parts else max(1, config.candidate_count)
    thoughts = 0 if config.thinking_config.thinking_budget == 0 else model.thoughts
    signature_bytes = _IMAGE_SIGNATURE_BYTES if parts else _TEXT_SIGNATURE_BYTES
    hidden = model.hidden_thoughts if parts else 0
    return Draft(
        text,
        parts,
        pictures,
        prompt,
        usage.Spent(usage.text_tokens(text) * candidates + hidden, image_tokens, thoughts),
        call.switch("finish") or finish_reason,
        candidates,
        thought="The simulator thinks of water." if thoughts and config.thinking_config.include_thoughts else "",
        signature=images.noise_text(signature_bytes) if model.signed else "",
        queries=[text_of(asked.contents)[:60]] if asked.tool_names & _SEARCHES else (),
    )


def _write(call: Call, asked: Generation) -> tuple[str, str]:
    """A text of so many tokens, and why it ended: maxOutputTokens, or nothing more to say."""
    config = asked.generation_config
    if config.response_mime_type == "application/json":
        return '{"answer": "the water goes over the weir"}', "STOP"
    wanted = call.number("output-tokens", prose.TOKENS)
    tokens = wanted if config.max_output_tokens is None else min(wanted, config.max_output_tokens)
    return prose.write(text_of(asked.contents), tokens), "MAX_TOKENS" if tokens < wanted else "STOP"


def _draw(call: Call, config: GenerationConfig, model: Model) -> tuple[list[dict[str, Any]], dict[str, Piece], int]:
    """The pictures' parts with placeholders for the data, the data, and the tokens it costs."""
    if model.kind != "image":
        raise invalid_argument(f"Model {model.name} does not support the requested response modalities: image")
    count = call.number("images", 1)
    size = images.size_asked(config)
    if len(model.image_tokens) == 1:
        size = "1K"  # a model of one size draws that, whatever is asked
    images.check_size(size, model.image_tokens)
    mime_type = call.switch("image-type") or "image/png"
    if images.delivered_by_uri(config):
        stored = [f"gs://weir-simulator/{secrets.token_hex(8)}" for _ in range(count)]
        parts = [{"fileData": {"mimeType": mime_type, "fileUri": uri}} for uri in stored]
        return parts, {}, model.image_tokens[size] * count
    byte_count = call.number("image-bytes", images.natural_bytes(size))
    pictures: dict[str, Piece] = {
        answer.placeholder(): images.picture(size, byte_count, mime_type, number) for number in range(count)
    }
    parts = [{"inlineData": {"mimeType": mime_type, "data": name}} for name in pictures]
    return parts, pictures, model.image_tokens[size] * count


def _all_parts(made: Draft) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = [{"text": made.thought, "thought": True}] if made.thought else []
    if made.text:
        parts.append({"text": made.text})
    parts += [dict(part) for part in made.image_parts]
    if parts and made.signature:
        parts[-1]["thoughtSignature"] = made.signature
    return parts


def _chunks(
    made: Draft, output: Output, model: Model, count: int
) -> Iterator[tuple[dict[str, Any], Mapping[str, Any] | None]]:
    """Text in pieces, then the pictures, each whole in one chunk. The end reason and all counts come last."""
    steps: list[tuple[list[dict[str, Any]], usage.Spent]] = []
    text_size = -(-len(made.text) // count) if made.text else 0
    thoughts = made.spent.thoughts
    if made.thought:
        steps.append(([{"text": made.thought, "thought": True}], usage.Spent(thoughts=thoughts)))
    for start in range(0, len(made.text), text_size or 1):
        tokens = usage.text_tokens(made.text[: start + text_size]) * made.candidates
        steps.append(([{"text": made.text[start : start + text_size]}], usage.Spent(tokens, 0, thoughts)))
    for number, part in enumerate(made.image_parts, 1):
        tokens = made.spent.image * number // len(made.image_parts)
        steps.append(([dict(part)], usage.Spent(made.spent.text, tokens, thoughts)))
    if not steps:
        steps = [([], made.spent)]
    parts, _ = steps[-1]
    if parts and made.signature:
        parts[-1]["thoughtSignature"] = made.signature
    response_id = output.response_id
    for number, (parts, spent) in enumerate(steps, 1):
        last = number == len(steps)
        used = output.usage(made.prompt, made.spent) if last else output.running_usage(made.prompt, spent)
        body = _response(made, output, model, parts, used, finished=last)
        body["responseId"] = response_id
        yield output.pick(body), used or None


def _response(
    made: Draft,
    output: Output,
    model: Model,
    parts: list[dict[str, Any]],
    used: Mapping[str, Any],
    *,
    finished: bool,
) -> dict[str, Any]:
    response: dict[str, Any] = {}
    if made.blocked:
        response["promptFeedback"] = {"blockReason": output.enum("blockReason", made.blocked)}
    else:
        response["candidates"] = [
            _candidate(made, output, parts, number, finished=finished) for number in range(made.candidates)
        ]
    response["usageMetadata"] = output.numbered(used)
    response["modelVersion"] = model.name
    if output.vertex:
        response["createTime"] = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    response["responseId"] = output.response_id
    return output.pick(response)


def _candidate(
    made: Draft, output: Output, parts: list[dict[str, Any]], number: int, *, finished: bool
) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"parts": parts, "role": "model"}}
    if not parts:
        candidate["content"] = {"role": "model"}
    if finished:
        candidate["finishReason"] = output.enum("finishReason", made.finish_reason)
        if made.finish_reason not in {"STOP", "MAX_TOKENS"}:
            candidate["finishMessage"] = f"The simulator ended this answer as {made.finish_reason}."
        if made.queries:
            candidate["groundingMetadata"] = {"webSearchQueries": list(made.queries)}
    candidate["index"] = number
    return candidate
