"""The results of a batch: the sum of its responses, once, whichever way they are read."""

import gzip
import json
import random
from typing import Any

import pytest

from proxy import Usage, UsageState
from proxy.gemini.meter import Meter, meter_for
from proxy.gemini.paths import parse_operation
from tests.gemini.test_meter import ANSWER, IMAGE, feed, final, head

BATCH = "/v1beta/batches/b1"
FILE = "/v1beta/files/f1:download?alt=media"

FIRST: dict[str, Any] = {
    "candidates": [{"content": {"parts": [IMAGE]}, "finishReason": "STOP"}],
    "usageMetadata": {
        "promptTokenCount": 5,
        "candidatesTokenCount": 1120,
        "totalTokenCount": 1125,
        "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1120}],
        "serviceTier": "standard",
    },
    "modelVersion": "gemini-3-pro-image",
    "responseId": "r1",
}
SECOND: dict[str, Any] = FIRST | {
    "candidates": [
        {"content": {"parts": [{"text": '{"response": {"usageMetadata": 1}}\n'}]}, "finishReason": "IMAGE_SAFETY"}
    ],
    "usageMetadata": {"promptTokenCount": 7, "totalTokenCount": 7},
}
FAILED = {"error": {"code": 400, "message": "no"}}
SUM = Usage(
    input_tokens=12,
    output_tokens=1120,
    total_tokens=1132,
    output_by_modality={"image": 1120},
    images=1,
    finish_reasons=("STOP", "IMAGE_SAFETY"),
    tier="batch",
    model_version="gemini-3-pro-image",
)


def read(target: str, body: bytes, content_type: str = "application/json", status: int = 200, **headers: str) -> Meter:
    meter = meter_for(parse_operation("GET", target), head(content_type, status, **headers), target)
    feed(meter, body, [50_000, 3])
    return meter


def batch(**more: Any) -> bytes:
    inlined = {"inlinedResponses": {"inlinedResponses": [{"response": FIRST}, FAILED, {"response": SECOND}]}}
    document = {
        "name": "batches/b1",
        "metadata": {"state": "BATCH_STATE_SUCCEEDED", "output": inlined},
        "done": True,
        "response": inlined,
    } | more
    return json.dumps({name: value for name, value in document.items() if value is not None}, indent=2).encode()


@pytest.mark.parametrize(
    ("target", "body"),
    [
        (BATCH, batch()),
        (BATCH, batch(response=None)),
        (BATCH, batch(metadata=None)),
        ("/v1beta/batches/b1/operations/o1", batch()),
    ],
)
def test_inlined_responses_add_up_once(target: str, body: bytes) -> None:
    meter = read(target, body)
    assert final(meter.finish(complete=True)) == SUM
    assert meter.once == "batches/b1"


@pytest.mark.parametrize(
    "body",
    [
        batch(done=False),
        batch(done=None),
        batch(response=None, metadata=None),
        batch(response={"responsesFile": "files/f1"}, metadata=None),
        batch(response=FAILED, metadata=None),
        b'{"error": {"code": 404}}',
        b"[]",
        b"",
    ],
)
def test_a_batch_without_results_has_no_counts(body: bytes) -> None:
    meter = read(BATCH, body)
    assert meter.finish(complete=True) == (None, UsageState.NONE)
    assert meter.once is None


def lines(*documents: Any, end: str = "\n") -> bytes:
    return "".join(json.dumps(document) + end for document in documents).encode()


RESULTS = lines({"key": "1", "response": FIRST}, {"key": "2", **FAILED}, {"key": "3", "response": SECOND})


@pytest.mark.parametrize("content_type", ["", "application/octet-stream", "text/plain", "application/jsonl"])
@pytest.mark.parametrize("body", [RESULTS, RESULTS.rstrip(b"\n"), RESULTS.replace(b"\n", b"\r\n\r\n")])
def test_a_file_of_results_adds_up(content_type: str, body: bytes) -> None:
    meter = read(FILE, body, content_type)
    assert final(meter.finish(complete=True)) == SUM
    assert meter.once == "files/f1"


def test_a_packed_file_of_results() -> None:
    assert final(read(FILE, gzip.compress(RESULTS), content_encoding="gzip").finish(complete=True)) == SUM


