"""Every spelling in which a request says what it wants."""

import contextlib
import json
from time import process_time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy import Intent, Operation, Usage
from proxy.gemini.intent import asked_usage, read_intent
from proxy.gemini.paths import parse_operation
from proxy.gemini.skeleton import REQUEST_BYTES, Skeleton

FLASH = "/v1beta/models/gemini-2.5-flash:generateContent"
IMAGE = "/v1beta/models/gemini-3-pro-image-preview:generateContent"
CHAT = "/v1beta/openai/chat/completions"
IMAGES = "/v1beta/openai/images/generations"
INTERACTIONS = "/v1/interactions"


def intent(target: str, body: Any) -> Intent:
    """Read from the body, and the same from its skeleton."""
    raw = json.dumps(body).encode()
    operation = parse_operation("POST", target)
    found = read_intent(operation, target, raw)
    scanner = Skeleton(REQUEST_BYTES)
    scanner.feed(raw)
    assert read_intent(operation, target, scanner.finish()) == found
    return found


def test_the_readme_request() -> None:
    found = intent(
        IMAGE,
        {
            "contents": [{"parts": [{"text": "Da Vinci style anatomical sketch of a dissected Monarch butterfly."}]}],
            "tools": [{"google_search": {}}],
            "generationConfig": {
                "responseModalities": ["TEXT", "IMAGE"],
                "imageConfig": {"aspectRatio": "1:1", "imageSize": "2K"},
            },
        },
    )
    assert found == Intent(
        model="gemini-3-pro-image-preview",
        input_tokens=20,
        wants_images=True,
        image_size="2K",
        image_count=1,
    )


def test_snake_case_says_the_same() -> None:
    camel = {
        "generationConfig": {
            "maxOutputTokens": 100,
            "candidateCount": 2,
            "thinkingConfig": {"thinkingBudget": 512},
            "imageConfig": {"imageSize": "4K"},
        },
        "serviceTier": "flex",
    }
    snake = {
        "generation_config": {
            "max_output_tokens": "100",
            "candidate_count": 2.0,
            "thinking_config": {"thinking_budget": 512},
            "image_config": {"image_size": "4k"},
        },
        "service_tier": "FLEX",
    }
    found = intent(IMAGE, camel)
    assert (found.max_output_tokens, found.candidate_count, found.thinking_budget) == (100, 2, 512)
    assert (found.image_size, found.image_count, found.service_tier) == ("4K", 2, "flex")
    assert intent(IMAGE, snake).image_size == "4K"
    for field in ("max_output_tokens", "candidate_count", "thinking_budget", "image_count", "service_tier"):
        assert getattr(intent(IMAGE, snake), field) == getattr(found, field)


@pytest.mark.parametrize(
    ("target", "body", "size"),
    [
        (IMAGE, {"generationConfig": {"responseFormat": {"image": {"imageSize": "1K"}}}}, "1K"),
        (IMAGE, {"generationConfig": {"responseFormat": [{"image": {"imageSize": "IMAGE_SIZE_FOUR_K"}}]}}, "4K"),
        (
            IMAGE,
            {"generation_config": {"response_format": [{"text": {}}, {"image": {"image_size": "TWO_K"}}]}},
            "2K",
        ),
        (IMAGE, {"generationConfig": {"imageConfig": {"imageSize": "512"}}}, "512"),
        (IMAGE, {"generationConfig": {"imageConfig": {"imageSize": "IMAGE_SIZE_FIVE_TWELVE"}}}, "512"),
        (IMAGE, {"generationConfig": {"imageConfig": {"imageSize": 512}}}, "512"),
        (IMAGE, {"generationConfig": {"imageConfig": {}}}, None),
        (INTERACTIONS, {"model": "m", "response_format": {"type": "image", "image_size": "4K"}}, "4K"),
        (INTERACTIONS, {"model": "m", "response_format": [{"type": "image", "image_size": "1K"}]}, "1K"),
        (IMAGES, {"model": "m", "prompt": "x", "size": "1024x1024"}, "1K"),
        (IMAGES, {"model": "m", "prompt": "x", "size": "1376x768"}, "1K"),
        (IMAGES, {"model": "m", "prompt": "x", "size": "2752x1536"}, "2K"),
        (IMAGES, {"model": "m", "prompt": "x", "size": "5504x3072"}, "4K"),
        (IMAGES, {"model": "m", "prompt": "x", "size": "512x512"}, "512"),
        (IMAGES, {"model": "m", "prompt": "x", "size": "auto"}, None),
    ],
)
def test_image_sizes(target: str, body: Any, size: str | None) -> None:
    found = intent(target, body)
    assert (found.image_size, found.wants_images, found.image_count) == (size, True, 1)


