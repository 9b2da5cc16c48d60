"""The short way of reading an answer against the long one: they must say the same of everything.

An empty `promptFeedback` means nothing and is never plain: with it, any document is read the long way.
"""

import gzip
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy import Usage, UsageState
from proxy.gemini.paths import parse_operation
from proxy.gemini.plain import read_plain
from tests.gemini.test_meter import JSON, SSE, USAGE, head, metered
from tests.gemini.test_meter_property import chunks, embeddings, splits

GENERATE = parse_operation("POST", "/v1beta/models/m:generateContent")
VERTEX = parse_operation("POST", "/v1/projects/p/locations/l/publishers/google/models/m:generateContent")
STREAM = parse_operation("POST", "/v1beta/models/m:streamGenerateContent")
LONG_WAY = {"promptFeedback": {}}

Document = dict[str, Any]
Metered = tuple[Usage | None, UsageState]


@st.composite
def odd_documents(draw: st.DrawFn) -> Document:
    """Fields that are known, with values of every type."""
    value = st.sampled_from(
        [0, 1, 7, -1, 1.0, 1.5, 1e300, 2**53 - 1, 2**53, 2**70, "7", "STOP", "", "x" * 300, None, True, False, [], {}]
    )
    odd = st.one_of(value, st.lists(value, max_size=2), st.dictionaries(st.sampled_from(["a", "tokenCount"]), value))
    detail = st.dictionaries(st.sampled_from(["modality", "tokenCount", "tokens", "more"]), value, max_size=3)
    names = ("prompt", "candidates", "thoughts", "total", "toolUsePrompt", "response")
    usage = st.dictionaries(
        st.sampled_from(
            [f"{name}TokenCount" for name in names]
            + [f"{name}TokensDetails" for name in names]
            + ["cachedContentTokenCount", "cacheTokensDetails", "serviceTier", "trafficType", "total_tokens", "new"]
        ),
        st.one_of(odd, st.integers(0, 99), st.lists(detail, max_size=2)),
        max_size=4,
    )
    part = st.dictionaries(
        st.sampled_from(["text", "inlineData", "fileData", "thought"]),
        st.one_of(odd, st.fixed_dictionaries({"mimeType": st.one_of(odd, st.just("image/png"))})),
        max_size=3,
    )
    candidate = st.fixed_dictionaries(
        {},
        optional={
            "index": st.one_of(odd, st.integers(0, 70)),
            "finishReason": odd,
            "content": st.one_of(odd, st.fixed_dictionaries({"parts": st.one_of(odd, st.lists(part, max_size=2))})),
            "groundingMetadata": odd,
        },
    )
    fields = {
        "usageMetadata": st.one_of(usage, odd),
        "candidates": st.one_of(st.lists(candidate, max_size=2), odd),
        **dict.fromkeys(("modelVersion", "responseId", "predictions", "tokenCount", "error"), odd),
    }
    some = draw(st.lists(st.sampled_from(sorted(fields)), max_size=3, unique=True))
    return {name: draw(fields[name]) for name in {"usageMetadata", *some}}


def the_long_way(document: Document) -> Document:
    return document | LONG_WAY | {name: value for name, value in document.items() if name in LONG_WAY}


def stream(documents: list[Document]) -> bytes:
    return "".join(f"data: {json.dumps(each)}\r\n\r\n" for each in documents).encode()


@settings(max_examples=300, deadline=None)
@given(st.one_of(chunks, embeddings, odd_documents()), st.sampled_from([GENERATE, VERTEX]), st.booleans())
def test_an_answer_says_the_same_either_way(document: Document, operation: Any, complete: bool) -> None:
    short, long = json.dumps(document).encode(), json.dumps(the_long_way(document)).encode()
    assert read_plain(long) is None

    expected = metered(operation, head(JSON), long, complete=complete)
    assert metered(operation, head(JSON), short, complete=complete) == expected
    assert metered(operation, head(JSON), short, sizes=[100], complete=complete) == expected
    zipped = gzip.compress(short)
    assert metered(operation, head(JSON, content_encoding="gzip"), zipped, complete=complete) == expected
    assert metered(operation, head(JSON, content_encoding="gzip"), zipped, sizes=[30], complete=complete) == expected


