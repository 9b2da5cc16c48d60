"""openai for Python and for node, on Gemini's OpenAI-compatible surface."""

import pytest

from tests.sdk.client import Call
from tests.sdk.conftest import Run
from tests.tools import ROOT, node, python_with

TEXT = "gemini-2.5-flash"
EMBEDDING = "gemini-embedding-2"

CALLS = [
    Call("chat.completions", TEXT),
    Call("chat.completions", TEXT),
    Call("embeddings", EMBEDDING),
    Call("models.list", None),
    Call("chat.completions", "no-such-model", 404),
]

pytestmark = pytest.mark.sdk


@pytest.mark.parametrize("language", ["python", "node"])
def test_every_call(run: Run, language: str) -> None:
    if language == "python":
        python, environment = python_with("openai")
        done = run([*python, str(ROOT / "tests/sdk/clients/openai_chat.py")], CALLS, environment)
    else:
        done = run(node("openai_chat.mjs"), CALLS)
    seen = done.seen

    assert "Why do butterflies have scales?" in seen["generate"]["text"]
    assert seen["generate"]["usage"]["input"] == 8
    assert seen["stream"]["text"] == seen["generate"]["text"]
    assert seen["stream"]["usage"] == seen["generate"]["usage"]
    assert len(seen["embed"]) > 0
    assert any(TEXT in model for model in seen["models"])
    assert (seen["error"]["type"], seen["error"]["code"]) == ("NotFoundError", 404)

    for record in done.records[:2]:
        assert record.usage is not None
        assert record.usage.input_tokens == seen["generate"]["usage"]["input"]
        assert record.usage.total_tokens == seen["generate"]["usage"]["total"]
