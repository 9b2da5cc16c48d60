"""What one answer says it used, shape by shape: the fields that few answers have."""

import json
from typing import Any

import pytest

from proxy import Operation, Usage, UsageState
from proxy.gemini.meter import meter_for
from proxy.gemini.paths import parse_operation
from tests.gemini.test_meter import CHAT, GENERATE, INTERACT, PREDICT, SSE, STREAM, events, final, head, metered, unary

VERTEX = Operation("generateContent", api="vertex", model="m", generates=True)
RAW = Operation("rawPredict", api="vertex", model="claude", generates=True)
RAW_STREAM = Operation("streamRawPredict", api="vertex", model="claude", generates=True, streams=True)


def test_tools_by_modality_native_and_interactions() -> None:
    counted = {"toolUsePromptTokenCount": 288, "toolUsePromptTokensDetails": [{"modality": "TEXT", "tokenCount": 288}]}
    native = unary(GENERATE, {"usageMetadata": counted | {"promptTokenCount": 15}})
    assert (native.tool_tokens, native.tool_by_modality, native.total_tokens) == (288, {"text": 288}, 303)
    found = unary(
        INTERACT,
        {
            "usage": {
                "total_tool_use_tokens": 5,
                "input_tokens_by_modality": [{"modality": "image", "tokens": 1}],
                "cached_tokens_by_modality": [{"modality": "text", "tokens": 2}],
                "tool_use_tokens_by_modality": [{"modality": "document", "tokens": 5}],
                "output_tokens_by_modality": [{"modality": "audio", "tokens": 4}],
            }
        },
    )
    assert (found.input_by_modality, found.cached_by_modality) == ({"image": 1}, {"text": 2})
    assert (found.tool_by_modality, found.output_by_modality) == ({"document": 5}, {"audio": 4})


@pytest.mark.parametrize(
    ("operation", "number", "reason"),
    [
        (GENERATE, 7, "BLOCKLIST"),
        (GENERATE, 11, "IMAGE_SAFETY"),
        (GENERATE, 16, "NO_IMAGE"),
        (GENERATE, 99, "99"),
        (VERTEX, 6, "BLOCKLIST"),
        (VERTEX, 10, "MODEL_ARMOR"),
        (GENERATE, "IMAGE_PROHIBITED_CONTENT", "IMAGE_PROHIBITED_CONTENT"),
    ],
)
def test_reasons_by_number_as_each_surface_numbers_them(operation: Operation, number: Any, reason: str) -> None:
    body = {"candidates": [{"finishReason": number}], "usageMetadata": {"totalTokenCount": 1}}
    assert unary(operation, body).finish_reasons == (reason,)


@pytest.mark.parametrize("reason", [0, "FINISH_REASON_UNSPECIFIED", None, "", [], 1.5])
def test_no_reason_is_none(reason: Any) -> None:
    body = {"candidates": [{"finishReason": reason}], "usageMetadata": {"totalTokenCount": 1}}
    assert unary(GENERATE, body).finish_reasons == ()


@pytest.mark.parametrize(
    ("operation", "reason", "word"),
    [
        (GENERATE, "SAFETY", "BLOCKED_SAFETY"),
        (GENERATE, 5, "BLOCKED_IMAGE_SAFETY"),
        (VERTEX, 5, "BLOCKED_MODEL_ARMOR"),
        (VERTEX, 77, "BLOCKED_77"),
    ],
)
def test_a_prompt_that_was_not_answered(operation: Operation, reason: Any, word: str) -> None:
    body = {"promptFeedback": {"blockReason": reason}, "usageMetadata": {"promptTokenCount": 9}}
    assert unary(operation, body).finish_reasons == (word,)


def chunk(reason: str | None, index: int = 0, **grounding: Any) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"parts": [{"text": "x"}]}, "index": index}
    candidate |= {"finishReason": reason} if reason else {}
    candidate |= {"groundingMetadata": grounding} if grounding else {}
    return {"candidates": [candidate], "usageMetadata": {"totalTokenCount": 3}}


