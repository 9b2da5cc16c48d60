"""`[server] workers = 2`, as processes under load: who serves, what a death costs, what restarts and ends lose."""

import asyncio
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import time
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from proxy.workers import Place
from tests.sdk.gateway import WEIR
from tests.support.certificate import write_pair
from tests.support.load import CALL, Load, quick
from tests.support.raw import STREAM_BEGINS, STREAM_ENDS, Script, in_two, raw_upstream, request_bytes

PATIENCE_SECONDS = 60.0
VARIABLES = {"WEIR_TEST_KEY": "endpoint-key", "WEIR_TEST_SEAL": "s" * 32}
FILE = """
[server]
listen = "{listen}"
admin = "{admin}"
workers = 2
seal = "env:WEIR_TEST_SEAL"
state = "var"
{server}
[upstreams.u]
[[upstreams.u.endpoints]]
name = "a"
url = "{upstream}"
credential = {{ api_key = "env:WEIR_TEST_KEY" }}
[plugins.usage]
use = "usage_log"
[[routes]]
name = "all"
match = "/**"
upstream = "u"
plugins = ["usage"]
"""


class Fleet:
    """A gateway of two workers; its log is what it says of itself."""

    def __init__(self, folder: Path, upstream: str, server: str = "") -> None:
        self.folder = folder
        self.file = folder / "config" / "routes.toml"
        self.file.parent.mkdir(exist_ok=True)
        self.file.write_text(FILE.format(listen="127.0.0.1:0", admin="127.0.0.1:0", upstream=upstream, server=server))
        self.process: asyncio.subprocess.Process

    @asynccontextmanager
    async def running(self, ready: str = "supervising") -> AsyncIterator["Fleet"]:
        with (self.folder / "log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                str(WEIR), "serve", "-c", str(self.file), env={**os.environ, **VARIABLES}, stdout=log, stderr=log
            )
        try:
            await until(lambda: self.named(ready) or self.process.returncode is not None, lambda: self.log)
            assert self.process.returncode is None, self.log
            yield self
        finally:
            if self.process.returncode is None:
                self.process.terminate()
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self.process.wait()

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def named(self, event: str) -> list[dict[str, Any]]:
        whole = (line for line in self.log.splitlines(keepends=True) if line.startswith("{") and line.endswith("\n"))
        lines = [json.loads(line) for line in whole]
        return [line for line in lines if line["event"] == event]

    @property
    def port(self) -> int:
        return int(self.named("supervising")[0]["url"].rpartition(":")[2])

    @property
    def pids(self) -> list[int]:
        pids: list[int] = self.named("supervising")[0]["pids"]
        return pids

    async def metric(self, worker: int, pattern: str) -> float:
        """The sum of the series of one worker that match."""
        text = await asyncio.to_thread(self._metrics, worker)
        return sum(float(value) for value in re.findall(rf"^{pattern}(?:{{.*}})? (\S+)$", text, re.MULTILINE))

    def _metrics(self, worker: int) -> str:
        admin = self.named("supervising")[0]["admin"][worker]
        with urllib.request.urlopen(f"http://{admin}/metrics", timeout=5) as answer:
            return str(answer.read().decode())


