"""The Interactions API: one body names model, input and whether to stream (Gemini fact 1.5).

An interaction is worked out by `generate.py` and told in Interactions' own words: steps, and usage under names of its
own. With `background` the answer says `in_progress`, and the same interaction is read whole by its id.
Refuses an unknown model, and another account's interaction.
"""

import secrets
from typing import Any

import msgspec
from multidict import CIMultiDict

from proxy.simulator.answer import Answer, sse, unary
from proxy.simulator.call import Call
from proxy.simulator.errors import invalid_argument, unknown_method, unknown_model
from proxy.simulator.generate import generate
from proxy.simulator.models import Models
from proxy.simulator.storage import Resource, Storage

_USAGE = {
    "promptTokenCount": "total_input_tokens",
    "cachedContentTokenCount": "total_cached_tokens",
    "candidatesTokenCount": "total_output_tokens",
    "thoughtsTokenCount": "total_thought_tokens",
    "toolUsePromptTokenCount": "total_tool_use_tokens",
    "totalTokenCount": "total_tokens",
}
_DETAILS = {"promptTokensDetails": "input_tokens_by_modality", "candidatesTokensDetails": "output_tokens_by_modality"}


def interactions(call: Call, models: Models, storage: Storage) -> Answer:
    match call.method, call.path.tail:
        case "POST", ("interactions",):
            return _create(call, models, storage)
        case "GET", ("interactions", name):
            done = storage.interaction(call.account, name)
            document = done.document
            if call.query.get("stream") == "true":
                return _streamed(document)
            return unary(document)
        case _:
            raise unknown_method()


def _create(call: Call, models: Models, storage: Storage) -> Answer:
    asked = call.document
    name = str(asked.get("model") or asked.get("agent") or "").rpartition("/")[2]
    model = models.find(name)
    if model is None:
        raise unknown_model(name, call.path.version, "createInteraction")
    if not isinstance(asked.get("input"), str):
        raise invalid_argument("The simulator takes an input that is one text.")
    shape = asked.get("responseFormat") or {}
    config = {"imageConfig": {"imageSize": shape["imageSize"]}} if "imageSize" in shape else {}
    request = {"contents": [{"parts": [{"text": asked["input"]}]}], "generationConfig": config}
    switches = CIMultiDict((name, value) for name, value in call.headers.items() if name.lower().startswith("x-sim-"))
    target = f"/{call.path.version}/models/{model.name}:generateContent"
    (event,) = generate(
        Call("POST", target, switches, msgspec.json.encode(request), call.base_url), model, storage
    ).events
    document = _told(msgspec.json.decode(b"".join(event.pieces)), model.name)
    storage.interactions[document["id"]] = Resource(call.account, document)
    if asked.get("background"):
        return unary({"id": document["id"], "model": model.name, "status": "in_progress", "steps": []})
    return _streamed(document) if asked.get("stream") else unary(document, usage=document["usage"])


def _told(response: dict[str, Any], model: str) -> dict[str, Any]:
    content = []
    for part in response["candidates"][0]["content"].get("parts", []):
        if "text" in part:
            content.append({"type": "text", "text": part["text"]})
        elif "inlineData" in part:
            blob = part["inlineData"]
            content.append({"type": "image", "mime_type": blob["mimeType"], "data": blob["data"]})
    counts = response["usageMetadata"]
    usage: dict[str, Any] = {ours: counts[theirs] for theirs, ours in _USAGE.items() if theirs in counts}
    for theirs, ours in _DETAILS.items():
        usage[ours] = [
            {"modality": item["modality"].lower(), "tokens": item["tokenCount"]} for item in counts.get(theirs, [])
        ]
    return {
        "id": secrets.token_urlsafe(16),
        "model": model,
        "status": "completed",
        "steps": [{"type": "model_output", "content": content}],
        "usage": usage,
    }


def _streamed(document: dict[str, Any]) -> Answer:
    """Typed events; the whole interaction stands in the last one, and with it the counts."""
    begun = {"id": document["id"], "model": document["model"], "status": "in_progress"}
    chunks: list[tuple[object, Any]] = [({"event_type": "interaction.created", "interaction": begun}, None)]
    content = document["steps"][0]["content"]
    chunks += [({"event_type": "step.delta", "index": 0, "delta": item}, None) for item in content]
    chunks.append(({"event_type": "interaction.completed", "interaction": document}, document["usage"]))
    return sse(chunks, last=b"data: [DONE]\n\n", line_end=b"\n\n")