@pytest.mark.parametrize(
    ("target", "body", "wanted"),
    [
        (FLASH, {}, 0),
        (IMAGE, {}, 1),
        (IMAGE, {"generationConfig": {"responseModalities": ["TEXT"]}}, 0),
        (FLASH, {"generationConfig": {"responseModalities": ["Image"]}}, 1),
        (FLASH, {"generationConfig": {"imageConfig": {"aspectRatio": "1:1"}}}, 1),
        ("/v1beta/models/gemini-2.5-flash-image:countTokens", {}, 0),
        (IMAGES, {"model": "m", "n": 3}, 3),
        ("/v1beta/models/imagen-4:predict", {"instances": [{"prompt": "x"}]}, 4),
        ("/v1beta/models/imagen-4:predict", {"parameters": {"sampleCount": 2, "sampleImageSize": "2K"}}, 2),
        ("/v1beta/models/text-embedding:predict", {"instances": [{"content": "x"}]}, 0),
        (INTERACTIONS, {"model": "gemini-3-pro-image", "input": "x"}, 1),
        (INTERACTIONS, {"model": "m", "response_modalities": ["text"]}, 0),
    ],
)
def test_whether_images_are_wanted(target: str, body: Any, wanted: int) -> None:
    found = intent(target, body)
    assert (found.wants_images, found.image_count) == (wanted > 0, wanted)


@pytest.mark.parametrize(
    ("target", "body", "model", "stream"),
    [
        (CHAT, {"model": "gemini-2.5-flash", "stream": True}, "gemini-2.5-flash", True),
        (CHAT, {"model": "models/gemini-2.5-flash"}, "gemini-2.5-flash", False),
        (CHAT, {"model": "google/gemini-2.5-flash", "stream": "yes"}, "gemini-2.5-flash", False),
        (CHAT, {}, None, False),
        (INTERACTIONS, {"agent": "deep-research", "stream": True}, "deep-research", True),
        ("/v1beta/cachedContents", {"model": "models/gemini-2.5-pro"}, "gemini-2.5-pro", False),
        (
            "/v1/projects/p/locations/l/batchPredictionJobs",
            {"model": "publishers/google/models/gemini-2.5-pro"},
            "gemini-2.5-pro",
            False,
        ),
        (FLASH, {"model": "models/another"}, "gemini-2.5-flash", False),
        ("/v1beta/models/m:streamGenerateContent", {}, "m", True),
    ],
)
def test_models_and_streams(target: str, body: Any, model: str | None, stream: bool) -> None:
    found = intent(target, body)
    assert (found.model, found.stream) == (model, stream)


@pytest.mark.parametrize(
    "body",
    [
        b'{"model": "ok", "model": "secret"}',
        b'{"model": "ok", "\\u006dodel": "secret"}',
        b'{"model": "ok", "agent": "secret"}',
        b'{"agent": "ok", "agent": "secret"}',
        b'{"model": "ok", "model": {"name": "secret"}}',
    ],
)
@pytest.mark.parametrize("target", [INTERACTIONS, CHAT, "/v1beta/cachedContents"])
def test_a_body_that_names_two_models_is_refused(target: str, body: bytes) -> None:
    with pytest.raises(ValueError, match="names its model more than once"):
        read_intent(parse_operation("POST", target), target, body)


