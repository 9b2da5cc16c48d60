import pytest

from tests.simulator.calling import ASK, DRAW, GENERATE, STREAM, Caller

VERTEX = "/v1/projects/p/locations/global/publishers/google/models/gemini-2.5-flash:{}"


@pytest.mark.parametrize("version", ["v1", "v1beta", "v1alpha"])
async def test_answers_every_version_alike(caller: Caller, version: str) -> None:
    reply = await caller.post(f"/{version}/models/gemini-2.5-flash:generateContent")

    candidate = reply.document["candidates"][0]
    assert reply.status == 200
    assert candidate["finishReason"] == "STOP"
    assert "How much water?" in candidate["content"]["parts"][0]["text"]
    assert reply.document["modelVersion"] == "gemini-2.5-flash"
    assert reply.document["responseId"]


async def test_usage_is_counted_from_the_texts(caller: Caller) -> None:
    reply = await caller.post(GENERATE, x_sim_output_tokens="100")

    assert reply.document["usageMetadata"] == {
        "promptTokenCount": 4,
        "candidatesTokenCount": 100,
        "thoughtsTokenCount": 64,
        "totalTokenCount": 168,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 4}],
        "serviceTier": "standard",
    }
    assert len(reply.document["candidates"][0]["content"]["parts"][0]["text"].encode()) == 400


async def test_the_head_is_googles(caller: Caller) -> None:
    reply = await caller.post(GENERATE)

    assert reply.headers["Content-Type"] == "application/json; charset=UTF-8"
    assert reply.headers.getall("Vary") == ["Origin", "X-Origin", "Referer"]
    assert reply.headers["Server-Timing"].startswith("gfet4t7; dur=")
    assert reply.headers["x-gemini-service-tier"] == "standard"
    assert reply.headers["x-weir-simulator"] == "1"
    assert int(reply.headers["Content-Length"]) == len(reply.body)
    assert reply.body.startswith(b'{\n  "candidates"')


async def test_the_bound_on_output_ends_the_answer(caller: Caller) -> None:
    reply = await caller.post(GENERATE, ASK | {"generation_config": {"max_output_tokens": 10}})

    assert reply.document["candidates"][0]["finishReason"] == "MAX_TOKENS"
    assert reply.document["usageMetadata"]["candidatesTokenCount"] == 10


async def test_the_tier_asked_is_the_tier_served(caller: Caller) -> None:
    reply = await caller.post(GENERATE, ASK | {"serviceTier": "FLEX"})

    assert reply.headers["x-gemini-service-tier"] == "flex"
    assert reply.document["usageMetadata"]["serviceTier"] == "flex"


async def test_thinking_can_be_turned_off_and_shown(caller: Caller) -> None:
    off = await caller.post(GENERATE, ASK | {"generationConfig": {"thinkingConfig": {"thinkingBudget": 0}}})
    shown = await caller.post(GENERATE, ASK | {"generationConfig": {"thinkingConfig": {"includeThoughts": True}}})

    assert "thoughtsTokenCount" not in off.document["usageMetadata"]
    assert shown.document["candidates"][0]["content"]["parts"][0]["thought"] is True


async def test_other_media_count_by_kind(caller: Caller) -> None:
    media = [
        {"text": "abcd"},
        {"inline_data": {"mime_type": "image/png", "data": "AAAA"}},
        {"inlineData": {"mimeType": "application/pdf", "data": "AAAA"}},
        {"inlineData": {"mimeType": "audio/wav", "data": "A" * 8000}},
        {"functionCall": {"name": "look", "args": {"some_key": 1}}},
    ]
    reply = await caller.post(GENERATE, {"contents": [{"parts": media}]})

    details = {
        entry["modality"]: entry["tokenCount"] for entry in reply.document["usageMetadata"]["promptTokensDetails"]
    }
    assert details["IMAGE"] == 258
    assert details["DOCUMENT"] == 258
    assert details["AUDIO"] == 6
    assert details["TEXT"] > 1


async def test_search_and_file_search_show_in_answer_and_usage(caller: Caller) -> None:
    reply = await caller.post(GENERATE, ASK | {"tools": [{"google_search": {}}, {"fileSearch": {}}]})

    assert reply.document["candidates"][0]["groundingMetadata"]["webSearchQueries"] == ["How much water?"]
    usage = reply.document["usageMetadata"]
    assert usage["toolUsePromptTokenCount"] == 288
    assert usage["totalTokenCount"] == 4 + 48 + 288 + 64


async def test_a_blocked_prompt_is_a_200_without_candidates(caller: Caller) -> None:
    reply = await caller.post(GENERATE, x_sim_block="PROHIBITED_CONTENT")

    assert reply.status == 200
    assert reply.document["promptFeedback"] == {"blockReason": "PROHIBITED_CONTENT"}
    assert "candidates" not in reply.document
    assert reply.document["usageMetadata"]["totalTokenCount"] == 4


