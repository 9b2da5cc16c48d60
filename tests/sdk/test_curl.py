"""curl: the README's command as a person types it, and the three places where a key may stand."""

import base64
import json
import shlex
import struct

import pytest

from tests.sdk.client import Call, counts
from tests.sdk.conftest import Run
from tests.tools import require

TEXT = "gemini-2.5-flash"
IMAGE = "gemini-3-pro-image-preview"
BODY = json.dumps({"contents": [{"parts": [{"text": "Why do butterflies have scales?"}]}]})

# The only changes: the host, http, and the end of the pipe, which prints the image instead of keeping it.
BUTTERFLY = r"""
curl -s -X POST "$WEIR_URL/v1beta/models/gemini-3-pro-image-preview:generateContent" \
  -H "x-goog-api-key: $WEIR_KEY" -H "Content-Type: application/json" \
  -d '{"contents": [{"parts": [{"text": "Da Vinci style anatomical sketch of a dissected Monarch butterfly."}]}],
       "tools": [{"google_search": {}}],
       "generationConfig": {"responseModalities": ["TEXT", "IMAGE"], "imageConfig": {"aspectRatio": "1:1", "imageSize": "2K"}}}' \
  | jq -r '.candidates[0].content.parts[] | select(.inlineData) | .inlineData.data' | head -1 | base64 --decode | base64
"""  # noqa: E501

KEYS = {
    "header": '-H "x-goog-api-key: $WEIR_KEY" "$WEIR_URL{path}"',
    "bearer": '-H "Authorization: Bearer $WEIR_KEY" "$WEIR_URL{path}"',
    "query": '"$WEIR_URL{path}?key=$WEIR_KEY"',
}

pytestmark = pytest.mark.sdk


def test_the_butterfly(run: Run) -> None:
    done = run(_shell(BUTTERFLY), [Call("generateContent", IMAGE)])

    image = base64.b64decode(done.output)
    assert image.startswith(b"\x89PNG\r\n\x1a\n")
    assert struct.unpack(">II", image[16:24]) == (2048, 2048)
    [record] = done.records
    assert record.usage is not None
    assert record.usage.images == 1
    assert record.usage.output_by_modality["image"] == 1120
    assert record.usage.search_queries == 1
    assert record.response_bytes > len(image)


def test_a_stream_as_a_json_array(run: Run) -> None:
    path = f"/v1beta/models/{TEXT}:streamGenerateContent"
    done = run(_shell(f"{_post(path, 'header')} | jq 'del(.[].responseId)'"), [Call("streamGenerateContent", TEXT)])

    assert len(done.seen) == 4
    last = done.seen[-1]["usageMetadata"]
    [record] = done.records
    assert counts(record.usage) == {
        "input": last["promptTokenCount"],
        "output": last["candidatesTokenCount"],
        "thought": last["thoughtsTokenCount"],
        "total": last["totalTokenCount"],
    }


@pytest.mark.parametrize("place", KEYS)
def test_the_key_may_stand_in(run: Run, place: str) -> None:
    path = f"/v1beta/models/{TEXT}:generateContent"
    done = run(_shell(f"{_post(path, place)} | jq 'del(.responseId)'"), [Call("generateContent", TEXT)])

    assert done.seen["usageMetadata"]["totalTokenCount"] == 120
    [record] = done.records
    assert record.path == path
    assert counts(record.usage)["total"] == 120


def _post(path: str, place: str) -> str:
    return f"curl -sS -H 'Content-Type: application/json' -d {shlex.quote(BODY)} {KEYS[place].format(path=path)}"


def _shell(script: str) -> list[str]:
    for program in ("curl", "jq"):
        require(program, f"install {program}")
    return [str(require("bash", "install bash")), "-o", "pipefail", "-c", script]