def test_a_model_named_twice_alike_is_one() -> None:
    found = read_intent(parse_operation("POST", CHAT), CHAT, b'{"model": "m", "x": {"model": "y"}, "model": "m"}')
    assert found.model == "m"


VEO = "/v1beta/models/veo-3.1-generate-preview:predictLongRunning"


@pytest.mark.parametrize(
    ("target", "body", "seconds", "resolution"),
    [
        (VEO, {"instances": [{"prompt": "x"}]}, 8, None),
        (VEO, {"parameters": {"durationSeconds": 4, "resolution": "1080p", "sampleCount": 2}}, 8, "1080p"),
        (VEO, {"parameters": {"duration_seconds": "6", "resolution": "4K", "number_of_videos": 3}}, 18, "4k"),
        (VEO, {"parameters": {"durationSeconds": True, "resolution": 7, "numberOfVideos": -1}}, 8, None),
        ("/v1beta/openai/videos", {"model": "veo-3", "seconds": "4", "size": "1280x720"}, 4, "720p"),
        ("/v1beta/openai/videos", {"model": "veo-3", "size": "1080x1920"}, 8, "1080p"),
        ("/v1beta/openai/videos", {"model": "veo-3", "size": "3840x2160"}, 8, "4k"),
        (VEO, {"instances": [{}, {}, {}], "parameters": {"durationSeconds": 4}}, 12, None),
        (FLASH, {"parameters": {"durationSeconds": 4}}, 0, None),
    ],
)
def test_videos(target: str, body: Any, seconds: int, resolution: str | None) -> None:
    found = intent(target, body)
    assert (found.video_seconds, found.video_resolution) == (seconds, resolution)
    assert asked_usage(found) == (Usage(video_seconds=seconds, video_resolution=resolution) if seconds else None)


BATCH = "/v1beta/models/gemini-3-pro-image:batchGenerateContent"


@pytest.mark.parametrize(
    "body",
    [
        b'{"instances":[' + b"{}," * 60_000 + b'{}],"parameters":{"durationSeconds":4}}',
        b'{"parameters":{"sampleCount":4,"resolution":"4k"},"instances":[{}],"parameters":{"durationSeconds":4}}',
        b'{"parameters":{"sampleCount":4},"parameters":{}}',
        b'{"parameters":{"sampleCount":4},"instances":[{}],"p\\u0061rameters":{}}',
    ],
)
def test_a_video_whose_body_says_it_unclearly_is_the_dearest(body: bytes) -> None:
    found = read_intent(parse_operation("POST", VEO), VEO, body)
    assert (found.model, found.video_seconds, found.video_resolution) == ("veo-3.1-generate-preview", 32, "4k")
    videos = "/v1beta/openai/videos"
    found = read_intent(parse_operation("POST", videos), videos, b'{"seconds":8,"model":"veo","seconds":4}')
    assert (found.model, found.video_seconds, found.video_resolution) == ("veo", 32, "4k")


def batch(*requests: Any) -> Any:
    return {"batch": {"inputConfig": {"requests": {"requests": [{"request": request} for request in requests]}}}}


def test_a_batch_asks_for_all_of_its_requests() -> None:
    small = {"generationConfig": {"maxOutputTokens": 10, "imageConfig": {"imageSize": "1K"}}}
    large = {"generation_config": {"maxOutputTokens": 20, "imageConfig": {"imageSize": "4K"}, "candidateCount": 2}}
    found = intent(BATCH, batch(small, large, small))
    assert (found.wants_images, found.image_count, found.image_size) == (True, 6, "4K")
    assert (found.max_output_tokens, found.candidate_count) == (20, 6)
    assert intent(BATCH, batch(small, {})).max_output_tokens is None


def test_a_batch_of_very_many_requests_is_counted_like_the_dearest() -> None:
    found = intent(BATCH, batch(*[{}] * 3000))
    assert (found.image_count, found.image_size, found.candidate_count) == (3000, "4K", 3000)