async def test_sse_chunks_carry_running_totals(caller: Caller) -> None:
    reply = await caller.post(f"{STREAM}?alt=sse", x_sim_chunks="3")

    totals = [event["usageMetadata"]["candidatesTokenCount"] for event in reply.events]
    assert reply.headers["Content-Type"] == "text/event-stream"
    assert reply.headers["Content-Disposition"] == "attachment"
    assert reply.headers["Transfer-Encoding"] == "chunked"
    assert totals == sorted(totals)
    assert totals[-1] == 48
    assert len({event["responseId"] for event in reply.events}) == 1
    assert ["finishReason" in event["candidates"][0] for event in reply.events] == [False, False, True]


async def test_streams_without_sse_are_one_json_array(caller: Caller) -> None:
    reply = await caller.post(STREAM)
    unary = await caller.post(GENERATE)

    text = "".join(chunk["candidates"][0]["content"]["parts"][0]["text"] for chunk in reply.document)
    assert reply.headers["Content-Type"] == "application/json; charset=UTF-8"
    assert len(reply.document) == 4
    assert text == unary.document["candidates"][0]["content"]["parts"][0]["text"]
    assert reply.document[-1]["usageMetadata"] == unary.document["usageMetadata"]


async def test_enums_are_integers_where_asked(caller: Caller) -> None:
    reply = await caller.post(f"{GENERATE}?$alt=json;enum-encoding=int")

    assert reply.document["candidates"][0]["finishReason"] == 1
    assert reply.document["usageMetadata"]["promptTokensDetails"] == [{"modality": 1, "tokenCount": 4}]


async def test_a_field_mask_hides_the_usage_from_the_caller_not_from_the_ledger(caller: Caller) -> None:
    reply = await caller.post(f"{GENERATE}?fields=candidates(content,finish_reason),modelVersion")

    assert set(reply.document) == {"candidates", "modelVersion"}
    assert (await caller.last()).billed["totalTokenCount"] == 116  # type: ignore[index]


@pytest.mark.parametrize("path", [VERTEX, "/v1beta1/publishers/google/models/gemini-2.5-flash:{}"])
async def test_vertex_counts_come_with_the_last_chunk_alone(caller: Caller, path: str) -> None:
    reply = await caller.post(path.format("streamGenerateContent?alt=sse"), key=None, Authorization="Bearer t")

    *middle, last = reply.events
    assert [event["usageMetadata"] for event in middle] == [{}, {}, {}]
    assert last["usageMetadata"]["trafficType"] == "ON_DEMAND"
    assert last["usageMetadata"]["candidatesTokensDetails"] == [{"modality": "TEXT", "tokenCount": 48}]
    assert "serviceTier" not in last["usageMetadata"]
    assert "createTime" in last
    assert "x-gemini-service-tier" not in reply.headers


@pytest.mark.parametrize(
    ("headers", "traffic"),
    [
        ({"x_vertex_ai_llm_request_type": "dedicated"}, "PROVISIONED_THROUGHPUT"),
        ({"x_vertex_ai_llm_shared_request_type": "flex"}, "ON_DEMAND_FLEX"),
    ],
)
async def test_vertex_traffic_follows_the_headers(caller: Caller, headers: dict[str, str], traffic: str) -> None:
    reply = await caller.post(VERTEX.format("generateContent"), key=None, Authorization="Bearer t", **headers)

    assert reply.document["usageMetadata"]["trafficType"] == traffic


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{", "Invalid JSON payload received."),
        (b"[]", "Root element must be a message"),
        (ASK | {"colour": "blue"}, 'Unknown name "colour": Cannot find field.'),
        ({"contents": []}, "contents is not specified"),
        ({"contents": "words"}, "Invalid value"),
        (ASK | {"generationConfig": {"candidateCount": "many"}}, "Invalid value"),
        (ASK | {"generationConfig": {"responseModalities": ["IMAGE"]}}, "does not support"),
    ],
)
async def test_a_bad_body_is_googles_400(caller: Caller, body: object, message: str) -> None:
    reply = await caller.post(GENERATE, body)

    assert reply.status == 400
    assert message in reply.document["error"]["message"]
    assert reply.document["error"]["status"] == "INVALID_ARGUMENT"


async def test_a_tuned_model_and_a_slashed_prefix_are_found(caller: Caller) -> None:
    tuned = await caller.post("/v1beta/tunedModels/mine-1:generateContent")
    doubled = await caller.post("//v1beta//models/gemini-2.5-flash:generateContent")

    assert (tuned.status, doubled.status) == (200, 200)
    assert tuned.document["modelVersion"] == "mine-1"


async def test_a_hundred_characters_of_two_bytes_are_fifty_tokens(caller: Caller) -> None:
    reply = await caller.post(GENERATE, {"contents": {"parts": {"text": "é" * 100}}})

    assert reply.document["usageMetadata"]["promptTokenCount"] == 50


async def test_many_candidates_cost_each(caller: Caller) -> None:
    reply = await caller.post(GENERATE, ASK | {"generationConfig": {"candidateCount": 3}})

    assert [candidate["index"] for candidate in reply.document["candidates"]] == [0, 1, 2]
    assert reply.document["usageMetadata"]["candidatesTokenCount"] == 3 * 48


async def test_a_deadline_under_ten_seconds_is_refused(caller: Caller) -> None:
    reply = await caller.post(DRAW, X_Server_Timeout="9")

    assert reply.status == 400
    assert "Manually set deadline 9s is too short" in reply.document["error"]["message"]
