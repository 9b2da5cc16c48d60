"""What an exchange used, and the line the usage log holds of it.

`Usage` is filled by `gemini/meter.py`, read by quotas and by the usage log. `UsageRecord` is the product
of the gateway: its field names are a published interface, changed only together with `SCHEMA_VERSION`.
"""

from enum import StrEnum

import msgspec

SCHEMA_VERSION = 1


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


class Usage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
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
    output_by_modality: dict[str, int] = {}
    images: int = 0  # image parts in the answer
    search_queries: int = 0  # groundingMetadata.webSearchQueries
    finish_reasons: tuple[str, ...] = ()
    tier: str | None = None  # serviceTier or trafficType, as sent
    model_version: str | None = None
    response_id: str | None = None


class AttemptRecord(msgspec.Struct, kw_only=True):
    """One try at one endpoint. Times are milliseconds since the exchange began."""

    endpoint: str
    region: str
    started_ms: float
    ended_ms: float | None = None  # at its response head, or at its failure
    status: int | None = None
    error: str | None = None  # EndpointFailed.reason
    sent: bool = False  # the endpoint may have run it, and bill it


class UsageRecord(msgspec.Struct, kw_only=True):
    """One line of the usage log: who, what, where, how it ended, what it used."""

    schema: int = SCHEMA_VERSION
    time: str  # RFC 3339, UTC: when the request head had arrived
    id: str
    route: str | None
    team: str | None
    subject: str | None
    key_id: str | None
    operation: str
    model: str | None
    method: str
    path: str  # without the query, which may carry credentials
    endpoint: str | None  # the one whose answer was relayed
    region: str | None
    attempts: list[AttemptRecord]
    outcome: Outcome
    status: int | None  # sent to the caller; None when it left before a head went out
    reason: str | None  # of a refusal or a failure
    first_byte_ms: float | None
    total_ms: float
    request_bytes: int
    response_bytes: int
    usage_state: UsageState
    usage: Usage | None
    labels: dict[str, str]
