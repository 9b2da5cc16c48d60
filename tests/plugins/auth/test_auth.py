"""The plugin as a whole: who passes, who does not, and in which words."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from plugins.auth.keys import Key, edit, mint
from proxy import Continuation, Exchange, Operation, Outcome, Principal, Refusal, Team
from proxy.engine.chain import wrap_exchange
from tests.plugins.auth.provider import TEAMS, Gateway, issuer
from tests.support import make_exchange

NOW = datetime.fromtimestamp(1_750_000_000, UTC)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.toml"


async def made(path: Path, team: str = "studio", **fields: Any) -> tuple[str, Key]:
    """A key, in the file; `revoked` too may be given."""
    revoked = fields.pop("revoked", None)
    secret, key = mint(team, created=NOW - timedelta(days=1), **fields)
    key = Key(**{name: getattr(key, name) for name in key.__struct_fields__} | {"revoked": revoked})
    await asyncio.to_thread(edit, path, lambda known: [*known, key])
    return secret, key


async def test_a_team_key(path: Path) -> None:
    secret, key = await made(path, expires=NOW + timedelta(hours=1))
    async with Gateway(keys=path) as gateway:
        for request in (
            {"headers": {"x-goog-api-key": secret}},
            {"headers": {"authorization": f"Bearer {secret}"}},
            {"target": f"/v1beta/models/gemini-2.5-flash:generateContent?key={secret}"},
        ):
            exchange, refusal = await gateway.call(**request)  # type: ignore[arg-type]
            assert refusal is None
            assert exchange.principal == Principal(f"key:{key.id}", "studio", key.id)
        await gateway.clock.advance(3600)
        exchange, refusal = await gateway.call(secret)
        assert refusal is not None
        assert exchange.principal is None


async def test_no_credential(path: Path) -> None:
    async with Gateway(keys=path) as gateway:
        with capture_logs() as logs:
            exchange, refusal = await gateway.call()
    assert refusal is not None
    assert refusal.code == 403
    assert refusal.message == (
        "Method doesn't allow unregistered callers (callers without established identity). "
        "Please use API Key or other form of API consumer identity to call this API."
    )
    assert (exchange.outcome, exchange.status, exchange.reason) == (Outcome.REFUSED, 403, "CREDENTIALS_MISSING")
    assert [log["reason"] for log in logs if log["event"] == "auth_refused"] == ["no_credential"]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"expires": NOW}, "expired_key"),
        ({"revoked": NOW - timedelta(hours=1)}, "revoked_key"),
        ({"revoked": NOW + timedelta(hours=1)}, "revoked_key"),
        (None, "unknown_key"),
    ],
)
async def test_a_bad_key_is_googles_400(path: Path, fields: dict[str, Any] | None, reason: str) -> None:
    made_keys = await made(path, **fields) if fields is not None else None
    secret, key = made_keys or mint("studio", created=NOW)
    async with Gateway(keys=path) as gateway:
        with capture_logs() as logs:
            _, refusal = await gateway.call(headers={"x-goog-api-key": secret})
    assert refusal is not None
    assert (refusal.code, refusal.reason) == (400, "API_KEY_INVALID")
    assert refusal.message == "API key not valid. Please pass a valid API key."
    assert refusal.details[0]["@type"] == "type.googleapis.com/google.rpc.LocalizedMessage"
    (log,) = [log for log in logs if log["event"] == "auth_refused"]
    assert log["reason"] == reason
    assert log.get("key_id") == (key.id if fields is not None else None)
    assert secret not in repr(logs)
    assert secret not in repr(refusal.details) + refusal.message


async def test_a_key_where_there_are_only_issuers() -> None:
    async with Gateway() as gateway:
        _, refusal = await gateway.call("weir_00000000_abc")
    assert refusal is not None
    assert refusal.code == 400


async def test_a_token_where_there_are_only_keys(path: Path) -> None:
    async with Gateway(keys=path) as gateway:
        _, refusal = await gateway.call(gateway.token())
    assert refusal is not None
    assert refusal.code == 401


async def test_two_credentials(path: Path) -> None:
    secret, _ = await made(path)
    async with Gateway(issuer(), keys=path) as gateway:
        _, refusal = await gateway.call(secret, headers={"x-goog-api-key": secret})
        assert refusal is None
        _, refusal = await gateway.call(gateway.token(), headers={"x-goog-api-key": secret})
        assert refusal is not None
        assert (refusal.code, refusal.reason) == (400, "CREDENTIALS_AMBIGUOUS")
        assert secret not in refusal.message


async def test_another_scheme(path: Path) -> None:
    secret, _ = await made(path)
    async with Gateway(keys=path) as gateway:
        headers = {"authorization": "Basic a2V5", "x-goog-api-key": secret}
        exchange, refusal = await gateway.call(headers=headers)
    assert refusal is not None
    assert refusal.code == 401
    assert ("WWW-Authenticate", "Bearer") in exchange.reply_headers


async def test_a_token_of_no_team() -> None:
    async with Gateway() as gateway:
        with capture_logs() as logs:
            exchange, refusal = await gateway.call(gateway.token(groups=["staff"]))
        assert refusal is not None
        assert (refusal.code, refusal.reason) == (403, "TEAM_UNKNOWN")
        assert exchange.principal is None
        assert "groups has no value that maps" in logs[0]["why"]
        assert "staff" not in repr(logs)
        _, refusal = await gateway.call(gateway.token(email_verified=False))
        assert refusal is not None
        assert refusal.code == 403


async def test_a_team_that_is_not_there_any_more(path: Path) -> None:
    secret, key = await made(path)
    async with Gateway(issuer(), keys=path) as gateway:
        assert (await gateway.call(secret))[1] is None
        assert (await gateway.call(gateway.token()))[1] is None
        gateway.services.teams.replace({"acme": TEAMS["acme"]})  # a reload without it
        for credential in (secret, gateway.token()):
            with capture_logs() as logs:
                exchange, refusal = await gateway.call(credential)
            assert refusal is not None
            assert (refusal.code, refusal.reason) == (403, "TEAM_UNKNOWN")
            assert exchange.principal is not None  # the record of the refusal says who
            assert exchange.principal.team == "studio"
            assert [log["why"] for log in logs] == ["team studio is not in the routes file"]
    assert key.team == "studio"


ADA = Principal("ada@example.com", "studio")


async def continued(gateway: Gateway, continuation: Continuation | Refusal) -> tuple[Exchange, Refusal | None]:
    """A later piece of an upload: without a credential."""
    exchange = make_exchange(operation=Operation("files.upload", account_bound=True), clock=gateway.clock)
    exchange.continuation = continuation

    async def next_step(exchange: Exchange) -> None:
        assert exchange.principal is not None

    try:
        await wrap_exchange([gateway.auth], next_step)(exchange)
    except Refusal as refusal:
        return exchange, refusal
    return exchange, None


async def test_an_upload_goes_on_as_who_began_it() -> None:
    async with Gateway() as gateway:
        exchange, refusal = await continued(gateway, Continuation("a", ADA, gateway.clock.now + 1))
        assert (exchange.principal, refusal) == (ADA, None)
        gateway.services.teams.replace({"acme": TEAMS["acme"]})  # a reload without the team
        _, refusal = await continued(gateway, Continuation("a", ADA, gateway.clock.now + 1))
        assert refusal is not None
        assert (refusal.code, refusal.reason) == (403, "TEAM_UNKNOWN")


async def test_an_upload_that_nobody_began_needs_a_credential() -> None:
    async with Gateway() as gateway:
        _, refusal = await continued(gateway, Continuation("a", None, gateway.clock.now + 1))
    assert refusal is not None
    assert refusal.reason == "CREDENTIALS_MISSING"


async def test_a_bad_upload_address_is_refused_in_its_own_words() -> None:
    bad = Refusal(403, "changed", reason="UPLOAD_ADDRESS_INVALID")
    async with Gateway() as gateway:
        exchange, refusal = await continued(gateway, bad)
    assert refusal is bad
    assert (exchange.outcome, exchange.status, exchange.reason) == (Outcome.REFUSED, 403, "UPLOAD_ADDRESS_INVALID")
    assert exchange.principal is None


async def test_models_are_asked_for_after_the_principal(path: Path) -> None:
    secret, _ = await made(path)
    teams = TEAMS | {"acme": Team("acme", models=("gemini-3-*",))}
    async with Gateway(keys=path, teams=teams) as gateway:
        exchange, refusal = await gateway.call(secret)
        assert refusal is not None
        assert (refusal.code, refusal.reason) == (403, "MODEL_NOT_ALLOWED")
        assert exchange.principal is not None
        allowed = Operation("generateContent", model="gemini-3-pro-image-preview", generates=True)
        assert (await gateway.call(secret, operation=allowed))[1] is None


async def test_explain(path: Path) -> None:
    secret, key = await made(path)
    teams = TEAMS | {"acme": Team("acme", models=("gemini-*",))}
    async with Gateway(issuer(), keys=path, teams=teams) as gateway:
        exchange = make_exchange(headers={"x-goog-api-key": secret})
        assert await gateway.auth.explain(exchange) == [
            f"team key {key.id}, team studio in acme",
            "models allowed: gemini-* (acme)",
        ]
        assert exchange.principal is not None
        exchange = make_exchange(headers={"x-goog-api-key": gateway.token()})
        assert (await gateway.auth.explain(exchange))[0] == "token of ada@example.com, team studio in acme"


async def test_status(path: Path) -> None:
    secret, _ = await made(path)
    await made(path, expires=NOW)
    async with Gateway(issuer(), keys=path) as gateway:
        await gateway.call(secret)
        status = await gateway.auth.status()
    assert status["keys"] == {"live": 1, "known": 2, "last_error": None}
    assert [entry["keys"] for entry in status["issuers"]] == [1]
    assert secret not in repr(status)


async def test_nothing_is_left_running() -> None:
    before = asyncio.all_tasks()
    async with Gateway() as gateway:
        assert asyncio.all_tasks() > before
        await gateway.call(gateway.token())
    assert asyncio.all_tasks() == before