def test_a_batch_in_a_file_is_at_least_one_request() -> None:
    found = intent(BATCH, {"batch": {"inputConfig": {"fileName": "files/f"}}})
    assert (found.wants_images, found.image_count) == (True, 1)


@pytest.mark.parametrize(
    ("config", "wanted", "most"),
    [
        ({"responseModalities": ["TEXT"]}, {"responseModalities": ["IMAGE"]}, None),
        ({"responseModalities": ["IMAGE"]}, {"responseModalities": ["TEXT"]}, None),
        ({}, {"imageConfig": {"imageSize": "1K"}}, None),
        ({"maxOutputTokens": 1}, {"imageConfig": {}, "max_output_tokens": 9000}, 9000),
        ({"maxOutputTokens": 9000, "max_output_tokens": 1}, {"imageConfig": {}}, 9000),
    ],
)
def test_what_is_said_in_both_spellings_counts_by_the_dearer(config: Any, wanted: Any, most: int | None) -> None:
    for body in (
        {"generationConfig": config, "generation_config": wanted},
        {"generationConfig": wanted, "generation_config": config},
    ):
        found = intent(FLASH, body)
        assert (found.wants_images, found.image_count, found.max_output_tokens) == (True, 1, most)


@pytest.mark.parametrize(
    ("target", "body", "most"),
    [
        (FLASH, {"max_tokens": 1, "maxOutputTokens": 1}, None),
        (FLASH, {"generationConfig": {"maxOutputTokens": 0}}, None),
        (CHAT, {"model": "m", "generationConfig": {"maxOutputTokens": 1}, "max_tokens": 0}, None),
        (CHAT, {"model": "m", "max_completion_tokens": 8, "max_tokens": 70}, 70),
        (CHAT, {"model": "m", "max_output_tokens": 1}, None),
        ("/v1beta/openai/responses", {"model": "m", "max_output_tokens": 1}, 1),
        (INTERACTIONS, {"model": "m", "generation_config": {"max_output_tokens": 6}, "max_tokens": 1}, 6),
        ("/v1/publishers/anthropic/models/claude:rawPredict", {"max_tokens": 5}, 5),
        ("/v1beta/models/text-bison:generateText", {"maxOutputTokens": 4}, 4),
        ("/v1beta/models/m:verbOfTomorrow", {"max_tokens": 5, "generationConfig": {"maxOutputTokens": 7}}, 7),
    ],
)
def test_a_bound_counts_where_the_surface_reads_it(target: str, body: Any, most: int | None) -> None:
    assert intent(target, body).max_output_tokens == most


def test_openai_bounds() -> None:
    assert intent(CHAT, {"model": "m", "max_tokens": 7}).max_output_tokens == 7
    extra = {"google": {"thinking_config": {"thinking_budget": 99}}}
    assert intent(CHAT, {"model": "m", "n": 2, "extra_body": extra}).thinking_budget == 99
    assert intent(CHAT, {"model": "m", "n": 2}).candidate_count == 2


@pytest.mark.parametrize("value", [-1, True, "many", 1.5, None, [], {}, 1 << 40, "9" * 5000])
def test_counts_that_are_none_stay_unsaid(value: Any) -> None:
    config = {"maxOutputTokens": value, "candidateCount": value, "thinkingConfig": {"thinkingBudget": value}}
    found = intent(FLASH, {"generationConfig": config})
    assert (found.max_output_tokens, found.candidate_count, found.thinking_budget) == (None, 1, None)


BLOB = "A" * 400_000


