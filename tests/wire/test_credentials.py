"""What goes upstream in the place of a caller's credential: keys by surface, and Google tokens that renew."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from proxy import Outcome
from proxy.endpoint import ApiKey, Endpoint, GoogleAccount
from proxy.operation import Operation
from proxy.simulator import Simulator
from proxy.units import Secret
from proxy.wire.credentials import CredentialFailed, Credentials
from tests.support import make_endpoint
from tests.support.gateway import gateway, routes
from tests.support.raw import answers, raw_upstream, request_bytes, send_bytes

GENERATE = Operation("generateContent", api="gemini")
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@cache
def private_key() -> str:
    key = rsa.generate_private_key(65537, 2048)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def account_file(folder: Path, token_uri: str) -> Path:
    """A service account's file, as the Cloud console gives it out."""
    file = folder / "account.json"
    file.write_text(
        json.dumps(
            {
                "type": "service_account",
                "project_id": "acme",
                "private_key_id": "1",
                "private_key": private_key(),
                "client_email": "weir@acme.iam.gserviceaccount.com",
                "client_id": "1",
                "token_uri": token_uri,
            }
        )
    )
    return file


def endpoint(source: Path) -> Endpoint:
    return make_endpoint(credential=GoogleAccount(str(source)))


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    running = Simulator()
    await running.start()
    yield running
    await running.stop()


# --- keys ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("api", "field"),
    [
        ("gemini", (b"x-goog-api-key", b"of-ours")),
        ("vertex", (b"x-goog-api-key", b"of-ours")),
        ("unknown", (b"x-goog-api-key", b"of-ours")),
        ("openai", (b"Authorization", b"Bearer of-ours")),
    ],
)
async def test_a_key_goes_where_the_surface_reads_it(api: str, field: tuple[bytes, bytes]) -> None:
    ours = make_endpoint(credential=ApiKey(Secret("of-ours", "env:X")))
    assert await Credentials().field_for(ours, Operation("x", api=api)) == field


async def test_an_endpoint_without_a_credential_gets_none() -> None:
    assert await Credentials().field_for(make_endpoint(), GENERATE) is None


@pytest.mark.parametrize("key", ["two\r\nX-Lines: 1", "nul\x00", "grün", "tab\t"])
async def test_a_key_that_would_end_its_line_is_never_sent(key: str) -> None:
    ours = make_endpoint(credential=ApiKey(Secret(key, "env:X")))
    with pytest.raises(CredentialFailed, match="the API key holds characters") as caught:
        await Credentials().field_for(ours, GENERATE)
    assert key not in str(caught.value)


# --- Google accounts ----------------------------------------------------------------------------------------


class TestGoogleAccount:
    @pytest.fixture(autouse=True)
    def _extra(self) -> None:
        pytest.importorskip("google.auth.transport.requests", reason="gemini-weir[google] is not installed")

    async def test_a_token_is_asked_for_once_by_however_many(self, simulator: Simulator, tmp_path: Path) -> None:
        ours = endpoint(account_file(tmp_path, f"{simulator.url}/token"))
        credentials = Credentials()
        fields = await asyncio.gather(*(credentials.field_for(ours, GENERATE) for _ in range(20)))
        fields.append(await credentials.field_for(ours, GENERATE))
        assert len(set(fields)) == 1
        name, value = fields[0] or (b"", b"")
        assert name == b"Authorization"
        assert value.startswith(b"Bearer ")
        assert len(simulator.ledger) == 1

    @pytest.mark.parametrize(("left", "waits"), [(timedelta(minutes=3), False), (timedelta(seconds=-1), True)])
    async def test_an_old_token_is_renewed(
        self, left: timedelta, waits: bool, simulator: Simulator, tmp_path: Path
    ) -> None:
        """Behind the requests while it is still good; before them once it is not."""
        ours = endpoint(account_file(tmp_path, f"{simulator.url}/token"))
        credentials = Credentials()
        first = await credentials.field_for(ours, GENERATE)
        (token,) = credentials._tokens.values()
        token._account.expiry = (datetime.now(UTC) + left).replace(tzinfo=None)  # google-auth's: naive
        assert (await credentials.field_for(ours, GENERATE) != first) is waits
        async with asyncio.timeout(60):
            assert token._refreshing is not None
            await token._refreshing
        assert await credentials.field_for(ours, GENERATE) != first
        assert len(simulator.ledger) == 2

    async def test_a_failure_names_the_source_and_quotes_nothing(self, tmp_path: Path) -> None:
        refusal = b'HTTP/1.1 400 Bad Request\r\nContent-Length: 27\r\n\r\n{"error": "planted-secret"}'
        async with raw_upstream(answers(refusal)) as google:
            file = account_file(tmp_path, f"{google.url}/token")
            with pytest.raises(CredentialFailed) as failed:
                await Credentials().field_for(endpoint(file), GENERATE)
        assert str(failed.value) == f"no token for {file}: RefreshError"

    @pytest.mark.parametrize("content", [None, "{", '{"type": "service_account"}'])
    async def test_a_file_that_cannot_be_used(self, content: str | None, tmp_path: Path) -> None:
        file = tmp_path / "account.json"
        if content is not None:
            file.write_text(content)
        with pytest.raises(CredentialFailed, match=f"no token for {file}: "):
            await Credentials().field_for(endpoint(file), GENERATE)

    async def test_a_failure_is_not_for_ever(self, simulator: Simulator, tmp_path: Path) -> None:
        ours = endpoint(tmp_path / "account.json")
        hasty, patient = Credentials(retry_seconds=0), Credentials(retry_seconds=60)
        for credentials in (hasty, patient):
            with pytest.raises(CredentialFailed):
                await credentials.field_for(ours, GENERATE)
        account_file(tmp_path, f"{simulator.url}/token")
        assert await hasty.field_for(ours, GENERATE) is not None
        with pytest.raises(CredentialFailed):
            await patient.field_for(ours, GENERATE)

    async def test_the_endpoint_gets_the_token_and_not_the_caller_s_key(
        self, simulator: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        account_file(tmp_path, f"{simulator.url}/token")
        async with raw_upstream(answers(OK)) as upstream:
            text = routes(upstream.url).replace('api_key = "env:WEIR_TEST_KEY_A"', 'google = "file:account.json"')
            async with gateway(tmp_path, text, monkeypatch) as weir:
                got = await send_bytes(weir.host, weir.port, request_bytes("x-goog-api-key: of-the-caller"))
        assert got.endswith(b"ok")
        ((head, _),) = upstream.requests
        assert b"\r\nAuthorization: Bearer " in head
        assert b"of-the-caller" not in head

    async def test_without_a_token_the_next_endpoint_is_tried(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with raw_upstream(answers(OK)) as upstream:
            text = routes("http://127.0.0.1:9", upstream.url).replace(
                'api_key = "env:WEIR_TEST_KEY_A"', 'google = "file:not-there.json"'
            )
            async with gateway(tmp_path, text, monkeypatch) as weir:
                got = await send_bytes(weir.host, weir.port, request_bytes("Content-Length: 1", body=b"x"))
        assert got.endswith(b"ok")
        (record,) = weir.records()
        assert record.outcome is Outcome.COMPLETED
        assert [(one.endpoint, one.error) for one in record.attempts] == [("a", "no_credential"), ("b", None)]
