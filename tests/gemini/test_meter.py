"""The meter over answers of every shape: whole, byte by byte, at random splits, compressed, broken off."""

import gzip
import json
import random
import zlib
from itertools import cycle, pairwise
from typing import Any

import brotli
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy import Headers, Operation, ResponseHead, Usage, UsageState
from proxy.gemini.backlog import MOST_INFLATED, STEP_BYTES
from proxy.gemini.inflate import zstd
from proxy.gemini.media_types import media_of
from proxy.gemini.meter import Meter, meter_for

GENERATE = Operation("generateContent", api="gemini", model="m", generates=True)
STREAM = Operation("streamGenerateContent", api="gemini", model="m", generates=True, streams=True)
EMBED = Operation("embedContent", api="gemini", model="e", generates=True)
PREDICT = Operation("predict", api="gemini", model="imagen", generates=True)
CHAT = Operation("chat.completions", api="openai", model_in_body=True, generates=True)
INTERACT = Operation("interactions.create", api="interactions", model_in_body=True, generates=True)
COUNT = Operation("countTokens", api="gemini", model="m")

JSON = "application/json; charset=UTF-8"
SSE = "text/event-stream"


def head(content_type: str = JSON, status: int = 200, **headers: str) -> ResponseHead:
    fields = {"content-type": content_type} | {name.replace("_", "-"): value for name, value in headers.items()}
    return ResponseHead(status, "", Headers([(name.encode(), value.encode()) for name, value in fields.items()]))


def metered(
    operation: Operation, answer: ResponseHead, body: bytes, *, sizes: list[int] | None = None, complete: bool = True
) -> tuple[Usage | None, UsageState]:
    meter = meter_for(operation, answer)
    feed(meter, body, sizes)
    return meter.finish(complete)


def feed(meter: Meter, body: bytes, sizes: list[int] | None = None) -> None:
    at, turn = 0, cycle(sizes or [len(body) or 1])
    while at < len(body):
        size = next(turn)
        meter.feed(body[at : at + size])
        at += size


def final(usage: tuple[Usage | None, UsageState]) -> Usage:
    assert usage[1] is UsageState.FINAL
    assert usage[0] is not None
    return usage[0]


IMAGE = {"inlineData": {"mimeType": "image/jpeg", "data": "/9j/4AAQ" * 40_000}}
ANSWER = {
    "candidates": [
        {
            "content": {
                "parts": [
                    {"text": 'Here: {"usageMetadata": {"promptTokenCount": 999999}} "'},
                    {"functionCall": {"name": "f", "args": {"usageMetadata": {"promptTokenCount": 888888}}}},
                    {"thought": True, **IMAGE},
                    IMAGE,
                ],
                "role": "model",
            },
            "finishReason": "STOP",
            "index": 0,
            "groundingMetadata": {"webSearchQueries": ["monarch", "butterfly"]},
        }
    ],
    "usageMetadata": {
        "promptTokenCount": 14,
        "candidatesTokenCount": 1283,
        "totalTokenCount": 1471,
        "cachedContentTokenCount": 4,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 14}],
        "cacheTokensDetails": [{"modality": "TEXT", "tokenCount": 4}],
        "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1120}],
        "thoughtsTokenCount": 174,
        "serviceTier": "standard",
    },
    "modelVersion": "gemini-3-pro-image-preview",
    "responseId": "abc",
}
USAGE = Usage(
    input_tokens=14,
    cached_tokens=4,
    output_tokens=1283,
    thought_tokens=174,
    total_tokens=1471,
    input_by_modality={"text": 14},
    cached_by_modality={"text": 4},
    output_by_modality={"image": 1120},
    images=1,
    search_queries=2,
    finish_reasons=("STOP",),
    tier="standard",
    model_version="gemini-3-pro-image-preview",
    response_id="abc",
)
PRETTY = json.dumps(ANSWER, indent=2).encode()


def events(*documents: Any, end: str = "\r\n") -> bytes:
    return "".join(f"data: {json.dumps(document)}{end}{end}" for document in documents).encode()


