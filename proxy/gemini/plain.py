"""The answer that nearly all are: text, perhaps an image, and counts in their usual spelling.

`usage_fields.py` tries it on each native document of an answer, `meter.py` on a small one that came whole: decoded in
one go, typed, it takes a fifth of the time. Whatever is rarer (a block, a search, an error, a number that comes as a
text, a field that nobody knows) is refused as a whole, and then read the long way, which alone decides what it means: a
plain answer must say the same either way.
"""

from typing import Annotated

import msgspec

from proxy.gemini.scalars import MAX_COUNT, MAX_WORD, UNSPECIFIED, modality_name
from proxy.usage import Usage

Count = Annotated[int, msgspec.Meta(ge=0, lt=MAX_COUNT)]
Word = Annotated[str, msgspec.Meta(max_length=MAX_WORD)]


class PlainDetail(msgspec.Struct, forbid_unknown_fields=True, rename={"tokens": "tokenCount"}):
    modality: Word
    tokens: Count = 0


class PlainCounts(
    msgspec.Struct,
    forbid_unknown_fields=True,
    rename={
        "input_tokens": "promptTokenCount",
        "cached_tokens": "cachedContentTokenCount",
        "tool_tokens": "toolUsePromptTokenCount",
        "output_tokens": "candidatesTokenCount",
        "thought_tokens": "thoughtsTokenCount",
        "total_tokens": "totalTokenCount",
        "input_by_modality": "promptTokensDetails",
        "cached_by_modality": "cacheTokensDetails",
        "tool_by_modality": "toolUsePromptTokensDetails",
        "output_by_modality": "candidatesTokensDetails",
        "service_tier": "serviceTier",
        "traffic_type": "trafficType",
    },
):
    """A `usageMetadata` under our names, as far as each field was sent."""

    input_tokens: Count | None = None
    cached_tokens: Count | None = None
    tool_tokens: Count | None = None
    output_tokens: Count | None = None
    thought_tokens: Count | None = None
    total_tokens: Count | None = None
    input_by_modality: list[PlainDetail] | None = None
    cached_by_modality: list[PlainDetail] | None = None
    tool_by_modality: list[PlainDetail] | None = None
    output_by_modality: list[PlainDetail] | None = None
    service_tier: Word | None = None
    traffic_type: Word | None = None


class PlainBlob(msgspec.Struct, rename="camel"):
    mime_type: str | None = None


class PlainPart(msgspec.Struct, rename="camel"):
    inline_data: PlainBlob | None = None
    file_data: PlainBlob | None = None
    thought: bool | None = None


class PlainContent(msgspec.Struct):
    parts: list[PlainPart] | None = None


class PlainCandidate(msgspec.Struct, rename="camel"):
    index: Annotated[int, msgspec.Meta(ge=0, lt=64)] = 0
    finish_reason: Word | None = None
    content: PlainContent | None = None
    grounding_metadata: None = None


class Plain(msgspec.Struct, rename="camel"):
    """The top of a plain answer. What is None here may be null, and nothing else."""

    usage_metadata: PlainCounts | None = None
    candidates: list[PlainCandidate] | None = None
    model_version: Word | None = None
    response_id: Word | None = None
    predictions: None = None
    prompt_feedback: None = None
    token_count: None = None
    error: None = None


_decode = msgspec.json.Decoder(Plain).decode


def read_plain(document: bytes) -> Plain | None:
    """None: it is another kind of answer, or none at all."""
    try:
        answer = _decode(document)
    except (ValueError, RecursionError):  # of msgspec
        return None
    counts = answer.usage_metadata
    if counts is not None and counts.service_tier is not None and counts.traffic_type is not None:
        return None  # the one said last is the tier: only the text knows
    return answer


def usage_of(answer: Plain, tier: str | None) -> Usage | None:
    """What an answer of one document used; None where it counts nothing. `tier` is a header's word, which wins."""
    counts = answer.usage_metadata
    if counts is None:
        return None
    given, cached, tool = counts.input_tokens, counts.cached_tokens, counts.tool_tokens
    output, thought, total = counts.output_tokens, counts.thought_tokens, counts.total_tokens
    if given is cached is tool is output is thought is total is None:
        return None
    reasons: dict[int, str] = {}
    images = 0
    for candidate in answer.candidates or ():
        if (reason := candidate.finish_reason) and not reason.endswith(UNSPECIFIED):
            reasons[candidate.index] = reason
        images += images_of(candidate)
    given_by, cached_by, tool_by = counts.input_by_modality, counts.cached_by_modality, counts.tool_by_modality
    output_by = counts.output_by_modality
    return Usage(
        input_tokens=given or 0,
        cached_tokens=cached or 0,
        tool_tokens=tool or 0,
        output_tokens=output or 0,
        thought_tokens=thought or 0,
        total_tokens=(given or 0) + (tool or 0) + (output or 0) + (thought or 0) if total is None else total,
        input_by_modality=tokens_by(given_by) if given_by else {},
        cached_by_modality=tokens_by(cached_by) if cached_by else {},
        tool_by_modality=tokens_by(tool_by) if tool_by else {},
        output_by_modality=tokens_by(output_by) if output_by else {},
        images=images,
        finish_reasons=tuple(reasons[index] for index in sorted(reasons)) if len(reasons) > 1 else (*reasons.values(),),
        tier=tier or counts.service_tier or counts.traffic_type or None,
        model_version=answer.model_version or None,
        response_id=answer.response_id or None,
    )


def tokens_by(details: list[PlainDetail]) -> dict[str, int]:
    found: dict[str, int] = {}
    for detail in details:
        name = _MODALITIES.get(detail.modality) or modality_name(detail.modality)
        found[name] = found.get(name, 0) + detail.tokens  # one modality may come in several entries
    return found


_MODALITIES = {name.upper(): name for name in ("text", "image", "video", "audio", "document")}


def images_of(candidate: PlainCandidate) -> int:
    """Images in its parts. A draft among the thoughts is no image of the answer, and not billed as one."""
    images = 0
    content = candidate.content
    if content is not None:
        for part in content.parts or ():
            blob = part.inline_data or part.file_data
            if blob is not None and blob.mime_type is not None and part.thought is not True:
                images += blob.mime_type.lower().startswith("image/")
    return images
