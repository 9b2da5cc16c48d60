"""Counting: what a prompt and an answer hold, and usageMetadata as each surface reports it.

Text is one token for every four bytes of UTF-8, begun ones counted: not Google's tokenizer, but the same text
always gives the same number, and a longer one a greater. Other media count by kind.
`generate.py`, `embed.py` and `openai.py` call it. Refuses nothing.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import msgspec

from proxy.simulator.asked import Generation, Part, parts_of
from proxy.simulator.models import Model

_MEDIA = {"image": "IMAGE", "video": "VIDEO", "audio": "AUDIO", "application": "DOCUMENT", "text": "TEXT"}
_DOCUMENT_TOKENS = 258  # a page
_BYTES_A_MEDIA_TOKEN = 1000
_FILE_SEARCH_TOKENS = 288  # what a recorded answer used (Gemini fact 4.1)


class Prompt(msgspec.Struct, frozen=True):
    """Tokens of the prompt by modality, of the cache it names, and of tools that read for it."""

    by_modality: Mapping[str, int]
    cached: int = 0
    tools: int = 0

    @property
    def total(self) -> int:
        return sum(self.by_modality.values())


def text_tokens(text: str | bytes) -> int:
    size = len(text.encode()) if isinstance(text, str) else len(text)
    return -(-size // 4)


def count_prompt(asked: Generation, model: Model, cached: int = 0) -> Prompt:
    counts: Counter[str] = Counter()
    for part in (*parts_of(asked.contents), *parts_of(asked.system_instruction or [])):
        modality, tokens = _count_part(part, model)
        counts[modality] += tokens
    counts["TEXT"] += cached
    tools = _FILE_SEARCH_TOKENS if asked.tool_names & {"fileSearch", "urlContext"} else 0
    return Prompt({modality: tokens for modality, tokens in counts.items() if tokens}, cached, tools)


def _count_part(part: Part, model: Model) -> tuple[str, int]:
    media = part.inline_data or part.file_data
    if part.text is not None:
        return "TEXT", text_tokens(part.text)
    if media is None:
        return "TEXT", text_tokens(msgspec.json.encode(part))
    modality = _MEDIA.get(media.mime_type.partition("/")[0], "DOCUMENT")
    size = len(media.data) * 3 // 4  # of base64
    match modality:
        case "IMAGE":
            return modality, model.input_image_tokens
        case "DOCUMENT":
            return modality, _DOCUMENT_TOKENS
        case "TEXT":
            return modality, -(-size // 4)
        case _:
            return modality, -(-size // _BYTES_A_MEDIA_TOKEN)


def details(counts: Mapping[str, int]) -> list[dict[str, Any]]:
    return [{"modality": modality, "tokenCount": tokens} for modality, tokens in counts.items()]


class Spent(msgspec.Struct, frozen=True):
    """Tokens of the answer so far: running totals in a stream."""

    text: int = 0
    image: int = 0
    thoughts: int = 0


def gemini_usage(prompt: Prompt, spent: Spent, tier: str) -> dict[str, Any]:
    """The Gemini API's form. Details of the output list only images; a count of zero is absent."""
    usage = _counts(prompt, spent)
    if spent.image:
        usage["candidatesTokensDetails"] = details({"IMAGE": spent.image})
    usage["serviceTier"] = tier
    return usage


def vertex_usage(prompt: Prompt, spent: Spent, traffic: str) -> dict[str, Any]:
    """Vertex's form: details for text as well, and trafficType. Text answers on image models list only images."""
    usage = _counts(prompt, spent)
    output = {"IMAGE": spent.image} if spent.image else {"TEXT": spent.text} if spent.text else {}
    if output:
        usage["candidatesTokensDetails"] = details(output)
    usage["trafficType"] = traffic
    return usage


def _counts(prompt: Prompt, spent: Spent) -> dict[str, Any]:
    candidates = spent.text + spent.image
    usage: dict[str, Any] = {"promptTokenCount": prompt.total}
    if prompt.cached:
        usage["cachedContentTokenCount"] = prompt.cached
        usage["cacheTokensDetails"] = details({"TEXT": prompt.cached})
    if candidates:
        usage["candidatesTokenCount"] = candidates
    if prompt.tools:
        usage["toolUsePromptTokenCount"] = prompt.tools
    if spent.thoughts:
        usage["thoughtsTokenCount"] = spent.thoughts
    usage["totalTokenCount"] = prompt.total + candidates + prompt.tools + spent.thoughts
    usage["promptTokensDetails"] = details(prompt.by_modality)
    return usage