def chunk(text: str, usage: Any = None, **more: Any) -> dict[str, Any]:
    return {"candidates": [{"content": {"parts": [{"text": text}]}, **more}], "usageMetadata": usage}


@pytest.mark.parametrize("sizes", [None, [65_536], [1000, 3], [7]])
def test_a_unary_image_answer(sizes: list[int] | None) -> None:
    assert len(PRETTY) > 600_000
    assert final(metered(GENERATE, head(), PRETTY, sizes=sizes)) == USAGE


def test_a_small_answer_takes_the_direct_road_to_the_same_end() -> None:
    small = json.loads(PRETTY)
    for part in small["candidates"][0]["content"]["parts"][2:]:
        part["inlineData"]["data"] = "AAAA"
    assert final(metered(GENERATE, head(), json.dumps(small).encode())) == USAGE


def test_the_header_names_the_tier_served() -> None:
    usage = final(metered(GENERATE, head(x_gemini_service_tier="flex"), PRETTY))
    assert usage.tier == "flex"


@pytest.mark.parametrize(
    "coding", ["gzip", "x-gzip", "deflate", "raw deflate", "two members", "br", "zstd", "gzip, br"]
)
def test_compressed_answers(coding: str) -> None:
    raw = zlib.compressobj(wbits=-15)
    body = {
        "deflate": zlib.compress(PRETTY),
        "raw deflate": raw.compress(PRETTY) + raw.flush(),
        "two members": gzip.compress(PRETTY[:1000]) + gzip.compress(PRETTY[1000:]),
        "br": brotli.compress(PRETTY, quality=5),
        "zstd": zstd.compress(PRETTY),
        "gzip, br": brotli.compress(gzip.compress(PRETTY), quality=5),
    }.get(coding, gzip.compress(PRETTY))
    name = {"raw deflate": "deflate", "two members": "gzip"}.get(coding, coding)
    for sizes in (None, [1], [100, 3]):
        assert final(metered(GENERATE, head(content_encoding=name), body, sizes=sizes)) == USAGE


def test_bytes_that_do_not_inflate_leave_what_was_read() -> None:
    first = events(chunk("a", {"promptTokenCount": 3, "totalTokenCount": 5}))
    packed = zlib.compressobj(wbits=31)
    body = packed.compress(first) + packed.flush(zlib.Z_SYNC_FLUSH) + b"\xff" * 100
    usage, state = metered(STREAM, head(SSE, content_encoding="gzip"), body, sizes=[1])
    assert state is UsageState.PARTIAL
    assert usage is not None
    assert usage.input_tokens == 3


@pytest.mark.parametrize("coding", ["compress", "aes128gcm", "gzip, gzip, gzip"])
def test_a_coding_we_cannot_undo_says_so(coding: str) -> None:
    assert metered(GENERATE, head(content_encoding=coding), b"\x00" * 100) == (None, UsageState.NONE)


def test_a_bomb_is_read_step_by_step() -> None:
    """A piece of 60 KiB that holds 60 MB: whoever feeds it may let others run between the steps."""
    bomb = gzip.compress(b'{"candidates": [{"content": {"parts": [{"text": "' + b"a" * 60_000_000 + b'"}]}}], ')
    bomb += gzip.compress(b'"usageMetadata": {"totalTokenCount": 3}}')
    meter = meter_for(GENERATE, head(content_encoding="gzip"))
    meter.feed(bomb)
    steps = 1
    while meter.behind:
        meter.catch_up()
        steps += 1
    assert steps == pytest.approx(60_000_000 / STEP_BYTES, rel=0.01)
    assert final(meter.finish(complete=True)).total_tokens == 3