async def until(true: Callable[[], Any], what: Callable[[], str]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not true():
        assert time.monotonic() < deadline, what()
        await asyncio.sleep(0.01)


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@asynccontextmanager
async def fleet(folder: Path, script: Script, server: str = "") -> AsyncIterator[Fleet]:
    async with raw_upstream(script) as upstream, Fleet(folder, upstream.url, server).running() as running:
        yield running


async def test_both_serve_and_each_has_its_own_admin_port(tmp_path: Path) -> None:
    async with fleet(tmp_path, quick()) as gateway, Load("127.0.0.1", gateway.port).of(closing=8) as load:
        for worker in (0, 1):
            async with asyncio.timeout(PATIENCE_SECONDS):
                while await gateway.metric(worker, "weir_exchanges_total") == 0:
                    await load.more(20)
    assert load.failures == []
    assert gateway.process.returncode == 0
    files = sorted((tmp_path / "config" / "var" / "usage").glob("usage-*.jsonl"))
    assert len(files) == 2
    records = [line for file in files for line in file.read_bytes().splitlines()]
    assert len(records) == load.answered


async def test_a_worker_that_dies_takes_only_its_own_exchanges_with_it(tmp_path: Path) -> None:
    async with fleet(tmp_path, quick(0.02)) as gateway:
        async with Load("127.0.0.1", gateway.port).of(staying=16) as load:
            await load.more(200)
            inside = [int(await gateway.metric(worker, "weir_connections")) for worker in (0, 1)]
            assert sum(inside) == 16
            victim = inside.index(max(inside))
            os.kill(gateway.pids[victim], signal.SIGKILL)
            killed = time.monotonic()
            await until(lambda: gateway.named("worker_replaced"), lambda: gateway.log)
            assert time.monotonic() - killed < 5.0  # 0.6 s on an idle machine
            replaced = time.monotonic()
            await load.more(200)
        assert await gateway.metric(victim, "weir_connections") == 0, "the new one answers on the old one's port"
    assert len(load.failures) <= inside[victim]
    assert [failure for failure in load.failures if failure[0] > replaced] == []
    assert gateway.process.returncode == 0


async def test_a_rolling_restart_loses_nothing(tmp_path: Path) -> None:
    async with fleet(tmp_path, quick()) as gateway, Load("127.0.0.1", gateway.port).of(staying=8, closing=8) as load:
        for restarts in (1, 2, 3):
            await load.more(300)
            gateway.process.send_signal(signal.SIGUSR2)
            await until(lambda n=restarts: len(gateway.named("restarted")) == n, lambda: gateway.log)  # type: ignore[misc]
        old = [gateway.pids, *(event["pids"] for event in gateway.named("restarted")[:-1])]
        await load.more(300)
        await until(lambda: not any(lives(pid) for pids in old for pid in pids), lambda: "an old worker did not leave")
    assert load.failures == []
    assert load.answered >= 1200
    assert gateway.process.returncode == 0


async def test_an_end_waits_for_open_streams_and_lets_nobody_in(tmp_path: Path) -> None:
    go_on = asyncio.Event()
    async with fleet(tmp_path, in_two(STREAM_BEGINS, go_on, STREAM_ENDS)) as gateway:
        streams = [await asyncio.open_connection("127.0.0.1", gateway.port) for _ in range(6)]
        for reader, writer in streams:
            writer.write(request_bytes(target=CALL, close=False))
            await reader.readuntil(b"first")
        gateway.process.terminate()
        await until(lambda: len(gateway.named("stopping")) == 3, lambda: gateway.log)
        await asyncio.sleep(0.2)  # the law: after this nobody is let in
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", gateway.port)
        go_on.set()
        async with asyncio.timeout(PATIENCE_SECONDS):
            ends = [await reader.readuntil(b"0\r\n\r\n") for reader, _ in streams]
            assert await gateway.process.wait() == 0
        for _, writer in streams:
            writer.close()
    assert all(end.endswith(b"last\r\n0\r\n\r\n") for end in ends)


async def test_a_bad_file_stops_a_restart_and_not_the_gateway(tmp_path: Path) -> None:
    async with fleet(tmp_path, quick()) as gateway, Load("127.0.0.1", gateway.port).of(closing=2) as load:
        good = gateway.file.read_text()
        gateway.file.write_text("[server")
        gateway.process.send_signal(signal.SIGUSR2)
        await until(lambda: gateway.named("restart_refused"), lambda: gateway.log)
        await load.more(20)
        gateway.file.write_text(good)
        gateway.process.send_signal(signal.SIGHUP)
        await until(
            lambda: {event["worker"] for event in gateway.named("reloaded")} == {0, 1},
            lambda: gateway.log,
        )
    assert load.failures == []
    assert gateway.process.returncode == 0


async def test_a_worker_that_cannot_be_born_is_tried_again_ever_later(tmp_path: Path) -> None:
    async with fleet(tmp_path, quick()) as gateway, Load("127.0.0.1", gateway.port).of(closing=2) as load:
        good = gateway.file.read_text()
        gateway.file.write_text("[server")
        os.kill(gateway.pids[1], signal.SIGKILL)
        await until(lambda: len(gateway.named("worker_waits")) == 2, lambda: gateway.log)
        waits = [event["seconds"] for event in gateway.named("worker_waits")]
        assert waits == sorted(set(waits)), "each pause is longer"
        gateway.file.write_text(good)
        await until(lambda: gateway.named("worker_replaced"), lambda: gateway.log)
        await load.more(20)
    assert len(load.failures) <= 2
    assert gateway.process.returncode == 0


async def test_workers_leave_when_their_supervisor_is_killed(tmp_path: Path) -> None:
    async with fleet(tmp_path, quick()) as gateway:
        pids = gateway.pids
        gateway.process.kill()
        await until(lambda: not any(map(lives, pids)), lambda: f"{pids} serve on, and nobody can stop them")


async def test_a_rolling_restart_and_a_renewal_under_tls(tmp_path: Path) -> None:
    """The certificate is renewed by a change of its files; nobody has to say so."""
    (tmp_path / "config").mkdir()
    write_pair(tmp_path / "config")
    callers = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    callers.check_hostname, callers.verify_mode = False, ssl.CERT_NONE
    tls = 'tls = { certificate = "cert.pem", key = "key.pem" }'
    async with fleet(tmp_path, quick(), tls) as gateway:
        async with Load("127.0.0.1", gateway.port, callers).of(staying=4, closing=4) as load:
            await load.more(100)
            gateway.process.send_signal(signal.SIGUSR2)
            await until(lambda: gateway.named("restarted"), lambda: gateway.log)
            await load.more(100)
            write_pair(tmp_path / "config")
            await until(
                lambda: {event["worker"] for event in gateway.named("certificate_renewed")} == {0, 1},
                lambda: gateway.log,
            )
            await load.more(100)
    assert load.failures == []
    assert gateway.process.returncode == 0


async def test_one_process_alone_outlives_a_restart_that_it_cannot_do(tmp_path: Path) -> None:
    gateway = Fleet(tmp_path, "http://127.0.0.1:9")
    gateway.file.write_text(gateway.file.read_text().replace("workers = 2", "workers = 1"))
    async with gateway.running("listening"):
        gateway.process.send_signal(signal.SIGUSR2)
        await until(lambda: gateway.named("restart_refused"), lambda: gateway.log)
    assert gateway.process.returncode == 0


@pytest.mark.parametrize("taken", ["listen", "admin"])
def test_an_address_that_is_taken_is_said_once(taken: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as socket_of_another:
        address = f"127.0.0.1:{socket_of_another.getsockname()[1]}"
        file = tmp_path / "routes.toml"
        addresses = {"listen": "127.0.0.1:0", "admin": "127.0.0.1:0"} | {taken: address}
        file.write_text(FILE.format(**addresses, upstream="http://127.0.0.1:9", server=""))
        done = subprocess.run(
            [str(WEIR), "serve", "-c", str(file)],
            env={**os.environ, **VARIABLES},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == f"cannot start: {address}: address already in use\n"


def test_a_place_is_read_as_it_was_written() -> None:
    place = Place(3, 7, (4, 5), (6,))
    assert Place.parse(str(place)) == place
