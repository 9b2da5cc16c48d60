"""The meter against a full parse: answers of every shape, made up, framed, packed and cut in every way.

The reference here is written for reading: it parses whole documents with `json` and knows none of the meter's code.
"""

import gzip
import json
from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy import Operation, UsageState
from proxy.gemini.meter import meter_for
from proxy.gemini.paths import parse_operation
from tests.gemini.test_meter import JSON, SSE, feed, head

GENERATE = parse_operation("POST", "/v1beta/models/m:generateContent")
STREAM = parse_operation("POST", "/v1beta/models/m:streamGenerateContent")
VERTEX = parse_operation("POST", "/v1/projects/p/locations/l/publishers/google/models/m:streamGenerateContent")
EMBED = parse_operation("POST", "/v1beta/models/m:embedContent")
PREDICT = parse_operation("POST", "/v1beta/models/imagen-4:predict")
CHAT = parse_operation("POST", "/v1beta/openai/chat/completions")
IMAGES = parse_operation("POST", "/v1beta/openai/images/generations")
INTERACT = parse_operation("POST", "/v1/interactions")
BATCH = "/v1beta/batches/b"
FILE = "/v1beta/files/f:download"

Plain = dict[str, Any]

# --- answers that might be ------------------------------------------------------------------------------------

FORGED = '{"usageMetadata": {"promptTokenCount": 777777}, "usage": {"total_tokens": 777777}}\n\ndata: {}\n'
texts = st.one_of(st.text(alphabet='a"\\{}[]:,\n€', max_size=20), st.sampled_from([FORGED, "x" * 500]))
blobs = st.sampled_from(["AAAA", "A" * 257, "/9j/" * 20_000])
counts = st.one_of(st.integers(0, 1 << 40), st.integers(0, 999).map(str), st.none())
modalities = st.sampled_from(["TEXT", "IMAGE", "AUDIO", "VIDEO", "DOCUMENT", "MODALITY_UNSPECIFIED", 0, 1, 2, 5])
details = st.lists(st.fixed_dictionaries({"modality": modalities, "tokenCount": st.integers(0, 99)}), max_size=3)
usages = st.fixed_dictionaries(
    {},
    optional={
        **{f"{name}TokenCount": counts for name in ("prompt", "candidates", "thoughts", "total", "toolUsePrompt")},
        "cachedContentTokenCount": counts,
        **dict.fromkeys(("promptTokensDetails", "cacheTokensDetails", "toolUsePromptTokensDetails"), details),
        "candidatesTokensDetails": details,
        "trafficType": st.sampled_from(["ON_DEMAND", "PROVISIONED_THROUGHPUT"]),
        "serviceTier": st.sampled_from(["standard", "flex"]),
    },
)
parts = st.one_of(
    st.fixed_dictionaries({"text": texts}, optional={"thoughtSignature": blobs}),
    st.fixed_dictionaries(
        {"inlineData": st.fixed_dictionaries({"mimeType": st.sampled_from(["image/png", "audio/wav"]), "data": blobs})},
        optional={"thought": st.booleans()},
    ),
    st.just({"fileData": {"mimeType": "IMAGE/jpeg", "fileUri": "gs://b/o"}}),
    st.fixed_dictionaries(
        {"functionCall": st.fixed_dictionaries({"args": st.dictionaries(st.just("usageMetadata"), usages)})}
    ),
)
candidates = st.fixed_dictionaries(
    {"content": st.fixed_dictionaries({}, optional={"parts": st.lists(parts, max_size=3)})},
    optional={
        "index": st.integers(0, 2),
        "finishReason": st.sampled_from(["STOP", "MAX_TOKENS", "IMAGE_SAFETY", 1, 3, "FINISH_REASON_UNSPECIFIED"]),
        "groundingMetadata": st.fixed_dictionaries(
            {}, optional={"webSearchQueries": st.lists(st.sampled_from(["a", "b", "c"]), max_size=3)}
        ),
    },
)
chunks = st.fixed_dictionaries(
    {},
    optional={
        "candidates": st.lists(candidates, max_size=2),
        "usageMetadata": usages,
        "modelVersion": st.just("m-001"),
        "responseId": st.just("r"),
        "promptFeedback": st.sampled_from([{}, {"blockReason": "SAFETY"}]),
    },
)
embeddings = st.fixed_dictionaries(
    {"embedding": st.just({"values": [0.5, -1.25e-3] * 700})},
    optional={
        "usageMetadata": st.fixed_dictionaries({"promptTokenCount": counts, "promptTokenDetails": details}),
    },
)
predictions = st.fixed_dictionaries(
    {
        "predictions": st.lists(
            st.one_of(
                st.fixed_dictionaries({"mimeType": st.just("image/png"), "bytesBase64Encoded": blobs}),
                st.just({"raiFilteredReason": "no"}),
                st.builds(lambda n: {"embeddings": {"statistics": {"token_count": n}}}, st.integers(0, 9)),
            ),
            max_size=3,
        )
    }
)
chats = st.fixed_dictionaries(
    {"choices": st.lists(st.fixed_dictionaries({"index": st.integers(0, 1), "message": texts}), max_size=2)},
    optional={
        "usage": st.fixed_dictionaries(
            {"prompt_tokens": st.integers(0, 99), "total_tokens": st.integers(0, 999)},
            optional={
                "completion_tokens": counts,
                "prompt_tokens_details": st.fixed_dictionaries({"cached_tokens": st.integers(0, 9)}),
            },
        ),
        "model": st.just("m"),
    },
)
pictures = st.fixed_dictionaries(
    {"data": st.lists(st.one_of(st.builds(lambda data: {"b64_json": data}, blobs), st.just({"url": "u"})), max_size=3)}
)
interactions = st.fixed_dictionaries(
    {"id": st.just("i"), "status": st.sampled_from(["completed", "in_progress", "failed"])},
    optional={
        "usage": st.fixed_dictionaries(
            {},
            optional={
                "total_input_tokens": counts,
                "total_output_tokens": counts,
                "total_thought_tokens": counts,
                "total_tokens": counts,
                "output_tokens_by_modality": st.lists(
                    st.fixed_dictionaries({"modality": modalities, "tokens": st.integers(0, 99)}), max_size=2
                ),
            },
        ),
        "steps": st.lists(
            st.fixed_dictionaries(
                {
                    "type": st.sampled_from(["user_input", "model_output"]),
                    "content": st.lists(
                        st.fixed_dictionaries({"type": st.sampled_from(["text", "image"]), "data": blobs}), max_size=2
                    ),
                }
            ),
            min_size=1,
            max_size=2,
        ),
    },
)