@pytest.mark.parametrize("first_bytes", [1, 20_000, 35_000])
def test_what_is_fed_behind_a_bomb_waits_its_turn(first_bytes: int) -> None:
    """However it is cut: whoever feeds never inflates more than a step of it."""
    body = b'{"candidates": [{"content": {"parts": [{"text": "' + b"a" * 40_000_000 + b'"}]}}], '
    packed = gzip.compress(body + b'"usageMetadata": {"totalTokenCount": 3}}')
    meter = meter_for(GENERATE, head(content_encoding="gzip"))
    read_bytes = [0]
    for piece in (packed[:first_bytes], packed[first_bytes:-20], packed[-20:]):
        meter.feed(piece)
        read_bytes.append(meter._backlog.inflated_bytes if meter._backlog is not None else 0)
    while meter.behind:
        meter.catch_up()
        read_bytes.append(meter._backlog.inflated_bytes if meter._backlog is not None else 0)
    assert max(after - before for before, after in pairwise(read_bytes)) <= 2 * STEP_BYTES
    assert final(meter.finish(complete=True)).total_tokens == 3


def test_a_large_answer_that_is_no_bomb_is_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.gemini.backlog.MOST_INFLATED", 100_000)
    body = events(
        *(chunk(random.Random(number).randbytes(60).hex(), TURNS[0]["usageMetadata"]) for number in range(3000)),
        TURNS[-1],
    )
    meter = meter_for(STREAM, head(SSE, content_encoding="gzip"))
    meter.feed(gzip.compress(body))
    assert final(meter.finish(complete=True)) == TURNS_USAGE


def test_what_inflates_without_end_is_given_up() -> None:
    meter = meter_for(STREAM, head(SSE, content_encoding="br"))
    meter.feed(brotli.compress(events(TURNS[0]) + b" " * (MOST_INFLATED + STEP_BYTES), quality=1))
    usage, state = meter.finish(complete=True)
    assert usage is not None
    assert (usage.total_tokens, state) == (7, UsageState.PARTIAL)


TURNS = [
    chunk("Hel", {"promptTokenCount": 5, "candidatesTokenCount": 2, "totalTokenCount": 7}),
    chunk("lo", {"trafficType": "ON_DEMAND"}),
    chunk("", {}),
    chunk("data: [DONE]\n\n{}[]", None),
    chunk(
        "!",
        {"promptTokenCount": 5, "candidatesTokenCount": 9, "totalTokenCount": 14, "trafficType": "ON_DEMAND"},
        finishReason="STOP",
    ),
]
TURNS_USAGE = Usage(input_tokens=5, output_tokens=9, total_tokens=14, finish_reasons=("STOP",), tier="ON_DEMAND")


@pytest.mark.parametrize("end", ["\r\n", "\n"])
@pytest.mark.parametrize("sizes", [None, [1], [13, 5]])
def test_events_keep_the_last_value_of_each_field(end: str, sizes: list[int] | None) -> None:
    assert final(metered(STREAM, head(SSE), events(*TURNS, end=end), sizes=sizes)) == TURNS_USAGE


@pytest.mark.parametrize("sizes", [None, [1], [13, 5]])
def test_an_array_stream(sizes: list[int] | None) -> None:
    body = b"[" + b"\n,\r\n".join(json.dumps(turn, indent=2).encode() for turn in TURNS) + b"\n]\n"
    assert final(metered(STREAM, head(), body, sizes=sizes)) == TURNS_USAGE


@pytest.mark.parametrize("sizes", [None, [4096], [65_536, 1]])
def test_images_of_several_events_add_up(sizes: list[int] | None) -> None:
    image = {"candidates": [{"content": {"parts": [IMAGE]}}]}
    last = {"candidates": [{"finishReason": "STOP"}], "usageMetadata": {"promptTokenCount": 1, "totalTokenCount": 2241}}
    body = events(image, image, last)
    usage = final(metered(STREAM, head(SSE), body, sizes=sizes))
    assert (usage.images, usage.total_tokens) == (2, 2241)


def test_odd_lines_and_a_missing_last_blank_line() -> None:
    body = b': hi\nevent: x\nid: 1\nfoo\ndata:\n\ndata: {\ndata: "usageMetadata": {"totalTokenCount": 3}}'
    usage, state = metered(STREAM, head(SSE), body, sizes=[3])
    assert usage is not None
    assert (usage.total_tokens, state) == (3, UsageState.PARTIAL)  # never said why it stopped


