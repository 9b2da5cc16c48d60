"""What would hide an answer's usage is named; everything that SDKs send passes."""

import pytest

from proxy import Headers, Operation
from proxy.gemini.paths import parse_operation
from proxy.gemini.visibility import hidden_usage

PATH = "/v1beta/models/gemini-2.5-flash:generateContent"
NONE = Headers([])


def hides(target: str, *, method: str = "POST", headers: Headers = NONE) -> str | None:
    return hidden_usage(parse_operation(method, target), method, target, headers)


@pytest.mark.parametrize(
    ("query", "what"),
    [
        ("fields=candidates", "the query parameter fields"),
        ("alt=sse&fields=candidates", "the query parameter fields"),
        ("$fields=candidates", "the query parameter $fields"),
        ("%24fields=candidates", "the query parameter $fields"),
        ("f%69elds=candidates", "the query parameter fields"),
        ("Fields=candidates", "the query parameter fields"),
        ("fields", "the query parameter fields"),
        ("$httpHeaders=X-Goog-FieldMask:candidates", "the query parameter $httpheaders"),
        ("%24httpMethod=PATCH", "the query parameter $httpmethod"),
        ("callback=f", "the query parameter callback"),
        ("$callback=f", "the query parameter $callback"),
        ("alt=proto", "the query parameter alt, whose value is neither json nor sse"),
        ("$alt=proto", "the query parameter $alt, whose value is neither json nor sse"),
        ("alt=media", "the query parameter alt, whose value is neither json nor sse"),
        ("alt=sse&alt=proto", "the query parameter alt, whose value is neither json nor sse"),
        ("alt=%70roto", "the query parameter alt, whose value is neither json nor sse"),
        ("alt=proto;enum-encoding=int", "the query parameter alt, whose value is neither json nor sse"),
    ],
)
def test_what_hides_usage_is_named(query: str, what: str) -> None:
    assert hides(f"{PATH}?{query}") == what


@pytest.mark.parametrize(
    "query",
    [
        *("", "alt=sse", "alt=json", "$alt=json;enum-encoding=int", "alt=json%3Benum-encoding=int", "alt=SSE"),
        *("key=fields", "prettyPrint=false", "quotaUser=fields", "$.xgafv=2", "updateMask=fields", "a=1&&b"),
    ],
)
def test_what_clients_send_passes(query: str) -> None:
    assert hides(f"{PATH}?{query}") is None
    assert hides(PATH) is None


def test_a_field_mask_in_the_headers_hides_too() -> None:
    mask = Headers([(b"x-goog-fieldmask", b"candidates")])
    assert hides(PATH, headers=mask) == "the header X-Goog-FieldMask"
    assert hides("/v1beta/files/f", method="GET", headers=mask) is None


def test_what_runs_no_model_may_ask_for_any_answer() -> None:
    assert hides("/v1beta/files/f:download?alt=media", method="GET") is None
    assert hides("/v1beta/files?fields=files(name)", method="GET") is None
    assert hides("/v1beta/sprockets?fields=a", method="GET") is None
    assert hides("/v1beta/sprockets?fields=a") == "the query parameter fields"
    assert hidden_usage(Operation("countTokens", model="m"), "POST", f"{PATH}?fields=a", NONE) is None


@pytest.mark.parametrize("path", ["batches/b", "interactions/i"])
def test_what_shows_the_usage_of_another_call_shows_it_whole(path: str) -> None:
    assert hides(f"/v1beta/{path}?fields=name", method="GET") == "the query parameter fields"
    assert hides(f"/v1beta/{path}", method="GET") is None