# --- a full parse, by the book --------------------------------------------------------------------------------

NATIVE = {
    "promptTokenCount": "input",
    "candidatesTokenCount": "output",
    "thoughtsTokenCount": "thoughts",
    "toolUsePromptTokenCount": "tools",
    "cachedContentTokenCount": "cached",
    "totalTokenCount": "total",
}
NATIVE_DETAILS = {
    "promptTokensDetails": "input by",
    "promptTokenDetails": "input by",
    "cacheTokensDetails": "cached by",
    "toolUsePromptTokensDetails": "tools by",
    "candidatesTokensDetails": "output by",
}
COMPATIBLE = {
    "prompt_tokens": "input",
    "completion_tokens": "output",
    "total_tokens": "total",
    "total_input_tokens": "input",
    "total_output_tokens": "output",
    "total_thought_tokens": "thoughts",
}
WORDS = {0: "text", 1: "text", 2: "image", 5: "document", "MODALITY_UNSPECIFIED": "text"}


def merged(usages: list[Any], fields: dict[str, str], breakdowns: dict[str, str], number: str) -> Plain:
    found: Plain = {}
    for usage in usages:
        for field, value in (usage or {}).items():
            if field in fields and value is not None:
                found[fields[field]] = int(value)
            if field in breakdowns and value:
                sums: Counter[str] = Counter()
                for item in value:
                    sums[WORDS.get(item["modality"], str(item["modality"]).lower())] += item[number]
                found[breakdowns[field]] = dict(sums)
    return found


def totalled(found: Plain) -> Plain:
    parts = ("input", "output", "thoughts", "tools")
    return {"total": sum(found.get(part, 0) for part in parts)} | found