@pytest.mark.parametrize(
    ("part", "tokens", "images"),
    [
        ({"text": "a" * 4000}, 1000, 0),
        ({"text": "ab\n" * 2000}, 2000, 0),  # as written: an escape is two bytes
        ({"inlineData": {"mimeType": "image/png", "data": BLOB}}, 1120, 1),
        ({"inline_data": {"mime_type": "image/png", "data": BLOB}}, 1120, 1),
        ({"fileData": {"mimeType": "image/png", "fileUri": "https://x/files/f"}}, 1120, 1),
        ({"inlineData": {"mimeType": "audio/wav", "data": BLOB}}, 750, 0),
        ({"inlineData": {"mimeType": "application/pdf", "data": BLOB}}, 750, 0),
        ({"inlineData": {"mimeType": "text/plain", "data": BLOB}}, 75_000, 0),
        ({"fileData": {"mimeType": "video/mp4", "fileUri": "https://x/files/f"}}, 1120, 0),
        ({"type": "image_url", "image_url": {"url": "data:image/png;base64," + BLOB}}, 1120, 1),
        ({"type": "input_audio", "input_audio": {"data": BLOB, "format": "wav"}}, 752, 0),
        ({"type": "image", "data": BLOB, "mime_type": "image/png"}, 1120, 1),
        ({"type": "image", "uri": "https://x/y.png"}, 1120, 1),
        ({"thoughtSignature": BLOB, "text": "abcd"}, 1, 0),
    ],
)
def test_the_estimate(part: Any, tokens: int, images: int) -> None:
    raw = json.dumps({"contents": [{"parts": [part]}]}).encode()
    scanner = Skeleton(REQUEST_BYTES)
    scanner.feed(raw)
    found = read_intent(parse_operation("POST", FLASH), FLASH, scanner.finish())
    assert (found.input_tokens, found.input_images) == (tokens, images)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "Invalid JSON payload received. Input data was truncated."),
        (b'{"contents": [', "Invalid JSON payload received. Input data was truncated."),
        (b"{'contents': []}", "Invalid JSON payload received. Object keys must be strings."),
        (b"[]", 'Invalid JSON payload received. Unknown name "": Root element must be a message.'),
        (b"null", 'Invalid JSON payload received. Unknown name "": Root element must be a message.'),
        (b"[" * 50_000, "Invalid JSON payload received. Message too deep."),
    ],
)
@pytest.mark.parametrize("target", [FLASH, CHAT, INTERACTIONS, "/v1beta/cachedContents"])
def test_what_is_no_json_object_is_refused_in_googles_words(target: str, body: bytes, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        read_intent(parse_operation("POST", target), target, body)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "target",
    [
        "/upload/v1beta/files",
        "/v1beta/files/f",
        "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent",
        "/v1beta/models/m:rawPredict",
        "/v1beta/models/m:verbOfTomorrow",
        "/v1beta/openai/images/edits",
        "/anything",
    ],
)
def test_other_operations_take_any_body(target: str) -> None:
    operation = parse_operation("POST", target)
    assert read_intent(operation, target, b"\xff\x00--boundary").model == operation.model


def test_a_body_too_large_to_read_keeps_what_the_path_says() -> None:
    operation = parse_operation("POST", FLASH)
    found = read_intent(operation, FLASH, b'{"contents": [', truncated_from=4_000_000)
    assert found == Intent(model="gemini-2.5-flash", input_tokens=1_000_000)
    with pytest.raises(ValueError, match="too many parts"):
        read_intent(parse_operation("POST", CHAT), CHAT, b"{", truncated_from=4_000_000)


@pytest.mark.parametrize(
    ("target", "body"),
    [
        (IMAGE, b'{"contents": ['),
        (IMAGE, b'{"contents": [' + b"{}," * 50_000 + b"{}]}"),
        ("/v1beta/models/gemini-2.5-flash-image:verbOfTomorrow", b"--boundary"),
    ],
)
def test_whether_images_are_wanted_is_the_models_name_s_to_say_where_the_body_is_not_read(
    target: str, body: bytes
) -> None:
    size = 4_000_000 if body.endswith(b"[") else None
    found = read_intent(parse_operation("POST", target), target, body, truncated_from=size)
    assert (found.wants_images, found.image_count) == (True, 1)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"[" * 100_000, "too deep"),
        (b'{"a": [' + b"1.5,{}," * 50_000, "truncated"),
        (b"[1" + b",{}" * 90_000 + b"]", "Root"),
    ],
)
def test_a_body_of_very_many_parts_must_be_json_still(body: bytes, message: str) -> None:
    for target in (FLASH, CHAT):
        with pytest.raises(ValueError, match=message):
            read_intent(parse_operation("POST", target), target, body)