@pytest.mark.parametrize(
    ("documents", "state"),
    [
        ([chunk(None), chunk("STOP")], UsageState.FINAL),
        ([chunk(None), chunk(None)], UsageState.PARTIAL),
        ([chunk("STOP"), chunk(None, index=1)], UsageState.PARTIAL),
        ([chunk("STOP"), chunk("MAX_TOKENS", index=1)], UsageState.FINAL),
        ([chunk("STOP"), {"usageMetadata": {"totalTokenCount": 4}}], UsageState.FINAL),
        ([{"usageMetadata": {"totalTokenCount": 4}}], UsageState.PARTIAL),
        (
            [{"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 4}}],
            UsageState.FINAL,
        ),
    ],
)
def test_a_stream_that_never_says_why_it_stopped_is_partial(documents: list[Any], state: UsageState) -> None:
    assert metered(STREAM, head(SSE), events(*documents))[1] is state
    assert metered(STREAM, head(), json.dumps(documents).encode())[1] is state


def test_searches_are_told_apart_across_chunks_and_candidates() -> None:
    documents = [
        chunk(None, webSearchQueries=["monarch"]),
        chunk(None, webSearchQueries=["monarch", "butterfly"]),
        chunk("STOP", webSearchQueries=["anatomy"]),
        chunk("STOP", index=1, webSearchQueries=["monarch"]),
    ]
    assert final(metered(STREAM, head(SSE), events(*documents))).search_queries == 4


def test_an_interaction_counts_its_own_searches() -> None:
    tools = [{"type": "google_search", "count": 2}, {"type": "google_maps", "count": 9}, {"count": 1}, 7]
    assert unary(INTERACT, {"usage": {"total_tokens": 1, "grounding_tool_count": tools}}).search_queries == 3


def test_imagen_whose_pictures_were_all_filtered_used_none() -> None:
    usage = unary(PREDICT, {"predictions": [{"raiFilteredReason": "x"}]})
    assert usage == Usage()
    assert unary(PREDICT, {"predictions": [{"bytesBase64Encoded": "AAAA"}]}).images == 1


ANTHROPIC = {
    "id": "msg_1",
    "model": "claude-x",
    "stop_reason": "end_turn",
    "content": [{"type": "text", "text": '"usage": {"input_tokens": 9999}'}],
    "usage": {
        "input_tokens": 10,
        "cache_creation_input_tokens": 200,
        "cache_read_input_tokens": 3000,
        "output_tokens": 40,
    },
}
ANTHROPIC_USAGE = Usage(
    input_tokens=3210,
    cached_tokens=3000,
    output_tokens=40,
    total_tokens=3250,
    finish_reasons=("end_turn",),
    model_version="claude-x",
    response_id="msg_1",
)


def test_a_partner_s_input_leaves_out_what_was_cached() -> None:
    assert unary(RAW, ANTHROPIC) == ANTHROPIC_USAGE
    begun = ANTHROPIC | {"stop_reason": None, "usage": ANTHROPIC["usage"] | {"output_tokens": 1}}  # type: ignore[operator]
    body = events(
        {"type": "message_start", "message": begun},
        {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "x"}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 40}},
        {"type": "message_stop"},
    )
    assert final(metered(RAW_STREAM, head(SSE), body)) == ANTHROPIC_USAGE


def test_openai_images_with_counts() -> None:
    operation = parse_operation("POST", "/v1beta/openai/images/generations")
    counted = {"input_tokens": 9, "output_tokens": 1120, "total_tokens": 1229}
    usage = unary(operation, {"data": [{"b64_json": "AAAA"}], "usage": counted})
    assert (usage.images, usage.input_tokens, usage.output_tokens) == (1, 9, 1220)


def interaction(status: str, **more: Any) -> dict[str, Any]:
    return {"id": "i1", "status": status, "usage": {"total_input_tokens": 3, "total_tokens": 5}} | more


def test_an_interaction_is_charged_once_whoever_reads_it() -> None:
    for method, target in [("POST", "/v1/interactions"), ("GET", "/v1/interactions/i1")]:
        operation = parse_operation(method, target)
        meter = meter_for(operation, head(), target)
        meter.feed(json.dumps(interaction("completed")).encode())
        assert final(meter.finish(complete=True)).total_tokens == 5
        assert meter.once == "interactions/i1"


@pytest.mark.parametrize("status", ["in_progress", "queued"])
def test_an_interaction_in_the_background_is_not_counted_yet_but_known_by_its_name(status: str) -> None:
    meter = meter_for(parse_operation("POST", "/v1/interactions"), head())
    meter.feed(json.dumps(interaction(status)).encode())
    assert meter.finish(complete=True) == (None, UsageState.NONE)
    assert meter.once == "interactions/i1"


def test_an_interaction_that_is_streamed_again() -> None:
    operation = parse_operation("GET", "/v1/interactions/i1?stream=true")
    created = {"event_type": "interaction.created", "interaction": {"id": "i1", "status": "in_progress"}}
    body = events(created, {"event_type": "interaction.completed", "interaction": interaction("completed")}, end="\n")
    meter = meter_for(operation, head(SSE))
    meter.feed(body)
    assert final(meter.finish(complete=True)).input_tokens == 3
    assert meter.once == "interactions/i1"


def test_what_is_charged_as_often_as_it_is_asked_has_no_name() -> None:
    for operation in (GENERATE, CHAT):
        meter = meter_for(operation, head())
        meter.feed(
            b'{"id": "x", "responseId": "x", "usage": {"total_tokens": 1}, "usageMetadata": {"totalTokenCount": 1}}'
        )
        final(meter.finish(complete=True))
        assert meter.once is None
