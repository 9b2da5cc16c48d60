"""@google/genai for JavaScript."""

import pytest

from tests.sdk.client import Call, counts
from tests.sdk.conftest import Run
from tests.tools import node

TEXT = "gemini-2.5-flash"
IMAGE = "gemini-3-pro-image-preview"

pytestmark = pytest.mark.sdk


def test_every_call(run: Run) -> None:
    done = run(
        node("google_genai.mjs"),
        [
            Call("generateContent", TEXT),
            Call("streamGenerateContent", TEXT),
            Call("generateContent", IMAGE),
            Call("countTokens", TEXT),
            Call("models.list", None),
            Call("generateContent", "no-such-model", 404),
        ],
    )
    seen = done.seen

    assert seen["generate"]["text"].startswith("The simulator was asked: “Why do butterflies have scales?”.")
    assert seen["generate"]["usage"] == {"input": 8, "output": 48, "thought": 64, "total": 120}
    assert seen["stream"] == {"text": seen["generate"]["text"], "chunks": 4, "usage": seen["generate"]["usage"]}
    assert (seen["image"]["mime"], seen["image"]["size"]) == ("image/png", [1024, 1024])
    assert seen["count"] == 8
    assert f"models/{TEXT}" in seen["models"]
    assert seen["error"]["type"] == "ApiError"
    assert (seen["error"]["code"], seen["error"]["status"]) == (404, "NOT_FOUND")

    generate, stream, image, *_ = done.records
    assert counts(generate.usage) == counts(stream.usage) == seen["generate"]["usage"]
    assert counts(image.usage) == seen["image"]["usage"]
    assert image.usage is not None
    assert image.usage.images == 1
