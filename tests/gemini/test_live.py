"""Live frames: whom the first one asks for, and turns summed as Google bills them."""

import json
from typing import Any

import pytest

from proxy import Intent, Operation, Usage, UsageState
from proxy.gemini.live import LiveMeter, read_setup, status_of_close, told

LIVE = Operation("live", api="live", model_in_body=True, generates=True)


def frame(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


def counts(prompt: int, response: int, **more: Any) -> dict[str, Any]:
    return {"promptTokenCount": prompt, "responseTokenCount": response, "totalTokenCount": prompt + response} | more


def speaks(**more: Any) -> dict[str, Any]:
    return {"serverContent": {"modelTurn": {"parts": [{"inlineData": {"data": "AAAA" * 5000}}]}} | more}


ENDS = {"serverContent": {"turnComplete": True}}


def use(prompt: int, response: int, **more: Any) -> dict[str, Any]:
    return {"usageMetadata": counts(prompt, response, **more)}


def metered(*frames: dict[str, Any], complete: bool = True) -> tuple[Usage | None, UsageState]:
    meter = LiveMeter(LIVE)
    for one in frames:
        meter.feed(json.dumps(one).encode())
    return meter.finish(complete)


# --- the first frame ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("models/gemini-3.8-live", "gemini-3.8-live"),
        ("projects/p/locations/l/publishers/google/models/gemini-live", "gemini-live"),
        ("gemini-live", "gemini-live"),
        ("", None),
        (7, None),
    ],
)
def test_the_model_is_read_from_the_setup(name: Any, model: str | None) -> None:
    assert read_setup(LIVE, frame(setup={"model": name})).model == model


def test_a_setup_without_a_model_names_none() -> None:
    """As with an ephemeral token, which holds the setup itself."""
    assert read_setup(LIVE, frame(setup={})) == Intent(stream=True)


def test_what_a_setup_asks_for() -> None:
    text = "x" * 4000
    intent = read_setup(
        LIVE,
        frame(
            setup={
                "model": "models/m",
                "generation_config": {"max_output_tokens": 100},
                "systemInstruction": {"parts": [{"text": text}]},
            }
        ),
    )
    assert (intent.max_output_tokens, intent.stream) == (100, True)
    assert 1000 <= intent.input_tokens < 1020


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"{}", b"null", b'{"setup": 1}', b'{"setup"', b'{"client_content": {}}', b"\xff", b"[" * 100_000],
)
def test_what_is_no_setup_is_said_in_words(data: bytes) -> None:
    with pytest.raises(ValueError, match="first message of the session"):
        read_setup(LIVE, data)


@pytest.mark.parametrize(
    "data",
    [b'{"setup": {"model": "a", "model": "b"}}', b'{"setup": {"model": "a"}, "setup": {"model": "b"}}'],
)
def test_two_models_are_refused(data: bytes) -> None:
    """Which of a repeated key counts is for each parser to say (RFC 8259, section 4)."""
    with pytest.raises(ValueError, match="more than once"):
        read_setup(LIVE, data)


# --- the counts ---------------------------------------------------------------------------------------------


def test_turns_are_summed_and_running_totals_are_not() -> None:
    usage, state = metered(
        {"setupComplete": {}},
        *(speaks(), use(10, 1), speaks(), use(10, 5), ENDS),
        *(speaks(), use(30, 2), use(30, 7), ENDS),
    )
    assert state is UsageState.FINAL
    assert usage == Usage(input_tokens=40, output_tokens=12, total_tokens=52)


@pytest.mark.parametrize(
    "frames",
    [
        pytest.param((speaks(), ENDS, use(10, 5), speaks(), ENDS, use(30, 7)), id="behind the end"),
        pytest.param((speaks(), use(10, 2), ENDS, use(10, 5), speaks(), use(30, 7), ENDS), id="on both sides"),
        pytest.param((speaks(), use(10, 5), ENDS, use(30, 1), speaks(), use(30, 7), ENDS), id="before the answer"),
        pytest.param((speaks(usageMetadata=counts(10, 5)), ENDS, speaks(), ENDS | use(30, 7)), id="in the same frame"),
        pytest.param(
            (
                speaks() | {"serverContent": {"modelTurn": {}, "turnComplete": True}} | use(10, 5),
                {"toolCall": {"functionCalls": []}},
                use(30, 7),
            ),
            id="a tool call",
        ),
    ],
)
def test_wherever_the_counts_of_a_turn_come(frames: tuple[dict[str, Any], ...]) -> None:
    frames = tuple(_lifted(one) for one in frames)
    assert metered(*frames) == (Usage(input_tokens=40, output_tokens=12, total_tokens=52), UsageState.FINAL)


