"""What an exchange used, how it ended, and what was tried.

`Usage` is filled by `gemini/meter.py`, read by quotas and by the usage log, and is a part of each usage record
(`record.py`): its field names are a published interface. Nothing in it refers to itself, so the collector is not told
(`gc=False`).
"""

from enum import StrEnum

import msgspec


class Outcome(StrEnum):
    """How an exchange ended."""

    COMPLETED = "completed"  # the upstream's answer, whatever its status, was relayed to its last byte
    REFUSED = "refused"  # we answered ourselves: policy, bad request, or a fault of our own
    UPSTREAM_FAILED = "upstream_failed"  # no endpoint gave an answer
    UPSTREAM_BROKE = "upstream_broke"  # an answer began and did not end
    CLIENT_GONE = "client_gone"  # the caller left before the end
    LOST = "lost"  # the gateway itself stopped; also the value before any other is known


class UsageState(StrEnum):
    """How much the counts can be trusted."""

    FINAL = "final"  # the answer was read to its end
    PARTIAL = "partial"  # the last counts seen before the answer broke off
    NONE = "none"  # the answer carried no counts


class Usage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Counts read from an answer; Gemini's `usageMetadata` under one set of names (facts, section 4.1).

    Tokens that were cached are part of `input_tokens` too, as Google counts them. Modalities are Google's
    names in lower case: text, image, audio, video, document.
    """

    input_tokens: int = 0  # promptTokenCount
    cached_tokens: int = 0  # cachedContentTokenCount
    tool_tokens: int = 0  # toolUsePromptTokenCount
    output_tokens: int = 0  # candidatesTokenCount: every visible modality
    thought_tokens: int = 0  # thoughtsTokenCount
    total_tokens: int = 0  # totalTokenCount
    input_by_modality: dict[str, int] = {}
    cached_by_modality: dict[str, int] = {}
    tool_by_modality: dict[str, int] = {}
    output_by_modality: dict[str, int] = {}
    images: int = 0  # image parts in the answer
    video_seconds: int = 0  # of all videos together; asked for, since no answer says it (Gemini fact 4.4)
    video_resolution: str | None = None  # "720p", "1080p", "4k"
    search_queries: int = 0  # groundingMetadata.webSearchQueries
    finish_reasons: tuple[str, ...] = ()
    tier: str | None = None  # serviceTier or trafficType, as sent
    model_version: str | None = None
    response_id: str | None = None


class AttemptRecord(msgspec.Struct, kw_only=True, gc=False):
    """One try at one endpoint. Times are milliseconds since the exchange began."""

    endpoint: str
    region: str
    started_ms: float
    ended_ms: float | None = None  # at its response head, or at its failure
    status: int | None = None
    error: str | None = None  # EndpointFailed.reason
    sent: bool = False  # the endpoint may have run it, and bill it