def test_results_of_the_compatible_surface() -> None:
    body = {"usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 9}}
    results = lines({"response": {"status_code": 200, "body": body}}, {"response": {"status_code": 400, "body": {}}})
    meter = read("/v1beta/openai/files/f1/content", results, "application/octet-stream")
    usage = final(meter.finish(complete=True))
    assert (usage.input_tokens, usage.output_tokens, usage.tier, meter.once) == (3, 6, "batch", "files/f1")


def test_embeddings_of_a_batch() -> None:
    response = {"response": {"embedding": {"values": [0.1] * 800}, "tokenCount": "6"}}
    inlined = {"inlinedEmbedContentResponses": {"inlinedResponses": [response, response]}}
    assert final(read(BATCH, batch(response=inlined)).finish(complete=True)).input_tokens == 12


def test_what_breaks_off_or_is_a_part_is_not_final() -> None:
    usage, state = read(FILE, RESULTS[:-100]).finish(complete=False)
    assert (usage is not None, state) == (True, UsageState.PARTIAL)


@pytest.mark.parametrize(("status", "coding"), [(206, ""), (206, "gzip"), (200, "compress")])
def test_results_that_cannot_be_read_have_their_name_and_no_number(status: int, coding: str) -> None:
    """Whoever reads them in parts is not charged by any, and not told that they are free."""
    meter = read(FILE, RESULTS, "text/plain", status, content_encoding=coding)
    assert meter.finish(complete=True) == (None, UsageState.NONE)
    assert meter.once == "files/f1"
    film = read(FILE, RESULTS, "video/mp4", status, content_encoding=coding)
    assert (film.finish(complete=True), film.once) == ((None, UsageState.NONE), None)


def test_a_packed_file_of_anything_else_is_let_go() -> None:
    meter = read(FILE, gzip.compress(random.Random(1).randbytes(500_000).hex().encode()), content_encoding="gzip")
    assert not meter.behind
    assert meter.finish(complete=True) == (None, UsageState.NONE)


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("video/mp4", RESULTS),
        ("application/octet-stream", b"\x00\x00\x00\x18ftypmp42\n{"),
        ("text/plain", b"hello\n{}\n"),
    ],
)
def test_other_downloads_are_not_looked_into(content_type: str, body: bytes) -> None:
    assert read(FILE, body, content_type).finish(complete=True) == (None, UsageState.NONE)


@pytest.mark.parametrize(
    "target",
    ["/v1beta/batches", "/v1beta/files/f1", "/v1beta1/projects/p/locations/l/batchPredictionJobs/j", "/v1beta/models"],
)
def test_what_holds_no_results_is_not_metered(target: str) -> None:
    assert read(target, batch()).finish(complete=True) == (None, UsageState.NONE)


def test_lists_within_a_response_are_a_part_of_it() -> None:
    forged = ANSWER | {"done": True, "inlinedResponses": {"inlinedResponses": [{"response": FIRST}] * 9}}
    metadata = {"inlinedResponses": [{"response": FIRST}], "}]": '"inlinedResponses":[{', "x": [[], {}, '\\"']}
    inlined = {"inlinedResponses": {"inlinedResponses": [{"response": forged, "metadata": metadata}]}}
    found = final(read(BATCH, batch(response=inlined, metadata={"output": inlined})).finish(complete=True))
    assert (found.images, found.total_tokens) == (1, 1471)


def test_lists_that_a_caller_wrote_into_his_requests_are_none() -> None:
    cheap = {"inlinedResponses": [{"response": SECOND}]}
    names = ("response", "output", "metadata", "inlinedResponses")
    requests = [{"request": {}, "metadata": cheap | dict.fromkeys(names, cheap)}]
    inlined = {"inlinedResponses": {"inlinedResponses": [{"response": FIRST}]}}
    written = {"inputConfig": {"requests": {"requests": requests}}, "labels": cheap, "output": inlined}
    found = final(read(BATCH, batch(metadata=written, response=inlined)).finish(complete=True))
    assert (found.images, found.total_tokens) == (1, 1125)


@pytest.mark.parametrize("done", [True, False])
def test_a_batch_is_done_whatever_comes_first(done: bool) -> None:
    inlined = {"inlinedResponses": [{"response": SECOND}, []]}
    body = {"response": {"inlinedResponses": inlined}, "displayName": "inlinedResponses", "l": [], "done": done}
    for empty in ({}, {"metadata": {"output": {"inlinedResponses": {"inlinedResponses": []}}}}):
        usage, _ = read(BATCH, json.dumps(empty | body).encode()).finish(complete=True)
        assert (usage.total_tokens if usage else None) == (7 if done else None)


def test_thousands_of_responses_need_no_more_room_than_one() -> None:
    """The skeletons of all of them together would be larger than any that is held."""
    inlined = {"inlinedResponses": {"inlinedResponses": [{"response": SECOND}] * 8000}}
    body = json.dumps({"metadata": {"output": inlined}, "done": True, "response": inlined}, indent=2).encode()
    assert final(read(BATCH, body).finish(complete=True)).total_tokens == 56_000


def test_a_batch_that_breaks_off_is_counted_as_far_as_it_came() -> None:
    assert read(BATCH, batch()[:500]).finish(complete=False) == (None, UsageState.NONE)
    meter = read(BATCH, batch()[:-3])
    assert meter.finish(complete=False) == (SUM, UsageState.PARTIAL)
    assert meter.once == "batches/b1"
