"""Counting and embedding: countTokens, embedContent, batchEmbedContents, on both surfaces.

Vectors come from a digest of the text: the same text gives the same unit vector, and nothing more is claimed.
Refuses an embedding without content.
"""

import hashlib
import math
import random
from typing import Any

from proxy.simulator.answer import Answer, unary
from proxy.simulator.asked import Count, Embedding, Embeddings, Generation, parts_of, text_of
from proxy.simulator.call import Call
from proxy.simulator.errors import invalid_argument
from proxy.simulator.models import Model
from proxy.simulator.usage import Prompt, count_prompt, details

DIMENSIONS = 768
_SILENT = "gemini-embedding-001"  # reports no usage (Gemini fact 4.4)


def count(call: Call, model: Model) -> Answer:
    asked = call.read(Count)
    generation = asked.generate_content_request or Generation(contents=asked.contents)
    prompt = count_prompt(generation, model)
    answer: dict[str, Any] = {"totalTokens": prompt.total}
    if call.path.vertex:
        text = text_of(generation.contents)
        answer["totalBillableCharacters"] = sum(1 for letter in text if not letter.isspace())
    answer["promptTokensDetails"] = details(prompt.by_modality)
    return unary(answer)


def embed(call: Call, model: Model) -> Answer:
    values, prompt = _embed(call.read(Embedding), model)
    answer: dict[str, Any] = {"embedding": {"values": values}}
    if call.path.vertex:
        used = {"promptTokenCount": prompt.total, "promptTokensDetails": details(prompt.by_modality)}
        return unary(answer | {"usageMetadata": used, "truncated": False}, usage=used)
    return _with_usage(answer, model, [prompt])


def embed_batch(call: Call, model: Model) -> Answer:
    requests = call.read(Embeddings).requests
    if not requests:
        raise invalid_argument("* BatchEmbedContentsRequest.requests: at least one request is required\n")
    pairs = [_embed(request, model) for request in requests]
    return _with_usage({"embeddings": [{"values": values} for values, _ in pairs]}, model, [one for _, one in pairs])


def _embed(asked: Embedding, model: Model) -> tuple[list[float], Prompt]:
    if not any(parts_of(asked.content)):
        raise invalid_argument("* EmbedContentRequest.content: contents is not specified\n")
    size = asked.output_dimensionality or asked.embed_content_config.output_dimensionality or DIMENSIONS
    return vector(text_of(asked.content), size), count_prompt(Generation(contents=asked.content), model)


def _with_usage(answer: dict[str, Any], model: Model, prompts: list[Prompt]) -> Answer:
    """The Gemini API spells it `promptTokenDetails` here, and gives no total (Gemini fact 4.4)."""
    if model.name == _SILENT:
        return unary(answer)
    total = sum(prompt.total for prompt in prompts)
    text = sum(prompt.by_modality.get("TEXT", 0) for prompt in prompts)
    used = {"promptTokenCount": total, "promptTokenDetails": details({"TEXT": text})}
    return unary(answer | {"usageMetadata": used}, usage=used)


def vector(text: str, size: int) -> list[float]:
    chance = random.Random(hashlib.sha256(text.encode()).digest())  # noqa: S311  a reproducible vector, not a secret
    values = [chance.gauss(0, 1) for _ in range(size)]
    length = math.sqrt(sum(value * value for value in values)) or 1.0
    return [round(value / length, 8) for value in values]
