"""LangChain's ChatGoogleGenerativeAI."""

import pytest

from tests.sdk.client import Call, counts
from tests.sdk.conftest import Run
from tests.tools import ROOT, python_with

TEXT = "gemini-2.5-flash"

pytestmark = pytest.mark.sdk


def test_invoke_and_stream(run: Run) -> None:
    python, environment = python_with("langchain")
    done = run(
        [*python, str(ROOT / "tests/sdk/clients/langchain_chat.py")],
        [Call("generateContent", TEXT), Call("streamGenerateContent", TEXT)],
        environment,
    )
    seen = done.seen

    assert seen["generate"]["text"].startswith("The simulator was asked: “Why do butterflies have scales?”.")
    assert seen["stream"] == seen["generate"]
    for record in done.records:
        recorded = counts(record.usage)
        # LangChain counts thinking as output.
        assert seen["generate"]["usage"] == {
            "input": recorded["input"],
            "output": recorded["output"] + recorded["thought"],
            "total": recorded["total"],
        }
