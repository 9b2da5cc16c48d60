"""The short way of reading a request against the long one: they must say the same of everything."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.load import PROMPT
from proxy import Intent
from proxy.gemini.intent import read_any, read_intent
from proxy.gemini.paths import parse_operation
from proxy.gemini.plain_request import read_plain
from proxy.gemini.skeleton import LIMIT, REQUEST_BYTES, Skeleton

FLASH = "/v1beta/models/gemini-2.5-flash:generateContent"
TARGETS = [
    FLASH,
    "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse",
    "/v1/projects/p/locations/l/publishers/google/models/gemini-2.5-pro:generateContent",
    "/v1beta/models/gemini-2.5-flash:countTokens",
    "/v1beta/models/gemini-embedding-001:embedContent",
    "/v1beta/models/gemini-2.5-flash:batchGenerateContent",
    "/v1beta/models/gemini-3-pro-image:generateContent",
    "/v1beta/models/veo-3:predictLongRunning",
    "/v1beta/models/imagen-4:predict",
    "/v1beta/models/text-bison:generateText",
    "/v1beta/models/gemini-2.5-flash:somethingNew",
    "/v1beta/openai/chat/completions",
    "/v1beta/interactions",
]


def outcome(read: Callable[[], Intent]) -> Intent | str:
    try:
        return read()
    except ValueError as error:
        return str(error)


def says_the_same(target: str, body: bytes) -> None:
    operation = parse_operation("POST", target)
    short = outcome(lambda: read_intent(operation, target, body))
    assert short == outcome(lambda: read_any(operation, body))
    if read_plain(body) is not None:
        assert isinstance(short, Intent)


scalars = st.sampled_from(
    [0, 1, 7, -1, 1.0, 1.5, 1e300, 2**31 - 1, 2**31, 2**63, 2**70, 10**400, "7", "", "x" * 300, None, True, False]
)
words = st.one_of(
    st.text(max_size=9),
    st.sampled_from(["user", "é" * 9, "…", "ab…300", "abc…999", "\U0001f600", "\ud800", "\x7f", "😀…12"]),
    st.integers(LIMIT - 2, LIMIT + 2).map(lambda size: "y" * size),
)
odd = st.one_of(scalars, st.lists(scalars, max_size=2), st.dictionaries(st.sampled_from(["text", "n"]), scalars))
numbers = st.one_of(st.integers(-2, 9), scalars)


def some(names: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """Objects of these names; one in ten with a value of any type."""
    rarely = {name: st.integers(0, 9).flatmap(lambda n, of=of: odd if not n else of) for name, of in names.items()}  # type: ignore[misc]
    return st.fixed_dictionaries({}, optional=rarely)


parts = st.lists(some({"text": words, "thought": st.booleans()}) | some({"text": words}), max_size=3)
turns = some({"role": words, "parts": parts})
config = some(
    {
        "temperature": numbers,
        "topP": numbers,
        "topK": numbers,
        "candidateCount": numbers,
        "maxOutputTokens": numbers,
        "thinkingConfig": some({"thinkingLevel": words, "thinkingBudget": numbers, "includeThoughts": st.booleans()}),
        "responseMimeType": words,
        "stopSequences": st.lists(words, max_size=2),
    }
)
bodies = some(
    {
        "contents": st.lists(turns, max_size=3),
        "generationConfig": config,
        "safetySettings": st.lists(some({"category": words, "threshold": words}), max_size=2),
        "systemInstruction": turns,
    }
)
rarer = st.dictionaries(
    st.sampled_from(
        ["tools", "stream", "model", "n", "size", "serviceTier", "generation_config", "responseFormat", "parameters"]
    ),
    odd,
    max_size=1,
)


@settings(max_examples=1000, deadline=None)
@given(bodies, st.one_of(st.just({}), rarer), st.sampled_from(TARGETS), st.booleans())
def test_a_request_says_the_same_either_way(
    body: dict[str, Any], more: dict[str, Any], target: str, escaped: bool
) -> None:
    try:
        short = json.dumps(body | more, ensure_ascii=escaped).encode()
    except UnicodeEncodeError:
        short = json.dumps(body | more).encode()
    says_the_same(target, short)
    scanner = Skeleton(REQUEST_BYTES)
    scanner.feed(short)
    says_the_same(target, scanner.finish())


@settings(max_examples=300, deadline=None)
@given(bodies, bodies, st.sampled_from(TARGETS[:4]))
def test_of_a_name_that_comes_twice_the_last_is_read(
    first: dict[str, Any], second: dict[str, Any], target: str
) -> None:
    for one, other in ((first, second), (first.get("generationConfig"), second.get("generationConfig"))):
        if isinstance(one, dict) and isinstance(other, dict) and one and other:
            twice = (json.dumps(one)[:-1] + "," + json.dumps(other)[1:]).encode()
            if one is not first:
                twice = b'{"generationConfig":%b}' % twice
            says_the_same(target, twice)


@settings(max_examples=500, deadline=None)
@given(bodies, st.data())
def test_spoilt_bytes_are_read_alike_or_refused_in_the_same_words(body: dict[str, Any], data: st.DataObject) -> None:
    whole = json.dumps(body | {"contents": [{"parts": [{"text": 'a\\u0041"b'}]}]}).encode()
    at = data.draw(st.integers(1, len(whole) - 1))
    put = data.draw(
        st.sampled_from([b"", b'"', b"\\", b"\x00", b"\xff", b"{", b"}", b",", b"0", b" ", b"NaN", b"\\u0061"])
    )
    spoilt = whole[:at] + put + whole[at + data.draw(st.integers(0, 2)) :]
    says_the_same(FLASH, spoilt)


@pytest.mark.parametrize(
    "body",
    [
        PROMPT,
        b"{}",
        b'{"\\u0063ontents":[{"parts":[{"te\\u0078t":"a \\u2026 b \\ud83d\\ude00"}]}]}',
        b'{"generationConfig":{"thinkingConfig":{"thinkingBudget":-1},"maxOutputTokens":0}}',
        b' \r\n\t{ "contents" : [ ] }\n',
    ],
)
def test_these_are_plain(body: bytes) -> None:
    assert read_plain(body) is not None
    says_the_same(FLASH, body)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{} {}",
        b"\xef\xbb\xbf{}",
        b'{"contents":[null]}',
        b'{"contents":[{"parts":[{"text":"\\ud800"}]}]}',
        b'{"contents":[{"parts":[{"text":"\xff"}]}]}',
        b'{"generationConfig":{"temperature":NaN}}',
        b'{"generationConfig":{"maxOutputTokens":1e999}}',
        b'{"generationConfig":{"maxOutputTokens":"512"}}',
        b'{"generation_config":{}}',
        b'{"contents":' + b"[" * 5000,
    ],
)
def test_these_are_not(body: bytes) -> None:
    assert read_plain(body) is None
    says_the_same(FLASH, body)


def test_a_long_body_is_not_tried() -> None:
    """It may have a file at its end, and would be read twice."""
    body = json.dumps({"contents": [{"parts": [{"text": "a" * 200}] * 200}]}).encode()
    assert read_intent(parse_operation("POST", FLASH), FLASH, body) == Intent(
        model="gemini-2.5-flash", input_tokens=10_000
    )