def _lifted(one: dict[str, Any]) -> dict[str, Any]:
    """usageMetadata stands beside serverContent, not in it."""
    content = dict(one.get("serverContent") or {})
    usage = content.pop("usageMetadata", None)
    return one | ({"serverContent": content} if content else {}) | ({"usageMetadata": usage} if usage else {})


def test_every_field_of_a_turn_adds_up() -> None:
    first = use(
        10,
        5,
        promptTokensDetails=[{"modality": "TEXT", "tokenCount": 4}, {"modality": "AUDIO", "tokenCount": 6}],
        responseTokensDetails=[{"modality": "AUDIO", "tokenCount": 5}],
        toolUsePromptTokenCount=3,
        thoughtsTokenCount=2,
        cachedContentTokenCount=1,
        trafficType="ON_DEMAND",
    )
    second = use(20, 1, promptTokensDetails=[{"modality": "AUDIO", "tokenCount": 20}])
    searched = {"serverContent": {"groundingMetadata": {"webSearchQueries": ["a", "b"]}}}
    usage, _ = metered(speaks(), searched, first, ENDS, speaks(), second, ENDS)
    assert usage == Usage(
        input_tokens=30,
        output_tokens=6,
        total_tokens=36,
        tool_tokens=3,
        thought_tokens=2,
        cached_tokens=1,
        input_by_modality={"text": 4, "audio": 26},
        output_by_modality={"audio": 5},
        search_queries=2,
        tier="ON_DEMAND",
    )


@pytest.mark.parametrize(
    ("frames", "complete", "state"),
    [
        ((speaks(), use(1, 1), ENDS), True, UsageState.FINAL),
        ((speaks(), use(1, 1), ENDS), False, UsageState.PARTIAL),
        ((speaks(), use(1, 1), ENDS, speaks()), True, UsageState.PARTIAL),
        ((speaks(), use(1, 1), {"serverContent": {"outputTranscription": {"text": "a"}}}), True, UsageState.PARTIAL),
        ((use(1, 1), {"serverContent": {"inputTranscription": {"text": "a"}}}), True, UsageState.FINAL),
        ((speaks(), ENDS), True, UsageState.NONE),
        (({"setupComplete": {}}, {"goAway": {"timeLeft": "50s"}}), True, UsageState.NONE),
        ((), True, UsageState.NONE),
    ],
)
def test_how_far_the_counts_can_be_trusted(frames: Any, complete: bool, state: UsageState) -> None:
    usage, found = metered(*frames, complete=complete)
    assert found is state
    assert (usage is None) is (state is UsageState.NONE)


@pytest.mark.parametrize(
    "odd",
    [
        b"",
        b"\xff\xfe",
        b"not json",
        b"[1]",
        b'{"usageMetadata": 7}',
        b'{"serverContent": [1]}',
        b'{"serverContent": {"groundingMetadata": 3}}',
        b"[" * 100_000,
    ],
)
def test_an_odd_frame_costs_only_its_own_counts(odd: bytes) -> None:
    meter = LiveMeter(LIVE)
    meter.feed(frame(**use(10, 5)))
    meter.feed(odd)
    assert meter.finish(True) == (Usage(input_tokens=10, output_tokens=5, total_tokens=15), UsageState.PARTIAL)


def test_what_the_model_says_about_counts_is_text() -> None:
    said = frame(serverContent={"modelTurn": {"parts": [{"text": frame(**use(999, 999)).decode()}]}})
    meter = LiveMeter(LIVE)
    meter.feed(said)
    assert meter.finish(True) == (None, UsageState.NONE)


# --- closes and refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "reason", "status"),
    [
        (1011, "Internal error encountered.", 503),
        (1011, "You exceeded your current quota, please check your plan", 429),
        (1011, "RESOURCE_EXHAUSTED", 429),
        (1001, "", 503),
        (1013, "", 503),
        (1007, "API key not valid. Please pass a valid API key.", 400),
        (1008, "models/x is not found; check your quota", 400),
        (4000, "", 400),
    ],
)
def test_what_a_close_before_the_session_means(code: int, reason: str, status: int) -> None:
    assert status_of_close(code, reason) == status


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b'{"error": {"code": 403, "message": "No."}}', "No."),
        (b'{"error": {"message": 3}}', "The endpoint refused the session with 403."),
        (b'{"error": "no"}', "The endpoint refused the session with 403."),
        (b"<html>", "The endpoint refused the session with 403."),
        (b"", "The endpoint refused the session with 403."),
    ],
)
def test_a_refusal_is_told_in_googles_words(body: bytes, says: str) -> None:
    assert told(403, body) == says
