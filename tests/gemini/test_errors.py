"""Errors as SDKs know them."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy import Operation, Refusal
from proxy.gemini.errors import render, status

GENERATE = Operation("generateContent", api="gemini")
CHAT = Operation("chat.completions", api="openai")
RETRY = "type.googleapis.com/google.rpc.RetryInfo"


def test_a_refusal_has_googles_shape() -> None:
    extra = {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": []}
    body = render(Refusal(429, "Slow down.", reason="TEAM_QUOTA", retry_after=47, details=[extra]), GENERATE)
    assert body.startswith(b'{\n  "error": {\n    "code": 429,\n    "message": "Slow down.",\n')
    assert json.loads(body) == {
        "error": {
            "code": 429,
            "message": "Slow down.",
            "status": "RESOURCE_EXHAUSTED",
            "details": [
                {
                    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                    "reason": "TEAM_QUOTA",
                    "domain": "gemini-weir",
                },
                {"@type": RETRY, "retryDelay": "47s"},
                extra,
            ],
        }
    }


def test_the_compatible_surface_gets_an_array_of_one() -> None:
    refusal = Refusal(401, "Who are you?", reason="NO_CREDENTIAL")
    wrapped = json.loads(render(refusal, CHAT))
    assert wrapped == [json.loads(render(refusal, GENERATE))]


def test_undecodable_bytes_in_a_message_do_not_break_the_answer() -> None:
    message = b"no such \xff model".decode("utf-8", "surrogateescape")
    assert json.loads(render(Refusal(404, message, reason="X"), GENERATE))["error"]["message"] == message


@pytest.mark.parametrize(
    ("code", "word"),
    [
        *((400, "INVALID_ARGUMENT"), (401, "UNAUTHENTICATED"), (403, "PERMISSION_DENIED"), (404, "NOT_FOUND")),
        *((405, "UNIMPLEMENTED"), (409, "ABORTED"), (413, "INVALID_ARGUMENT"), (429, "RESOURCE_EXHAUSTED")),
        *((499, "CANCELLED"), (500, "INTERNAL"), (501, "UNIMPLEMENTED"), (502, "UNAVAILABLE")),
        *((503, "UNAVAILABLE"), (504, "DEADLINE_EXCEEDED"), (418, "INVALID_ARGUMENT"), (599, "INTERNAL")),
    ],
)
def test_status(code: int, word: str) -> None:
    assert status(code) == word


@pytest.mark.parametrize(
    ("seconds", "written"),
    [(0, "0s"), (47, "47s"), (47.6, "47.6s"), (0.0001, "0.001s"), (100, "100s"), (-3, "0s"), (float("inf"), "86400s")],
)
def test_a_delay_is_never_written_too_short(seconds: float, written: str) -> None:
    error = json.loads(render(Refusal(503, "Later.", reason="X", retry_after=seconds), GENERATE))["error"]
    assert error["details"][1]["retryDelay"] == written


@given(st.floats(min_value=0, max_value=86_000))
def test_what_we_write_is_a_duration_of_protobufs(seconds: float) -> None:
    (error,) = json.loads(render(Refusal(429, "Later.", reason="X", retry_after=seconds), CHAT))
    written = error["error"]["details"][1]["retryDelay"]
    assert re.fullmatch(r"\d+(\.\d{1,3})?s", written)
    assert seconds <= float(written.removesuffix("s")) <= seconds + 0.0011
