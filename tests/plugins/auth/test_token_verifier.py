"""What is remembered of verified tokens, and what ends it."""

from plugins.auth.credential import Credential
from tests.plugins.auth.provider import (
    ISSUER,
    JWKS_URL,
    Gateway,
    Provider,
    forge,
    good_claims,
    issuer,
    jwk,
    private_key,
)


async def counted(gateway: Gateway) -> dict[str, int]:
    """How many tokens were verified by signature, and how many are remembered."""
    return dict((await gateway.auth.status())["tokens"])


async def test_a_good_token_is_checked_once() -> None:
    async with Gateway() as gateway:
        token = gateway.token()
        for _ in range(3):
            exchange, refusal = await gateway.call(token)
            assert refusal is None
            assert exchange.principal is not None
        assert await counted(gateway) == {"verified": 1, "remembered": 1}


async def test_nobody_becomes_another() -> None:
    """CVE-2026-35030: tokens of one provider start alike, and a part of one was taken for the whole."""
    async with Gateway() as gateway:
        names = []
        for name in ("ada", "bob", "ada"):
            exchange, _ = await gateway.call(gateway.token(email=f"{name}@example.com"))
            assert exchange.principal is not None
            names.append(exchange.principal.subject)
        assert names == ["ada@example.com", "bob@example.com", "ada@example.com"]


async def test_the_same_claims_with_another_signature_are_checked() -> None:
    async with Gateway() as gateway:
        token = gateway.token()
        await gateway.call(token)
        signed, _, signature = token.rpartition(".")
        forged = f"{signed}.{'A' if signature[0] != 'A' else 'B'}{signature[1:]}"
        _, refusal = await gateway.call(forged)
        assert refusal is not None
        assert refusal.code == 401


async def test_a_bad_token_is_not_remembered() -> None:
    async with Gateway() as gateway:
        token = gateway.token(aud="other")
        for _ in range(2):
            _, refusal = await gateway.call(token)
            assert refusal is not None
        assert await counted(gateway) == {"verified": 0, "remembered": 0}


async def test_as_many_are_remembered_as_may_be_and_the_oldest_gives_way() -> None:
    async with Gateway() as gateway:
        tokens = [gateway.token(email=f"{number}@example.com") for number in range(4097)]
        for token in tokens:
            await gateway.auth._tokens.verify(Credential(token))
        assert await counted(gateway) == {"verified": 4097, "remembered": 4096}
        recalled = [gateway.auth._tokens.recall(Credential(token)) for token in tokens[:2]]
        assert [principal and principal.subject for principal in recalled] == [None, "1@example.com"]


async def test_remembered_no_longer_than_it_is_good() -> None:
    async with Gateway() as gateway:
        token = gateway.token()
        await gateway.call(token)
        await gateway.clock.advance(601)  # past `exp`, within the leeway: checked again, and good
        _, refusal = await gateway.call(token)
        assert refusal is None
        assert (await counted(gateway))["verified"] == 2
        await gateway.clock.advance(60)
        _, refusal = await gateway.call(token)
        assert refusal is not None
        assert refusal.code == 401


async def test_a_withdrawn_key_ends_it() -> None:
    async with Gateway() as gateway:
        token = gateway.token(exp=gateway.clock.now + 86400)
        assert (await gateway.call(token))[1] is None
        gateway.provider.keys = [jwk("two")]
        await gateway.clock.advance(600)
        _, refusal = await gateway.call(token)
        assert refusal is not None
        assert refusal.code == 401


async def test_an_outage_serves_and_in_the_end_does_not() -> None:
    async with Gateway() as gateway:
        token = gateway.token(exp=gateway.clock.now + 7 * 86400)
        gateway.provider.down = OSError("refused")
        assert (await gateway.call(token))[1] is None
        await gateway.clock.advance(23 * 3600)
        assert (await gateway.call(token))[1] is None
        fresh = gateway.token(exp=gateway.clock.now + 86400, sub="u-2")
        assert (await gateway.call(fresh))[1] is None
        await gateway.clock.advance(3601)
        for _ in range(2):
            _, refusal = await gateway.call(token)  # remembered or not
            assert refusal is not None
            assert (refusal.code, refusal.reason) == (503, "ISSUER_UNAVAILABLE")


async def test_rotation_with_and_without_kid() -> None:
    async with Gateway() as gateway:
        assert (await gateway.call(gateway.token("one")))[1] is None
        gateway.provider.keys = [jwk("one"), jwk("two")]
        assert (await gateway.call(gateway.token("two")))[1] is None
        await gateway.clock.advance(30)
        gateway.provider.keys = [jwk("two"), jwk("three")]
        header = {"alg": "RS256", "typ": "JWT"}
        token = forge(header, good_claims(gateway.clock.now), private_key("three"))
        assert (await gateway.call(token))[1] is None


async def test_one_issuers_key_is_not_anothers() -> None:
    other = "https://other.example.com"
    provider = Provider()
    provider.documents[other + "/keys"] = {"keys": [jwk("theirs")]}
    settings = issuer(issuer=other, jwks_url=other + "/keys", team="acme")
    async with Gateway(issuer(), settings, provider=provider) as gateway:
        theirs, refusal = await gateway.call(gateway.token("theirs", iss=other))
        assert refusal is None
        assert theirs.principal is not None
        assert theirs.principal.team == "acme"
        for token in (gateway.token("theirs"), gateway.token("one", iss=other)):
            _, refusal = await gateway.call(token)
            assert refusal is not None
            assert refusal.code == 401


async def test_one_issuers_outage_is_not_anothers() -> None:
    other = "https://other.example.com"
    provider = Provider()
    provider.documents[other + "/keys"] = {"keys": "broken"}
    settings = issuer(issuer=other, jwks_url=other + "/keys")
    async with Gateway(issuer(), settings, provider=provider) as gateway:
        assert (await gateway.call(gateway.token()))[1] is None
        _, refusal = await gateway.call(gateway.token("theirs", iss=other))
        assert refusal is not None
        assert refusal.code == 503
        assert refusal.retry_after is not None
        statuses = (await gateway.auth.status())["issuers"]
        assert [(status["issuer"], status["keys"]) for status in statuses] == [(ISSUER, 1), (other, 0)]
    assert JWKS_URL in provider.fetched