@settings(max_examples=100, deadline=None)
@given(st.one_of(chunks, odd_documents()), st.data())
def test_what_is_no_whole_gzip_file_is_read_as_far_as_it_goes(document: Document, data: st.DataObject) -> None:
    plain = json.dumps(document).encode()
    zipped = gzip.compress(plain)
    cut = zipped[: data.draw(st.integers(0, len(zipped) - 1))]
    at = data.draw(st.integers(0, len(zipped) - 1))
    spoilt = zipped[:at] + bytes([zipped[at] ^ 0x41]) + zipped[at + 1 :]
    half = len(plain) // 2
    two_members = gzip.compress(plain[:half]) + gzip.compress(plain[half:])
    for sent in (cut, spoilt, two_members, zipped + b"\0" * 8, zipped + b"no gzip"):
        # By its old name it is read the long way.
        expected = metered(GENERATE, head(JSON, content_encoding="x-gzip"), sent)
        assert metered(GENERATE, head(JSON, content_encoding="gzip"), sent) == expected
    assert metered(GENERATE, head(JSON, content_encoding="gzip"), two_members) == metered(GENERATE, head(JSON), plain)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(chunks, odd_documents()), min_size=1, max_size=4), splits)
def test_a_stream_says_the_same_either_way(documents: list[Document], sizes: list[int]) -> None:
    expected = metered(STREAM, head(SSE), stream(list(map(the_long_way, documents))))
    assert metered(STREAM, head(SSE), stream(documents)) == expected
    assert metered(STREAM, head(SSE), stream(documents), sizes=sizes) == expected


@settings(max_examples=100, deadline=None)
@given(odd_documents(), odd_documents())
def test_of_a_name_that_comes_twice_the_last_is_read(first: Document, second: Document) -> None:
    twice = (json.dumps(first)[:-1] + "," + json.dumps(second)[1:]).encode()
    long = twice[:-1] + b',"promptFeedback":{}}'

    assert metered(GENERATE, head(JSON), twice) == metered(GENERATE, head(JSON), long)


ORDINARY = {
    "candidates": [
        {
            "content": {"parts": [{"text": "Hi"}, {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}]},
            "finishReason": "STOP",
            "index": 0,
            "avgLogprobs": -0.1,
            "safetyRatings": [{"category": "X"}],
        }
    ],
    "usageMetadata": {
        "promptTokenCount": 14,
        "candidatesTokenCount": 1283,
        "totalTokenCount": 1471,
        "thoughtsTokenCount": 174,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 14}],
        "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1120}],
        "trafficType": "ON_DEMAND",
    },
    "modelVersion": "gemini-3-pro-image",
    "responseId": "abc",
    "createTime": "2026-11-21T10:00:00Z",
}


def test_an_ordinary_answer_is_plain() -> None:
    assert read_plain(json.dumps(ORDINARY, indent=2).encode()) is not None
    assert metered(GENERATE, head(JSON), json.dumps(ORDINARY).encode()) == (
        Usage(
            input_tokens=14,
            output_tokens=1283,
            thought_tokens=174,
            total_tokens=1471,
            input_by_modality={"text": 14},
            output_by_modality={"image": 1120},
            images=1,
            finish_reasons=("STOP",),
            tier="ON_DEMAND",
            model_version="gemini-3-pro-image",
            response_id="abc",
        ),
        UsageState.FINAL,
    )


@pytest.mark.parametrize(
    "more",
    [
        {"usageMetadata": {"promptTokenCount": "14"}},
        {"usageMetadata": {"promptTokenCount": -1}},
        {"usageMetadata": {"responseTokenCount": 1}},
        {"usageMetadata": {"promptTokenCount": 1, "serviceTier": "flex", "trafficType": "ON_DEMAND"}},
        {"promptFeedback": {"blockReason": "SAFETY"}},
        {"error": {"code": 503}},
        {"predictions": []},
        {"candidates": [{"groundingMetadata": {"webSearchQueries": ["a"]}}]},
        {"candidates": [{"index": 64}]},
        {"modelVersion": "x" * 257},
    ],
)
def test_what_is_rare_is_read_the_long_way(more: Document) -> None:
    assert read_plain(json.dumps(ORDINARY | more).encode()) is None


def test_an_answer_that_broke_off_is_partial_or_nothing() -> None:
    body = json.dumps(ORDINARY).encode()

    assert metered(GENERATE, head(JSON), body, complete=False)[1] is UsageState.PARTIAL
    assert metered(GENERATE, head(JSON), body[:-1]) == (None, UsageState.NONE)
    assert metered(GENERATE, head(JSON), b"") == (None, UsageState.NONE)


def test_the_header_s_tier_wins() -> None:
    usage, _ = metered(GENERATE, head(JSON, x_gemini_service_tier="priority"), json.dumps(ORDINARY).encode())
    assert usage is not None
    assert (usage.tier, USAGE.tier) == ("priority", "standard")