@pytest.mark.parametrize(
    "error",
    [
        b'{\n  "error": {\n    "code": 503,\n    "message": "x",\n    "status": "UNAVAILABLE"\n  }\n}\n',
        b'[{\n  "error": {\n    "code": 503,\n    "status": "UNAVAILABLE"\n  }\n}\n]',
        b'data: {"error": {"code": 503, "status": "UNAVAILABLE"}}\n\n',
    ],
)
@pytest.mark.parametrize("sizes", [None, [1]])
def test_an_error_after_events_ends_partial(error: bytes, sizes: list[int] | None) -> None:
    meter = meter_for(STREAM, head(SSE))
    feed(meter, events(TURNS[0]) + error, sizes)
    usage, state = meter.finish(complete=True)
    assert (state, meter.error_in_stream) == (UsageState.PARTIAL, "503 UNAVAILABLE")
    assert usage is not None
    assert usage.total_tokens == 7


def test_an_error_as_an_element_of_the_array() -> None:
    meter = meter_for(STREAM, head())
    feed(meter, json.dumps([TURNS[0], {"error": {"code": 500, "status": "INTERNAL"}}]).encode())
    assert meter.finish(complete=True)[1] is UsageState.PARTIAL
    assert meter.error_in_stream == "500 INTERNAL"


def test_a_stream_that_breaks_off_is_partial() -> None:
    usage, state = metered(STREAM, head(SSE), events(*TURNS)[:-40], complete=False)
    assert state is UsageState.PARTIAL
    assert usage is not None
    assert (usage.output_tokens, usage.tier) == (2, "ON_DEMAND")


def test_a_unary_answer_that_breaks_off_has_no_counts() -> None:
    assert metered(GENERATE, head(), PRETTY[:-200], complete=False) == (None, UsageState.NONE)


def test_an_unreadable_last_event_is_not_called_final() -> None:
    usage, state = metered(STREAM, head(SSE), events(TURNS[0]) + b'data: {"usageMetadata": {"totalTok\n\n')
    assert state is UsageState.PARTIAL
    assert usage is not None


@pytest.mark.parametrize(
    ("operation", "answer"),
    [
        (GENERATE, head(status=429)),
        (GENERATE, head(status=503)),
        (COUNT, head()),
        (Operation("files.get", api="gemini"), head()),
        (GENERATE, head("application/x-protobuf")),
        (GENERATE, head("text/javascript")),
    ],
)
def test_what_is_free_or_binary_is_not_metered(operation: Operation, answer: ResponseHead) -> None:
    assert metered(operation, answer, PRETTY) == (None, UsageState.NONE)


def test_an_unknown_operation_is_metered() -> None:
    assert final(metered(Operation("unknown"), head(), PRETTY)) == USAGE


def unary(operation: Operation, body: Any) -> Usage:
    return final(metered(operation, head(), json.dumps(body).encode()))


def test_integer_enums_and_string_counts() -> None:
    usage = unary(
        GENERATE,
        {
            "candidates": [{"finishReason": 2, "content": None}, {"index": 1, "finishReason": 11}],
            "usageMetadata": {
                "promptTokenCount": "12",
                "candidatesTokenCount": 3.0,
                "thoughtsTokenCount": None,
                "promptTokensDetails": [{"modality": 2, "tokenCount": 10}, {"modality": 1, "tokenCount": 2}, {}],
            },
        },
    )
    assert usage == Usage(
        input_tokens=12,
        output_tokens=3,
        total_tokens=15,
        input_by_modality={"image": 10, "text": 2},
        finish_reasons=("MAX_TOKENS", "IMAGE_SAFETY"),
    )


@pytest.mark.parametrize("odd", [-1, "many", 1.5, 1 << 60, 1e300, [1], True])
def test_a_count_that_is_none_makes_the_rest_an_estimate(odd: Any) -> None:
    body = {"candidates": [], "usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": odd}}
    usage, state = metered(GENERATE, head(), json.dumps(body).encode())
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens, state) == (5, 0, UsageState.PARTIAL)


