"""The shape of a plain answer: the fields that `plain.py` decodes of it, each with the only types that it takes.

Fields stand in Google's order, for msgspec looks for each where the one before was found; `plain.py` takes them by that
order too. Nothing here lives longer than the reading of one answer: the collector need not know of it.
"""

from typing import Annotated

import msgspec

from proxy.gemini.scalars import MAX_COUNT, MAX_WORD

Count = Annotated[int, msgspec.Meta(ge=0, lt=MAX_COUNT)]
Word = Annotated[str, msgspec.Meta(max_length=MAX_WORD)]


class PlainDetail(msgspec.Struct, gc=False, forbid_unknown_fields=True, rename={"tokens": "tokenCount"}):
    modality: Word
    tokens: Count = 0


class PlainCounts(
    msgspec.Struct,
    gc=False,
    forbid_unknown_fields=True,
    rename={
        "input_tokens": "promptTokenCount",
        "output_tokens": "candidatesTokenCount",
        "cached_tokens": "cachedContentTokenCount",
        "tool_tokens": "toolUsePromptTokenCount",
        "total_tokens": "totalTokenCount",
        "input_by_modality": "promptTokensDetails",
        "cached_by_modality": "cacheTokensDetails",
        "output_by_modality": "candidatesTokensDetails",
        "tool_by_modality": "toolUsePromptTokensDetails",
        "thought_tokens": "thoughtsTokenCount",
        "traffic_type": "trafficType",
        "service_tier": "serviceTier",
    },
):
    """A `usageMetadata` under our names, as far as each field was sent."""

    input_tokens: Count | None = None
    output_tokens: Count | None = None
    cached_tokens: Count | None = None
    tool_tokens: Count | None = None
    total_tokens: Count | None = None
    input_by_modality: list[PlainDetail] | None = None
    cached_by_modality: list[PlainDetail] | None = None
    output_by_modality: list[PlainDetail] | None = None
    tool_by_modality: list[PlainDetail] | None = None
    thought_tokens: Count | None = None
    traffic_type: Word | None = None
    service_tier: Word | None = None


class PlainBlob(msgspec.Struct, gc=False, rename="camel"):
    mime_type: str | None = None


class PlainPart(msgspec.Struct, gc=False, rename="camel"):
    inline_data: PlainBlob | None = None
    file_data: PlainBlob | None = None
    thought: bool | None = None


class PlainContent(msgspec.Struct, gc=False):
    parts: list[PlainPart] | None = None


class PlainCandidate(msgspec.Struct, gc=False, rename="camel"):
    content: PlainContent | None = None
    finish_reason: Word | None = None
    index: Annotated[int, msgspec.Meta(ge=0, lt=64)] = 0
    grounding_metadata: None = None


class PlainDocument(msgspec.Struct, gc=False, rename="camel"):
    """The top of a plain answer. What is None here may be null, and nothing else."""

    candidates: list[PlainCandidate] | None = None
    usage_metadata: PlainCounts | None = None
    model_version: Word | None = None
    response_id: Word | None = None
    predictions: None = None
    prompt_feedback: None = None
    token_count: None = None
    error: None = None
