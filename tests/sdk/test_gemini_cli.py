"""gemini-cli, headless: one prompt, with a home and a workspace of its own."""

import shlex
from pathlib import Path

import pytest

from tests.sdk.client import Call, counts
from tests.sdk.conftest import Run
from tests.tools import node

TEXT = "gemini-2.5-flash"
# Without a stored auth type the CLI aborts when a base URL is set (Gemini fact 2.1).
SETTINGS = '{"security": {"auth": {"selectedType": "gemini-api-key"}}, "privacy": {"usageStatisticsEnabled": false}}'

pytestmark = pytest.mark.sdk


def test_a_prompt(run: Run, tmp_path: Path) -> None:
    program = shlex.join(node("node_modules/@google/gemini-cli/bundle/gemini.js"))
    # Both ways run at once, each in a folder of its own; the names have one length, and so the prompts one size.
    script = f"""
        export HOME=$(mktemp -d {shlex.quote(str(tmp_path))}/XXXXXXXX) && cd "$HOME"
        mkdir .gemini workspace && echo {shlex.quote(SETTINGS)} > .gemini/settings.json && cd workspace
        export GOOGLE_GEMINI_BASE_URL="$WEIR_URL" GEMINI_API_KEY="$WEIR_KEY" GEMINI_CLI_TRUST_WORKSPACE=true
        {program} --model {TEXT} --prompt 'Why do butterflies have scales?' --output-format json |
            jq '{{response, tokens: .stats.models["{TEXT}"].tokens}}'
    """
    done = run(["bash", "-e", "-o", "pipefail", "-c", script], [Call("streamGenerateContent", TEXT)], same_bodies=False)

    assert done.seen["response"].startswith("The simulator was asked: ")
    tokens = done.seen["tokens"]
    [record] = done.records
    assert counts(record.usage) == {
        "input": tokens["prompt"],
        "output": tokens["candidates"],
        "thought": tokens["thoughts"],
        "total": tokens["total"],
    }