def test_candidates_without_end_are_not_told_apart() -> None:
    many = [{"index": index, "finishReason": "STOP"} for index in range(-5, 5000)]
    usage = unary(GENERATE, {"candidates": many, "usageMetadata": {"promptTokenCount": 5}})
    assert len(usage.finish_reasons) <= 64


def test_a_blocked_prompt_and_an_answer_without_an_image_say_so() -> None:
    blocked = unary(GENERATE, {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 9}})
    assert (blocked.finish_reasons, blocked.total_tokens) == (("BLOCKED_SAFETY",), 9)
    empty = unary(GENERATE, {"candidates": [{"finishReason": "IMAGE_SAFETY"}], "usageMetadata": {"totalTokenCount": 9}})
    assert (empty.finish_reasons, empty.images) == (("IMAGE_SAFETY",), 0)


def test_an_image_delivered_to_storage_counts() -> None:
    part = {"fileData": {"mimeType": "image/png", "fileUri": "gs://b/o"}}
    usage = unary(
        GENERATE, chunk("x") | {"candidates": [{"content": {"parts": [part]}}], "usageMetadata": {"totalTokenCount": 1}}
    )
    assert usage.images == 1


def test_odd_candidates_do_not_hide_the_counts() -> None:
    usage, state = metered(GENERATE, head(), b'{"candidates": 7, "usageMetadata": {"totalTokenCount": 5}}')
    assert state is UsageState.PARTIAL
    assert usage is not None
    assert usage.total_tokens == 5


def test_embeddings() -> None:
    values = [0.25] * 40_000
    usage = unary(
        EMBED,
        {
            "embedding": {"values": values},
            "usageMetadata": {
                "promptTokenCount": 8,
                "promptTokenDetails": [{"modality": "TEXT", "tokenCount": 8}],
            },
        },
    )
    assert usage == Usage(input_tokens=8, total_tokens=8, input_by_modality={"text": 8})
    assert metered(EMBED, head(), b'{"embedding": {"values": [1]}}') == (None, UsageState.NONE)


def test_predictions() -> None:
    image = {"mimeType": "image/png", "bytesBase64Encoded": "A" * 100_000}
    assert unary(PREDICT, {"predictions": [image, {"raiFilteredReason": "x"}, image]}).images == 2
    counted = {"embeddings": {"statistics": {"token_count": 4}, "values": [1.5]}}
    assert unary(PREDICT, {"predictions": [counted, counted]}).input_tokens == 8


def test_openai_chat_counts_thinking_as_output() -> None:
    body = {
        "id": "c1",
        "model": "gemini-2.5-flash",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"content": "usage"}}],
        "usage": {
            "prompt_tokens": 10,
            "completion_tokens": 5,
            "total_tokens": 40,
            "prompt_tokens_details": {"cached_tokens": 6},
        },
    }
    assert unary(CHAT, body) == Usage(
        input_tokens=10,
        cached_tokens=6,
        output_tokens=30,
        total_tokens=40,
        finish_reasons=("stop",),
        model_version="gemini-2.5-flash",
        response_id="c1",
    )


def test_openai_streams_embeddings_and_images() -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 9}
    body = events({"choices": [{"delta": {"content": "x"}}], "usage": None}, {"choices": [], "usage": usage}, end="\n")
    assert final(metered(CHAT, head(SSE), body + b"data: [DONE]\n\n")).output_tokens == 6
    assert metered(CHAT, head(SSE), events({"choices": []}) + b"data: [DONE]\n\n") == (None, UsageState.NONE)
    vectors = {"data": [{"embedding": "AAAA"}], "usage": {"prompt_tokens": 3, "total_tokens": 3}}
    assert unary(CHAT, vectors) == Usage(input_tokens=3, total_tokens=3)
    assert unary(CHAT, {"data": [{"b64_json": "A" * 99_999}, {"url": "https://x"}]}).images == 2