# Each was up to 0.8 s of the loop's time, or minutes, for 4 MiB.
HOSTILE = [
    *(b"{},", b"[],", b'"",', b"true,", b"1,{},", b"1,true,", b"null,", b'"a",1,'),
    b'{"data":"","mimeType":"a/"},',
    '"…{}",'.format("9" * 15).encode(),
    b'{"request":{"generationConfig":{"maxOutputTokens":1}}},',
    b'{"role":"user","parts":[{"text":"Hello there, how are you, my friend, today?"}]},',
]
PREFIXES = [b'{"contents":[', b'{"batch":{"inputConfig":{"requests":{"requests":[', b'{"generationConfig":[']


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("piece", HOSTILE)
@pytest.mark.parametrize("size", [150_000, REQUEST_BYTES - 200])
@pytest.mark.parametrize("target", [BATCH, CHAT])
def test_no_body_takes_the_loop_for_long(target: str, piece: bytes, prefix: bytes, size: int) -> None:
    """50 ms on an idle machine; four times that here, where others run too."""
    closing = bytes(prefix).translate(bytes.maketrans(b"[{", b"]}"), bytes(set(range(256)) - set(b"[{")))[::-1]
    raw = prefix + piece * (size // len(piece)) + b"0" + closing
    json.loads(raw)
    operation = parse_operation("POST", target)
    began = process_time()
    with contextlib.suppress(ValueError):  # too many parts
        read_intent(operation, target, raw)
    assert process_time() - began < 0.2


keys = st.sampled_from(
    ["generationConfig", "responseFormat", "imageConfig", "imageSize", "model", "contents", "size", "extra_body"]
)
odd = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(keys, inner, max_size=4)),
    max_leaves=12,
)


@given(st.dictionaries(keys, odd), st.sampled_from([FLASH, IMAGE, CHAT, IMAGES, INTERACTIONS]))
def test_odd_objects_do_not_break_it(body: dict[str, Any], target: str) -> None:
    assert intent(target, body).input_tokens >= 0


@given(st.binary(max_size=100))
def test_any_bytes_are_an_intent_or_a_value_error(body: bytes) -> None:
    operation = Operation("generateContent", api="gemini", model="m", generates=True)
    with contextlib.suppress(ValueError):
        assert read_intent(operation, FLASH, b"{" + body).model == "m"


ASKING = st.dictionaries(
    st.sampled_from(["generationConfig", "responseFormat", "parameters", "n", "size", "serviceTier", "seconds"]),
    st.recursive(
        st.sampled_from([None, 0, 3, "2", "1K", "4K", "IMAGE", "flex", "1024x1024", "1080p"]),
        lambda inner: (
            st.lists(inner, max_size=2)
            | st.dictionaries(
                st.sampled_from(
                    ["maxOutputTokens", "candidateCount", "imageConfig", "imageSize", "responseModalities", "type"]
                ),
                inner,
                max_size=3,
            )
        ),
        max_leaves=6,
    ),
    max_size=4,
)


@given(ASKING, st.sampled_from([FLASH, IMAGE, "/v1beta/models/imagen-4:predict", "/v1beta/models/e:embedContent"]))
def test_a_call_that_says_nothing_asks_for_what_its_name_says(body: dict[str, Any], target: str) -> None:
    """What is remembered of silent calls is never changed by one that speaks."""
    before = intent(target, {"contents": []})
    found = intent(target, body)
    again = intent(target, {"contents": [], "generationConfig": {"maxOutputTokens": None, "temperature": 1}})

    assert again == before
    if "embed" in target:
        assert not found.wants_images
    if "imagen" in target:
        assert (found.wants_images, before.image_count) == (True, 4)
    if IMAGE in target:
        assert (before.wants_images, before.image_count) == (True, 1)