def native(documents: list[Plain]) -> Plain | None:
    found = merged([each.get("usageMetadata") for each in documents], NATIVE, NATIVE_DETAILS, "tokenCount")
    images, queries, predicted = 0, set(), False
    for document in documents:
        for candidate in document.get("candidates", []):
            index = candidate.get("index", 0)
            for part in candidate["content"].get("parts", []):
                blob = part.get("inlineData") or part.get("fileData") or {"mimeType": ""}
                images += blob["mimeType"].lower().startswith("image/") and part.get("thought") is not True
            queries |= {(index, query) for query in candidate.get("groundingMetadata", {}).get("webSearchQueries", [])}
        for prediction in document.get("predictions", []):
            predicted = True
            images += "bytesBase64Encoded" in prediction
            if "embeddings" in prediction:
                found["input"] = found.get("input", 0) + prediction["embeddings"]["statistics"]["token_count"]
    if not predicted and not any(name in found for name in NATIVE.values()):
        return None
    return totalled(found) | {
        "images": images,
        "queries": len(queries),
        "reasons": tuple(reason for _, reason in sorted(reasons(documents).items())),
    }


def reasons(documents: list[Plain]) -> dict[int, str]:
    """Why each candidate ended, as far as it has."""
    found: dict[int, str] = {}
    for document in documents:
        for candidate in document.get("candidates", []):
            reason = {1: "STOP", 3: "SAFETY"}.get(candidate.get("finishReason"), candidate.get("finishReason"))
            if reason not in (None, "FINISH_REASON_UNSPECIFIED"):
                found[candidate.get("index", 0)] = reason
        if document.get("promptFeedback"):
            found.setdefault(0, "BLOCKED_SAFETY")
    return found


def chat(documents: list[Plain]) -> Plain | None:
    found = merged([each.get("usage") for each in documents], COMPATIBLE, {}, "")
    images = sum(len(each.get("data", [])) for each in documents)
    if not found and not images:
        return None
    cached = [each["usage"].get("prompt_tokens_details") for each in documents if each.get("usage")]
    for item in filter(None, cached):
        found["cached"] = item["cached_tokens"]
    if "total" in found:
        found["output"] = max(found["total"] - found["input"], found.get("output", 0))
    return totalled(found) | {"images": images}


def interaction(documents: list[Plain]) -> Plain | None:
    found = merged(
        [each.get("usage") for each in documents], COMPATIBLE, {"output_tokens_by_modality": "output by"}, "tokens"
    )
    counted = any(name in found for name in COMPATIBLE.values())
    if not counted or documents[-1]["status"] == "in_progress":
        return None
    images = 0
    for document in documents:
        if "steps" in document:
            shown = [item for step in document["steps"] if step["type"] == "model_output" for item in step["content"]]
            images = sum(item["type"] == "image" for item in shown)
    return totalled(found) | {"images": images}


def batch(responses: list[Plain]) -> Plain | None:
    total: Plain | None = None
    for found in filter(None, (native([response]) for response in responses)):
        total = total or {}
        for name, value in found.items():
            if isinstance(value, dict):
                total[name] = dict(Counter(total.get(name, {})) + Counter(value))
            elif isinstance(value, tuple):
                total[name] = tuple(dict.fromkeys((*total.get(name, ()), *value)))
            else:
                total[name] = total.get(name, 0) + value
    return total


# --- one against the other ------------------------------------------------------------------------------------

FIELDS = {
    "input_tokens": "input",
    "output_tokens": "output",
    "thought_tokens": "thoughts",
    "tool_tokens": "tools",
    "cached_tokens": "cached",
    "total_tokens": "total",
    "input_by_modality": "input by",
    "cached_by_modality": "cached by",
    "tool_by_modality": "tools by",
    "output_by_modality": "output by",
    "images": "images",
    "search_queries": "queries",
    "finish_reasons": "reasons",
}


def sums(value: Any) -> Any:
    """Zeros left out: a modality without tokens is none."""
    return {name: tokens for name, tokens in value.items() if tokens} if isinstance(value, dict) else value


