"""How large a prompt is, whatever its shape: the same as by the plainest of walks."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.gemini.prompt_size import prompt_size

NAMES = ["text", "parts", "role", "data", "mimeType", "mime_type", "fileUri", "uri", "type", "format", "image_url"]
NAMES += ["bytesBase64Encoded", "thoughtSignature", "previous_interaction_id"]
TEXTS = st.sampled_from(
    ["", "hello", "naïve", "image/png", "AUDIO/wav", "text/plain", "AAAA" * 300, "x…300", "AA…5000"]
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=25,
)


def said_bytes(text: str) -> int:
    left_out = text.rpartition("…")[2]
    length = int(left_out) if "…" in text else 0
    return length if length > 256 else len(text.encode())


def walked(value: Any) -> tuple[int, int, int]:
    """Text and media in bytes, and images."""
    if isinstance(value, str):
        return said_bytes(value), 0, 0
    if isinstance(value, list):
        return add(map(walked, value))
    if not isinstance(value, dict):
        return 0, 0, 0
    if value.keys() & {"image_url", "bytesBase64Encoded"}:
        return 0, 0, 1
    data, stored = value.get("data"), value.get("fileUri") or value.get("uri")
    mime = value.get("mimeType") or value.get("mime_type")
    kind = mime.lower().split("/")[0] if isinstance(mime, str) else value.get("type") or value.get("format")
    if isinstance(kind, str) and isinstance(data or stored, str) and value.keys() & {"data", "fileUri", "uri"}:
        if kind == "image":
            return 0, 0, 1
        size = said_bytes(data) * 3 // 4 if isinstance(data, str) else 1120 * 400
        return (size, 0, 0) if kind == "text" and isinstance(data, str) else (0, size, 0)
    opaque = {"thoughtSignature", "previous_interaction_id"}
    return add(walked(inner) for name, inner in value.items() if name not in opaque)


def add(sizes: Any) -> tuple[int, int, int]:
    text, media, images = 0, 0, 0
    for size in sizes:
        text, media, images = text + size[0], media + size[1], images + size[2]
    return text, media, images


@settings(max_examples=400, deadline=None)
@given(st.dictionaries(st.sampled_from(NAMES), values, max_size=5), st.integers(0, 3))
def test_a_prompt_is_as_large_as_its_parts(body: dict[str, Any], folds: int) -> None:
    text, media, images = walked(body)
    expected = text // 4 + media // 400 + 1120 * images, images
    assert prompt_size(body) == expected

    for _ in range(folds * 100):
        body = {"parts": [body]}
    assert prompt_size(body) == expected


def test_depth_is_the_sender_s_choice() -> None:
    deep: Any = "abcd" * 100
    for _ in range(400):
        deep = {"parts": [deep, {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}]}
    body = json.loads(json.dumps(deep))

    assert prompt_size(body) == (100 + 400 * 1120, 400)
    for _ in range(20_000):
        body = {"parts": [body]}
    assert prompt_size(body) == (100 + 400 * 1120, 400)
    while body.keys() == {"parts"} and len(body["parts"]) == 1:
        body = body["parts"][0]  # taken apart by hand: to free what is so deep takes Python's own stack
