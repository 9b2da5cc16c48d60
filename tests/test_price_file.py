"""The price file in a running gateway: what it prices, what it keeps, and that a bad one changes nothing."""

import asyncio
import hashlib
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from proxy import Pricing, fixed
from proxy.config.bind import ConfigError
from proxy.config.load import load
from proxy.config.watch import changes
from proxy.price_file import PriceSheet, kept_prices, price_book
from tests.support.bill import PRICE_FILE
from tests.support.gateway import TEAM_KEYS, Gateway, gateway, routes
from tests.support.raw import RawUpstream, raw_upstream, request_bytes, send_bytes
from tests.support.service_log import ServiceLog, service_log

KEY = "weir_k1_of-the-studio"
COUNTS = b'{"usageMetadata": {"promptTokenCount": 1000, "candidatesTokenCount": 100, "totalTokenCount": 1100}}'
LISTS = "[lists.resale]\nfactor = 0.375\n"
TEAMS = """
[plugins.auth]
keys = "keys.toml"
[teams.acme]
prices = "resale"
[teams.studio]
parent = "acme"
"""


@pytest.fixture(autouse=True)
def _keys(tmp_path: Path) -> None:
    (tmp_path / "keys.toml").write_text(TEAM_KEYS.format(sha256=hashlib.sha256(KEY.encode()).hexdigest()))


@pytest.fixture
def log() -> Iterator[ServiceLog]:
    with service_log() as written:
        yield written


async def counted(upstream: RawUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(COUNTS)}\r\n\r\n"
    while True:
        await upstream.read(reader)
        writer.write(head.encode() + COUNTS)


async def generate(weir: Gateway) -> None:
    target = "/v1beta/models/gemini-2.5-flash:generateContent"
    request = request_bytes(f"x-goog-api-key: {KEY}", "Content-Length: 2", target=target, body=b"{}")
    got = await send_bytes(weir.host, weir.port, request)
    assert got.startswith(b"HTTP/1.1 200 "), got


def started(
    folder: Path, monkeypatch: pytest.MonkeyPatch, upstream: str = "http://127.0.0.1:9", **more: Any
) -> AbstractAsyncContextManager[Gateway]:
    return gateway(folder, routes(upstream, plugins='["usage", "auth"]', **({"more": TEAMS} | more)), monkeypatch)


async def test_records_are_priced_reloaded_and_reproducible(
    log: ServiceLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "prices.toml"
    first = PRICE_FILE.read_text() + LISTS
    file.write_text(first)
    async with raw_upstream(counted) as upstream, started(tmp_path, monkeypatch, upstream.url) as weir:
        version = (await weir.app.status())["prices"]
        await generate(weir)

        file.write_text(first.replace("[lists.resale]", "[lists.other]"))
        await weir.app.reload()
        file.unlink()
        await weir.app.reload()
        assert (await weir.app.status())["prices"] == version
        await generate(weir)

        file.write_text(first.replace("factor = 0.375", "factor = 0.5"))
        await weir.app.reload()
        newer = (await weir.app.status())["prices"]
        await generate(weir)
        metrics = (await asyncio.to_thread(weir.app.metrics))[0].decode()

    records = weir.records()
    assert [record.prices for record in records] == [version, version, newer]
    assert [(record.cost, record.cost_currency, record.pricing) for record in records] == [
        ("0.00055", "USD", Pricing.PRICED)
    ] * 3
    assert [record.price for record in records] == ["0.00020625", "0.00020625", "0.000275"]
    assert {record.price_list for record in records} == {"resale"}
    gone, missing = log.named("reload_refused")
    assert f'teams.acme.prices: {file} has no list "resale"; add [lists.resale] to it, or name one of: other' in str(
        gone
    )
    assert "cannot read it: No such file or directory" in str(missing)
    kept = kept_prices(tmp_path / "var")
    assert {path.name for path in kept.iterdir()} == {f"{version}.toml", f"{newer}.toml"}
    for record in records:
        book = await asyncio.to_thread(price_book, kept / f"{record.prices}.toml")
        again = book.charge(record)
        assert again.cost is not None
        assert again.price is not None
        assert (fixed(again.cost), fixed(again.price), again.lines) == (record.cost, record.price, record.charges)
    of = 'team="studio",model="gemini-2.5-flash",currency="USD"'
    assert 'weir_pricing_total{pricing="priced"} 3.0' in metrics
    lines = dict(line.rsplit(" ", 1) for line in metrics.splitlines() if line.startswith(("weir_cost", "weir_price")))
    labels = {name.partition("{")[0]: set(name.partition("{")[2].rstrip("}").split(",")) for name in lines}
    assert labels == {"weir_cost_total": set(of.split(",")), "weir_price_total": set(of.split(","))}
    assert [round(float(value), 9) for value in lines.values()] == [0.00165, 0.0006875]


async def test_without_the_default_file_every_record_is_unpriced_and_the_log_says_so(
    log: ServiceLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        raw_upstream(counted) as upstream,
        started(tmp_path, monkeypatch, upstream.url, more=TEAMS.replace('prices = "resale"', "")) as weir,
    ):
        await generate(weir)
        assert (await weir.app.status())["prices"] is None
    (record,) = weir.records()
    assert (record.pricing, record.cost, record.price, record.prices) == (Pricing.UNPRICED, None, None, None)
    (warned,) = log.named("no_prices")
    assert (warned["file"], warned["level"]) == (str(tmp_path / "prices.toml"), "warning")


@pytest.mark.parametrize(
    ("server", "more", "problem"),
    [
        ('prices = "ours.toml"', "", "cannot read it: No such file or directory; name another as [server] prices"),
        ("", TEAMS, 'teams.acme.prices: {folder}/prices.toml has no list "resale"; add [lists.resale] to it'),
    ],
)
async def test_a_start_that_would_misprice_is_refused(
    server: str, more: str, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError) as refused:
        async with started(tmp_path, monkeypatch, server=server, more=more or TEAMS.replace('prices = "resale"', "")):
            raise AssertionError("it started")
    assert problem.format(folder=tmp_path) in str(refused.value)


def test_a_copy_that_cannot_be_kept_is_a_problem_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEIR_TEST_KEY_A", "a")
    file = tmp_path / "routes.toml"
    file.write_text(routes("http://127.0.0.1:9"))
    (tmp_path / "prices.toml").write_text(PRICE_FILE.read_text())
    (tmp_path / "var").write_text("a file stands in its way")
    settings = load(file)

    with pytest.raises(ConfigError, match=r"prices\.toml: cannot keep a copy in "):
        PriceSheet(settings).read(settings)


async def test_a_change_of_either_file_is_noticed(tmp_path: Path) -> None:
    """Also of one that is still to come: the watch is on folders."""
    file, prices = tmp_path / "routes.toml", tmp_path / "other" / "prices.toml"
    prices.parent.mkdir()
    file.write_text("a")
    stop = asyncio.Event()
    seen = changes((file, prices), stop)
    try:
        async with asyncio.timeout(60):
            waiting = asyncio.ensure_future(anext(seen))
            while not waiting.done():  # until the watch is there, nobody sees a write
                prices.write_text(f"{asyncio.get_running_loop().time()}")
                await asyncio.wait([waiting], timeout=0.5)
            await waiting
    finally:
        stop.set()
        await seen.aclose()