INTERACTION = {
    "id": "i1",
    "model": "gemini-3-pro-image",
    "service_tier": "flex",
    "steps": [
        {"type": "user_input", "content": [{"type": "image", "data": "A"}]},
        {"type": "model_output", "content": [{"type": "text", "text": "x"}, {"type": "image", "data": "A" * 99_999}]},
    ],
    "usage": {
        "total_input_tokens": 9,
        "total_output_tokens": 1200,
        "total_thought_tokens": 100,
        "total_cached_tokens": 2,
        "total_tool_use_tokens": 1,
        "total_tokens": 1310,
        "output_tokens_by_modality": [{"modality": "image", "tokens": 1120}],
        "grounding_tool_count": [{"type": "google_search", "count": 3}, {"type": "file_search", "count": 5}],
    },
}
INTERACTION_USAGE = Usage(
    input_tokens=9,
    cached_tokens=2,
    tool_tokens=1,
    output_tokens=1200,
    thought_tokens=100,
    total_tokens=1310,
    output_by_modality={"image": 1120},
    images=1,
    search_queries=3,
    tier="flex",
    model_version="gemini-3-pro-image",
    response_id="i1",
)


def test_interactions_unary_and_streamed() -> None:
    assert unary(INTERACT, INTERACTION) == INTERACTION_USAGE
    body = b"event: step.delta\n" + events(
        {"event_type": "step.delta", "delta": {"type": "image", "data": "A" * 99_999}},
        {"event_type": "interaction.completed", "interaction": INTERACTION},
        end="\n",
    )
    for sizes in (None, [1000]):
        assert final(metered(INTERACT, head(SSE), body + b"data: [DONE]\n\n", sizes=sizes)) == INTERACTION_USAGE


def test_an_interaction_s_list_says_how_many_images_there_are_however_many_deltas_brought_them() -> None:
    piece = {"event_type": "step.delta", "delta": {"type": "image", "data": "A" * 999}}
    begun = {"event_type": "interaction.created", "interaction": {"id": "i1", "outputs": []}}
    done = {"event_type": "interaction.completed", "interaction": INTERACTION}
    assert final(metered(INTERACT, head(SSE), events(begun, piece, piece, piece, done))).images == 1
    text = {"type": "model_output", "content": [{"type": "text", "text": "x"}]}
    without = {"event_type": "interaction.completed", "interaction": INTERACTION | {"steps": [text]}}
    assert final(metered(INTERACT, head(SSE), events(begun, piece, without))).images == 0
    counted = {"event_type": "interaction.completed", "interaction": {"usage": INTERACTION["usage"]}}
    assert final(metered(INTERACT, head(SSE), events(begun, piece, piece, counted))).images == 2


