"""google-genai for Python, each major version that is in use, sync and async.

The third is installed with aiohttp, which makes it the transport of its async half; the others' is httpx.
"""

import pytest

from tests.sdk.client import Call, counts
from tests.sdk.conftest import Run
from tests.tools import ROOT, python_with

TEXT = "gemini-2.5-flash"
IMAGE = "gemini-3-pro-image-preview"
EMBEDDING = "gemini-embedding-2"
PROMPT = "Why do butterflies have scales?"  # 31 bytes: 8 tokens to the simulator
NO_SUCH_MODEL = Call("generateContent", "no-such-model", 404)

pytestmark = pytest.mark.sdk


@pytest.mark.parametrize(("major", "version"), [("1", "1.75.0"), ("2", "2.34.0"), ("3", "3.4.0")])
def test_every_call_sync_and_async(run: Run, major: str, version: str) -> None:
    python, environment = python_with(f"google-genai-{major}")
    generate = Call("generateContent", TEXT)
    stream = Call("streamGenerateContent", TEXT)
    image = Call("generateContent", IMAGE)
    count = Call("countTokens", TEXT)
    embed = Call("batchEmbedContents", EMBEDDING)
    models, model = Call("models.list", None), Call("models.get", TEXT)

    done = run(
        [*python, str(ROOT / "tests/sdk/clients/google_genai.py")],
        [
            *(generate, stream, image, count, embed, models, model, NO_SUCH_MODEL),
            *(stream, models, generate, image, count, embed, model, NO_SUCH_MODEL),
        ],
        environment,
    )

    assert done.seen["version"] == version
    for way in ("sync", "async"):
        seen = done.seen[way]
        assert seen["generate"]["text"].startswith(f"The simulator was asked: “{PROMPT}”. the water goes over")
        assert seen["generate"]["model"] == TEXT
        assert seen["generate"]["usage"] == {"input": 8, "output": 48, "thought": 64, "total": 120}
        assert seen["stream"]["text"] == seen["generate"]["text"]
        assert seen["stream"]["chunks"] == 4
        assert seen["stream"]["usage"] == seen["generate"]["usage"]
        assert (seen["image"]["mime"], seen["image"]["size"]) == ("image/png", [1024, 1024])
        assert seen["image"]["usage"] == {"input": 8, "output": 48 + 1120, "thought": 174, "total": 1350}
        assert seen["count"] == 8
        assert len(seen["embed"]) > 0
        assert f"models/{TEXT}" in seen["models"]
        assert seen["model"] == f"models/{TEXT}"
        assert seen["error"]["type"] == "ClientError"
        assert (seen["error"]["code"], seen["error"]["status"]) == (404, "NOT_FOUND")

    for record in done.records:
        if record.operation in ("generateContent", "streamGenerateContent") and record.status == 200:
            name = "image" if record.model == IMAGE else "generate"
            assert counts(record.usage) == done.seen["sync"][name]["usage"]
            assert record.usage is not None
            assert record.usage.images == (1 if record.model == IMAGE else 0)
            assert record.usage_state == "final"
        if record.operation == "batchEmbedContents":
            assert counts(record.usage)["input"] == 8
    version_in_path = "v1" if major == "3" else "v1beta"
    assert all(record.path.startswith(f"/{version_in_path}/models") for record in done.records)


@pytest.mark.parametrize(
    ("packages", "version"),
    [("1-60", "1.60.0"), ("1", "1.75.0"), ("2-0", "2.0.1"), ("2", "2.34.0")],
)
def test_interactions(run: Run, packages: str, version: str) -> None:
    """All but the last send User-Agent twice there."""
    python, environment = python_with(f"google-genai-{packages}")
    create = Call("interactions.create", TEXT)
    program = ROOT / "tests/sdk/clients/google_genai_interactions.py"

    done = run([*python, str(program)], [create, create], environment)

    told = {"status": "completed", "model": TEXT, "tokens": 120}
    assert done.seen == {"version": version, "sync": told, "async": told}
    assert [counts(record.usage)["total"] for record in done.records] == [120, 120]