def meters(
    operation: Operation, media_type: str, body: bytes, sizes: list[int], target: str
) -> tuple[Plain | None, UsageState]:
    results = []
    for coding in (None, "gzip"):
        packed = gzip.compress(body, 1) if coding else body
        answer = head(media_type, **({"content_encoding": coding} if coding else {}))
        # Byte by byte costs a microsecond each: for the small ones.
        for split in (None, sizes, [1] if len(packed) < 20_000 else [4093, 1]):
            meter = meter_for(operation, answer, target)
            feed(meter, packed, split)
            results.append(meter.finish(complete=True))
    assert all(result == results[0] for result in results)
    usage, state = results[0]
    assert (usage is None) is (state is UsageState.NONE)
    found = usage and {theirs: value for ours, theirs in FIELDS.items() if (value := sums(getattr(usage, ours)))}
    return found, state


def same(found: Plain | None, expected: Plain | None) -> None:
    assert found == (expected and {name: value for name, item in expected.items() if (value := sums(item))})


def lines(documents: list[Plain], end: str = "\r\n\r\n", name: str = "data: ") -> bytes:
    return "".join(f"{name}{json.dumps(each, ensure_ascii=False)}{end}" for each in documents).encode()


splits = st.lists(st.integers(1, 70_000), min_size=1, max_size=4)


@settings(max_examples=80, deadline=None)
@given(st.lists(chunks, min_size=1, max_size=4), st.sampled_from([STREAM, VERTEX]), st.booleans(), splits)
def test_native_streams(documents: list[Plain], operation: Operation, sse: bool, sizes: list[int]) -> None:
    body = lines(documents) if sse else json.dumps(documents, ensure_ascii=False, indent=2).encode()
    found, state = meters(operation, SSE if sse else JSON, body, sizes, "")
    same(found, native(documents))
    seen = {candidate.get("index", 0) for each in documents for candidate in each.get("candidates", [])}
    ended = reasons(documents).keys()
    assert (state is UsageState.FINAL) is (found is not None and bool(ended) and seen <= ended)


@settings(max_examples=60, deadline=None)
@given(st.one_of(chunks, embeddings, predictions), st.sampled_from([2, None]), splits)
def test_native_answers(document: Plain, indent: int | None, sizes: list[int]) -> None:
    operation = PREDICT if "predictions" in document else EMBED if "embedding" in document else GENERATE
    found, state = meters(operation, JSON, json.dumps(document, indent=indent).encode(), sizes, "")
    same(found, native([document]))
    assert state is (UsageState.NONE if found is None else UsageState.FINAL)


@settings(max_examples=60, deadline=None)
@given(st.one_of(st.lists(chats, min_size=1, max_size=3), st.lists(pictures, min_size=1, max_size=1)), splits)
def test_compatible_answers(documents: list[Plain], sizes: list[int]) -> None:
    operation = IMAGES if "data" in documents[0] else CHAT
    if len(documents) == 1:
        found, _ = meters(operation, JSON, json.dumps(documents[0]).encode(), sizes, "")
    else:
        found, _ = meters(operation, SSE, lines(documents, "\n\n") + b"data: [DONE]\n\n", sizes, "")
    same(found, chat(documents))


@settings(max_examples=60, deadline=None)
@given(st.lists(interactions, min_size=1, max_size=3), splits)
def test_interactions(documents: list[Plain], sizes: list[int]) -> None:
    if len(documents) == 1:
        found, _ = meters(INTERACT, JSON, json.dumps(documents[0]).encode(), sizes, "")
    else:
        body = lines([{"event_type": "x", "interaction": each} for each in documents], "\n\n")
        found, _ = meters(INTERACT, SSE, body, sizes, "")
    same(found, interaction(documents))


@settings(max_examples=60, deadline=None)
@given(st.lists(chunks, max_size=4), st.booleans(), splits)
def test_results_of_batches(responses: list[Plain], inlined: bool, sizes: list[int]) -> None:
    each = [{"response": response} for response in responses] + [{"error": {"code": 400}}]
    if inlined:
        document = {"done": True, "response": {"inlinedResponses": {"inlinedResponses": each}}}
        body, target, media_type = json.dumps(document, indent=2).encode(), BATCH, JSON
    else:
        body, target, media_type = lines(each, "\n", ""), FILE, "application/octet-stream"
    found, _ = meters(parse_operation("GET", target), media_type, body, sizes, target)
    same(found, batch(responses))
