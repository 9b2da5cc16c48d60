"""The composition root: what a reload keeps, replaces and refuses, and what a failed start leaves behind."""

import asyncio
import hashlib
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from proxy import Outcome
from proxy.app import App
from proxy.config.bind import ConfigError
from proxy.config.load import load
from tests.support.gateway import TEAM_KEYS, Gateway, gateway, routes
from tests.support.raw import RawUpstream, raw_upstream, request_bytes, send_bytes
from tests.support.service_log import ServiceLog, service_log

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
KEY = "weir_k1_of-the-studio"
NOWHERE = "http://127.0.0.1:9"

# Somebody else's plugin: it writes down its life, and fails to start on demand.
MODULE = """
import msgspec

from proxy import Exchange, ExchangeNext, Plugin

LIFE = []


class Witness(Plugin):
    class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        mark: str = "-"
        fails: bool = False

    async def start(self) -> None:
        LIFE.append(f"start {self.config.mark}")
        if self.config.fails:
            raise OSError("the witness cannot start")

    async def stop(self) -> None:
        LIFE.append(f"stop {self.config.mark}")

    async def around_exchange(self, exchange: Exchange, call_next: ExchangeNext) -> None:
        exchange.labels["witness"] = self.config.mark
        await call_next(exchange)
"""


@pytest.fixture(autouse=True)
def _keys(tmp_path: Path) -> None:
    (tmp_path / "keys.toml").write_text(TEAM_KEYS.format(sha256=hashlib.sha256(KEY.encode()).hexdigest()))


@pytest.fixture
def log() -> Iterator[ServiceLog]:
    with service_log() as written:
        yield written


@pytest.fixture
def witness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The plugin's name for `use`. Its module lies in a folder on the path, as after an install, not yet imported."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "weir_witness.py").write_text(MODULE)
    monkeypatch.syspath_prepend(folder)
    yield "weir_witness:Witness"
    sys.modules.pop("weir_witness", None)


def life() -> list[str]:
    """What the witness has written down."""
    written: list[str] = sys.modules["weir_witness"].LIFE
    return written


def witnessed(upstream: str, mark: str, *, more: str = "") -> str:
    """A routes file with the witness in it."""
    table = f'[plugins.witness]\nuse = "weir_witness:Witness"\nmark = "{mark}"\n{more}'
    return routes(upstream, plugins='["usage", "witness"]', more=table)


def limited(upstream: str, *, limits: str, breaker: str = "failures = 1") -> str:
    more = f"""
[plugins.auth]
keys = "keys.toml"
[plugins.circuit_breaker]
{breaker}
[teams.studio]
limits = [{limits}]
"""
    return routes(upstream, plugins='["usage", "auth", "team_quota", "circuit_breaker"]', more=more)


async def status_of(weir: Gateway, target: str = "/x") -> int:
    got = await send_bytes(weir.host, weir.port, request_bytes(f"x-goog-api-key: {KEY}", target=target, method="GET"))
    return int(got.split(b" ", 2)[1])


async def reload(weir: Gateway, text: str) -> None:
    weir.file.write_text(text)
    await weir.app.reload()


async def until(true: Callable[[], bool]) -> None:
    """Let the loop run until it is so; what a plugin of somebody else's does sets no event."""
    async with asyncio.timeout(60):
        while not true():
            await asyncio.sleep(0)