@pytest.mark.parametrize("operation", [Operation("unknown"), Operation("unknown", api="openai")])
def test_what_has_no_name_is_read_in_every_shape(operation: Operation) -> None:
    native = {"usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 4, "totalTokenCount": 7}}
    assert (unary(operation, native).input_tokens, unary(operation, native).total_tokens) == (3, 7)
    openai = {"usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 17}, "model": "m"}
    found = unary(operation, openai)
    assert (found.input_tokens, found.output_tokens, found.total_tokens) == (3, 14, 17)
    assert found.model_version == "m"
    assert unary(operation, INTERACTION) == INTERACTION_USAGE


words = st.text(alphabet=st.sampled_from('a"\\{}[]:,\n€'), max_size=30)
counts = st.fixed_dictionaries(
    {},
    optional={
        "promptTokenCount": st.integers(0, 9999),
        "candidatesTokenCount": st.integers(0, 9999),
        "totalTokenCount": st.integers(0, 9999),
        "trafficType": st.sampled_from(["ON_DEMAND", "PROVISIONED_THROUGHPUT"]),
        "promptTokensDetails": st.lists(
            st.fixed_dictionaries({"modality": st.sampled_from(["TEXT", "IMAGE", 1]), "tokenCount": st.integers(0, 9)}),
            max_size=2,
        ),
    },
)
parts = st.one_of(
    st.fixed_dictionaries({"text": words}),
    st.builds(lambda n: {"inlineData": {"mimeType": "image/png", "data": "A" * n}}, st.sampled_from([4, 300, 70_000])),
    st.fixed_dictionaries({"functionCall": st.fixed_dictionaries({"args": st.dictionaries(words, words, max_size=2)})}),
)
turns = st.lists(
    st.fixed_dictionaries(
        {
            "candidates": st.lists(
                st.fixed_dictionaries({"content": st.fixed_dictionaries({"parts": st.lists(parts, max_size=2)})}),
                max_size=1,
            )
        },
        optional={"usageMetadata": counts},
    ),
    min_size=1,
    max_size=4,
)


def expected(documents: list[dict[str, Any]]) -> tuple[int, int, int, int] | None:
    """A full parse: last of each count, and the images."""
    merged: dict[str, Any] = {}
    images = 0
    for document in documents:
        merged |= {key: value for key, value in document.get("usageMetadata", {}).items() if key.endswith("Count")}
        found = [part for c in document["candidates"] for part in c["content"]["parts"] if "inlineData" in part]
        images += len(found)
    if not merged:
        return None
    prompt, output = merged.get("promptTokenCount", 0), merged.get("candidatesTokenCount", 0)
    return prompt, output, merged.get("totalTokenCount", prompt + output), images


@settings(max_examples=60, deadline=None)
@given(turns, st.lists(st.integers(1, 50_000), min_size=1, max_size=5), st.sampled_from(["sse", "array", "gzip"]))
def test_any_answer_at_any_split_equals_a_full_parse(
    documents: list[dict[str, Any]], sizes: list[int], framing: str
) -> None:
    body = json.dumps(documents, ensure_ascii=False, indent=2).encode() if framing == "array" else events(*documents)
    answer = head(JSON if framing == "array" else SSE)
    if framing == "gzip":
        body, answer = gzip.compress(body), head(SSE, content_encoding="gzip")
    split = metered(STREAM, answer, body, sizes=sizes)
    assert split == metered(STREAM, answer, body)
    found = split[0] and (split[0].input_tokens, split[0].output_tokens, split[0].total_tokens, split[0].images)
    assert found == expected(documents)


@settings(max_examples=100)
@given(st.binary(max_size=300), st.sampled_from([JSON, SSE]), st.sampled_from([GENERATE, CHAT, INTERACT]))
def test_no_bytes_make_it_raise(body: bytes, content_type: str, operation: Operation) -> None:
    for start in (b"", b"{", b"[{", b"data: {"):
        metered(operation, head(content_type), start + body, sizes=[17])
        for coding in ("gzip", "deflate", "br", "zstd", "br, gzip"):
            packed = meter_for(operation, head(content_type, content_encoding=coding))
            packed.feed(start + body)
            packed.finish(complete=True)


@pytest.mark.parametrize("deep", [b'{"candidates":' * 5000, b'{"usage":' * 5000, b'{"response":' * 3000, b"[" * 60_000])
@pytest.mark.parametrize("operation", [GENERATE, CHAT])
def test_depth_without_end_does_not_raise(deep: bytes, operation: Operation) -> None:
    assert metered(operation, head(), deep) == (None, UsageState.NONE)
    assert metered(operation, head(SSE), b"data: " + deep + b"\n\n") == (None, UsageState.NONE)


@pytest.mark.parametrize("field", ["modelVersion", "error", "usageMetadata", "candidates"])
def test_a_number_too_long_to_write_does_not_raise(field: str) -> None:
    number = b"9" * 5000
    nested = b'{"code": ' + number + b"}" if field == "error" else number
    body = b'{"usageMetadata": {"totalTokenCount": 5}, "' + field.encode() + b'": ' + nested + b"}"
    assert metered(GENERATE, head(), body)[1] is not UsageState.FINAL


def test_a_content_type_is_told_by_its_type_alone() -> None:
    for number in range(200):  # more than are remembered
        assert media_of(f"Application/JSON; v={number}".encode()).type == "application/json"
    assert media_of(b"application/vnd.google+json").is_text
    assert media_of(b"").is_text
    assert not media_of(b"image/png").is_text
    assert media_of(b"image/png") is media_of(b"image/png")
