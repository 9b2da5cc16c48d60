"""Files with the SDKs: uploaded in chunks, used, fetched and deleted; only the client's base URL is changed."""

import hashlib
from typing import Any

import pytest

from tests.sdk.client import Call, run_through
from tests.sdk.gateway import Gateway
from tests.tools import ROOT, node, python_with

SMALL = b"A weir lets the river through."
LARGE = bytes(range(256)) * (20 << 12)
MIB = 1 << 20
CALLS = [
    *[Call("files.upload", None)] * 2,  # start, and the only chunk
    *[Call("files.upload", None)] * 4,  # start, and three chunks
    Call("files.get", None),
    Call("generateContent", "gemini-2.5-flash"),
    Call("files.download", None),
    *[Call("files.delete", None)] * 2,
    Call("files.get", None, 403),
]

pytestmark = pytest.mark.sdk


@pytest.mark.parametrize(("major", "version"), [("1", "1.75.0"), ("2", "2.34.0"), ("3", "3.4.0")])
def test_python(gateway: Gateway, major: str, version: str) -> None:
    python, environment = python_with(f"google-genai-{major}")
    program = [*python, str(ROOT / "tests/sdk/clients/google_genai_files.py")]
    seen = uploaded(gateway, program, environment, [*CALLS, *[Call("files.upload", None)] * 2])
    assert seen["async"]["sha256"] == seen["small"]["sha256"]
    assert seen["version"] == version
    assert seen["error"] == {"type": "ClientError", "code": 403, "status": "PERMISSION_DENIED"}


def test_javascript(gateway: Gateway) -> None:
    seen = uploaded(gateway, node("google_genai_files.mjs"), {}, CALLS)
    assert seen["error"] == {"type": "ApiError", "code": 403, "status": "PERMISSION_DENIED"}


def uploaded(gateway: Gateway, command: list[str], environment: dict[str, str], calls: list[Call]) -> Any:
    """Run the program; what it saw and what was recorded of it agree."""
    done = run_through(gateway, command, calls, environment)
    seen = done.seen
    for name, content in (("small", SMALL), ("large", LARGE)):
        assert (seen[name]["size"], seen[name]["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
        assert seen[name]["uri"] == "https://generativelanguage.googleapis.com/v1beta/" + seen[name]["name"]
    assert seen["got"] == seen["large"]
    assert seen["answer"].startswith("The simulator was asked: “What is it?”.")
    assert seen["downloaded"] == SMALL.decode()

    _, small, _, *chunks = [record.request_bytes for record in done.records[:6]]
    assert (small, chunks) == (len(SMALL), [8 * MIB, 8 * MIB, 4 * MIB])
    assert {record.subject for record in done.records} == {f"key:{gateway.key_id}"}, "also of chunks without a key"
    return seen
