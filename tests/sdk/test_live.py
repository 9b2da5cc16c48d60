"""Live sessions of the real SDKs: turns, a function call, a warning, a resumption; the same without the gateway."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from proxy.record import UsageRecord
from proxy.usage import UsageState
from tests.sdk.client import Call
from tests.sdk.conftest import Run
from tests.sdk.gateway import Gateway
from tests.sdk.tls_hop import make_certificate, tls_in_front_of
from tests.tools import ROOT, node, python_with

MODEL = "gemini-3.8-live"

pytestmark = pytest.mark.sdk


@pytest.fixture
def over_tls(simulator: str, gateway: Gateway, tmp_path: Path) -> Iterator[tuple[dict[str, str], Path]]:
    """Each URL's https one, and the certificate to trust."""
    certificate = make_certificate(tmp_path)
    with ExitStack() as hops:
        yield (
            {url: hops.enter_context(tls_in_front_of(url, certificate)) for url in (simulator, gateway.url)},
            certificate,
        )


def check(turns: list[Any], record: UsageRecord) -> None:
    asked = ("Why do butterflies have scales?", "And why do fish?", '{"found":"Wünsche"}')
    for turn, prompt in zip(turns, asked, strict=True):
        assert turn["text"].startswith(f"The simulator was asked: “{prompt}”.")
        assert turn["usage"]["total"] == turn["usage"]["input"] + turn["usage"]["output"]
    assert [turn["events"] for turn in turns] == [
        [["resumption", "of a session before+/=1"]],
        [],
        [["go away", "50s"], ["call", "look_up", {"q": "ö"}]],
    ]
    first, second, third = (turn["usage"] for turn in turns)
    assert third["input"] > second["input"] > first["total"] > 0
    assert record.usage is not None
    assert record.usage.input_tokens == first["input"] + second["input"] + third["input"]
    assert record.usage.output_tokens == first["output"] + second["output"] + third["output"]
    assert record.usage.total_tokens == first["total"] + second["total"] + third["total"]
    assert record.usage_state is UsageState.FINAL
    assert record.path.lstrip("/").startswith("ws/google.ai.generativelanguage.v1")
    assert record.request_bytes > 0
    assert record.response_bytes > 0


@pytest.mark.parametrize(("major", "version"), [("1", "1.75.0"), ("2", "2.34.0"), ("3", "3.4.0")])
def test_google_genai_for_python(run: Run, over_tls: tuple[dict[str, str], Path], major: str, version: str) -> None:
    """It speaks TLS only, whatever the base URL says (Gemini fact 1.4)."""
    python, environment = python_with(f"google-genai-{major}")
    secure, certificate = over_tls
    done = run(
        [*python, str(ROOT / "tests/sdk/clients/live.py")],
        [Call("live", MODEL, 101)],
        {**environment, "SSL_CERT_FILE": str(certificate)},
        told=secure.__getitem__,
    )
    assert done.seen["version"] == version
    check(done.seen["turns"], done.records[0])


def test_google_genai_for_javascript(run: Run) -> None:
    done = run(node("live.mjs"), [Call("live", MODEL, 101)])
    assert done.seen["closed"] in (1000, 1005)
    check(done.seen["turns"], done.records[0])