async def always_ok(upstream: RawUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        await upstream.read(reader)
        writer.write(OK)


# --- plugins of others --------------------------------------------------------------------------------------


async def test_a_plugin_from_outside_is_loaded_by_its_name(
    witness: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "weir_witness" not in sys.modules
    async with raw_upstream(always_ok) as upstream:
        async with gateway(tmp_path, witnessed(upstream.url, "one"), monkeypatch) as weir:
            assert await status_of(weir) == 200
            assert life() == ["start one"]
    assert life() == ["start one", "stop one"]
    (record,) = weir.records()
    assert record.labels == {"witness": "one"}


# --- reload: what is kept -----------------------------------------------------------------------------------


async def test_an_equal_table_keeps_its_plugin_and_what_it_knows(
    log: ServiceLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The circuit stays open, the requests of today stay counted, though the file around them changed."""
    text = limited(NOWHERE, limits='{ requests = 2, per = "day" }')
    async with gateway(tmp_path, text, monkeypatch) as weir:
        assert await status_of(weir) == 503
        before = await weir.app.status()
        await reload(weir, "# edited\n" + text.replace('name = "all"', 'name = "renamed"'))
        after = await weir.app.status()
        assert after["routes"][0]["name"] == "renamed"
        circuits = after["plugins"]["circuit_breaker"]["circuits"]
        assert [(one["endpoint"], one["circuit"]) for one in circuits] == [("a", "open")]
        assert after["plugins"]["team_quota"] == before["plugins"]["team_quota"]
        assert [await status_of(weir) for _ in range(2)] == [503, 429]
    assert [record.route for record in weir.records()] == ["all", "renamed", "renamed"]
    assert len(log.named("reloaded")) == 1


async def test_a_changed_table_makes_the_plugin_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = '{ requests = 2, per = "day" }'
    async with gateway(tmp_path, limited(NOWHERE, limits=limits), monkeypatch) as weir:
        assert await status_of(weir) == 503
        await reload(weir, limited(NOWHERE, limits=limits, breaker="failures = 9"))
        told = await weir.app.status()
        assert told["plugins"]["circuit_breaker"]["circuits"] == []
        assert told["plugins"]["team_quota"]["studio"][0]["used"] == 1, "the counters are the store's, not the plugin's"


async def test_new_limits_hold_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with raw_upstream(always_ok) as upstream:
        async with gateway(
            tmp_path, limited(upstream.url, limits='{ requests = 2, per = "day" }'), monkeypatch
        ) as weir:
            assert [await status_of(weir) for _ in range(3)] == [200, 200, 429]
            await reload(weir, limited(upstream.url, limits='{ requests = 3, per = "day" }'))
            assert [await status_of(weir) for _ in range(2)] == [200, 429]
            await reload(weir, limited(upstream.url, limits=""))
            assert await status_of(weir) == 200


async def test_a_team_that_is_taken_out_is_let_in_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with raw_upstream(always_ok) as upstream:
        text = limited(upstream.url, limits="")
        async with gateway(tmp_path, text, monkeypatch) as weir:
            assert await status_of(weir) == 200
            await reload(weir, text.replace("[teams.studio]", "[teams.other]"))
            assert await status_of(weir) == 403


async def test_a_replaced_plugin_is_stopped_after_its_last_exchange(
    witness: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrived, go_on = asyncio.Event(), asyncio.Event()

    async def waits(upstream: RawUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await upstream.read(reader)
        arrived.set()
        await go_on.wait()
        writer.write(OK)

    async with raw_upstream(waits) as old, raw_upstream(always_ok) as new, asyncio.timeout(60):
        async with gateway(tmp_path, witnessed(old.url, "old"), monkeypatch) as weir:
            call = asyncio.create_task(status_of(weir, "/on-the-old"))
            await arrived.wait()
            await reload(weir, witnessed(new.url, "new"))
            assert await status_of(weir, "/on-the-new") == 200
            assert life() == ["start old", "start new"]
            assert not call.done()
            go_on.set()
            assert await call == 200
            await until(lambda: "stop old" in life())
            assert weir.app.public.in_flight == 0
        assert life() == ["start old", "start new", "stop old", "stop new"]
        assert (len(old.requests), len(new.requests)) == (1, 1)
    assert [(record.path, record.labels["witness"]) for record in weir.records()] == [
        ("/on-the-new", "new"),
        ("/on-the-old", "old"),
    ]


async def test_a_plugin_that_no_route_names_any_more_is_stopped(
    witness: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with gateway(tmp_path, witnessed(NOWHERE, "one"), monkeypatch) as weir:
        await reload(weir, routes(NOWHERE))
        await until(lambda: life() == ["start one", "stop one"])


# --- reload: what is refused --------------------------------------------------------------------------------


async def test_a_bad_file_changes_nothing_and_every_problem_is_told(
    witness: str, log: ServiceLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with raw_upstream(always_ok) as upstream:
        async with gateway(tmp_path, witnessed(upstream.url, "one"), monkeypatch) as weir:
            bad = witnessed("ftp://nobody", "two").replace('match = "/**"', 'match = "all"\nmtach = "/**"')
            await reload(weir, bad.replace("env:WEIR_TEST_KEY_A", "env:WEIR_TEST_NOT_SET") + "[surver]\n")
            await reload(weir, "[server")
            weir.file.unlink()
            await weir.app.reload()
            assert await status_of(weir) == 200
            assert life() == ["start one"]
    refusals = log.named("reload_refused")
    assert [refusal["file"] for refusal in refusals] == [str(weir.file)] * 3
    problems = "\n".join(refusals[0]["problems"])
    for told in (
        'unknown table "surver"',
        "environment variable WEIR_TEST_NOT_SET is not set",
        'routes.all: unknown key "mtach"',
    ):
        assert told in problems
    assert refusals[1]["problems"][0].startswith("not valid TOML: ")
    assert refusals[2]["problems"][0].startswith("cannot read it: No such file")
    assert "Traceback" not in log.text
    assert log.named("reloaded") == []


async def test_settings_that_a_plugin_cannot_work_with_are_refused_by_its_table(
    log: ServiceLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with gateway(tmp_path, limited(NOWHERE, limits=""), monkeypatch) as weir:
        await reload(weir, limited(NOWHERE, limits="", breaker="failures = 0"))
    (refusal,) = log.named("reload_refused")
    assert refusal["problems"] == ["plugins.circuit_breaker: failures: expected 1 or more, found 0"]


async def test_a_plugin_that_cannot_start_refuses_the_reload(
    witness: str, log: ServiceLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other new ones, already started, are stopped again; the old go on."""
    async with raw_upstream(always_ok) as upstream:
        async with gateway(tmp_path, witnessed(upstream.url, "one"), monkeypatch) as weir:
            two = '[plugins.second]\nuse = "weir_witness:Witness"\nmark = "bad"\nfails = true\n'
            text = witnessed(upstream.url, "two", more=two).replace('"witness"]', '"witness", "second"]')
            await reload(weir, text)
            assert await status_of(weir) == 200
            assert life() == ["start one", "start two", "start bad", "stop two"]
    (refusal,) = log.named("reload_refused")
    assert "the witness cannot start" in refusal["exception"]
    (record,) = weir.records()
    assert record.labels == {"witness": "one"}


async def test_what_only_a_restart_can_change_is_told(
    log: ServiceLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with gateway(tmp_path, routes(NOWHERE), monkeypatch) as weir:
        await reload(weir, routes(NOWHERE, server='timeouts = { drain = "1s" }'))
    assert [line["reason"] for line in log.named("restart_needed")] == ["[server] is read at start only"]


async def test_reloads_come_one_after_the_other(witness: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with gateway(tmp_path, witnessed(NOWHERE, "0"), monkeypatch) as weir:
        weir.file.write_text(witnessed(NOWHERE, "1"))
        await asyncio.gather(*(weir.app.reload() for _ in range(5)))
    assert life() == ["start 0", "start 1", "stop 0", "stop 1"]


# --- start --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("taken", ["listen", "admin"])
async def test_a_start_that_fails_leaves_nothing_running(
    taken: str, witness: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEIR_TEST_KEY_A", "a")
    with socket.socket() as occupied, socket.socket() as other:
        for one in (occupied, other):
            one.bind(("127.0.0.1", 0))
        occupied.listen()
        free = other.getsockname()[1]
        other.close()
        ports = {"listen": free, "admin": free, taken: occupied.getsockname()[1]}
        text = witnessed(NOWHERE, "one")
        for key, port in ports.items():
            text = text.replace(f'{key} = "127.0.0.1:0"', f'{key} = "127.0.0.1:{port}"')
        file = tmp_path / "routes.toml"
        file.write_text(text)
        tasks = asyncio.all_tasks()
        app = App(load(file))
        with pytest.raises(OSError, match="address already in use"):
            await app.start()
        assert not app.ready
        assert life() == ["start one", "stop one"]
        assert asyncio.all_tasks() == tasks
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", free)


async def test_a_plugin_that_cannot_start_stops_the_start(
    witness: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(OSError, match="the witness cannot start"):
        async with gateway(tmp_path, witnessed(NOWHERE, "one", more="fails = true\n"), monkeypatch):
            raise AssertionError("it started")


def test_settings_that_a_plugin_cannot_work_with_are_a_config_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEIR_TEST_KEY_A", "a")
    file = tmp_path / "routes.toml"
    file.write_text(limited(NOWHERE, limits="", breaker="failures = 0"))

    async def make() -> None:
        App(load(file))

    with pytest.raises(ConfigError) as refused:
        asyncio.run(make())
    assert str(refused.value) == f"{file}: plugins.circuit_breaker: failures: expected 1 or more, found 0"


# --- the innermost answers of its own -----------------------------------------------------------------------


async def test_a_path_that_no_route_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with gateway(tmp_path, routes(NOWHERE).replace('"/**"', '"/v1beta/**"'), monkeypatch) as weir:
        got = await send_bytes(weir.host, weir.port, request_bytes(target="/v1/x"))
    assert got.startswith(b"HTTP/1.1 404 Not Found\r\n")
    assert b"No route of this gateway takes this path." in got


async def test_a_dead_upstream_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with gateway(tmp_path, routes(NOWHERE), monkeypatch) as weir:
        assert await status_of(weir) == 503
    (record,) = weir.records()
    assert (record.outcome, record.status) == (Outcome.UPSTREAM_FAILED, 503)
