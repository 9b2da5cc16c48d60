"""A gateway that is killed again and again under load, and the audit of its usage log against the simulator's ledger.

The gateway is the real process, its endpoints are two accounts of the simulator, of which one sheds the calls of one
model so that some exchanges have two attempts. Each request carries a marker that the ledger shows and the record
holds as its subject: with a label the exchange would be no ordinary one, and most should be. `tests/test_kill.py` does
a few kills, `bench/kill.py` many.
"""

import asyncio
import json
import os
import random
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec

from proxy import UsageRecord
from proxy.simulator import Simulator
from proxy.version import COMPILED

PATIENCE_SECONDS = 60.0
_ROOT = Path(__file__).parents[2]
PRICES = _ROOT / "config" / "prices.toml"
KEYS = {"key-of-a": "a", "key-of-b": "b"}
FILE = """
[server]
listen = "127.0.0.1:0"
admin = "127.0.0.1:0"
workers = {workers}
seal = "env:WEIR_TEST_SEAL"
state = "var"
prices = "{prices}"
[[upstreams.u.endpoints]]
name = "a"
url = "{upstream}"
credential = {{ api_key = "env:WEIR_TEST_KEY_A" }}
[[upstreams.u.endpoints]]
name = "b"
url = "{upstream}"
priority = 1
credential = {{ api_key = "env:WEIR_TEST_KEY_B" }}
[plugins.usage]
use = "usage_log"
{usage}
[plugins.marker]
use = "marker:Marker"
[[routes]]
name = "all"
match = "/**"
upstream = "u"
plugins = ["usage", "marker"]
"""
PLUGIN = '''
from proxy import Exchange, ExchangeNext, Plugin, Principal


class Marker(Plugin):
    """Takes the request's marker for who asks; refuses who asks for that."""

    async def around_exchange(self, exchange: Exchange, call_next: ExchangeNext) -> None:
        exchange.principal = Principal(subject=exchange.request.headers.get("x-marker") or "", team="callers")
        if exchange.request.headers.get("x-refuse"):
            raise exchange.refuse(403, "As you wish.", reason="ASKED_FOR")
        await call_next(exchange)
'''
BODY = b'{"contents": [{"parts": [{"text": "hello"}]}], "generationConfig": {"maxOutputTokens": 200}}'
FLASH, PRO = "gemini-2.5-flash", "gemini-2.5-pro"  # account a sheds the second


class Audit(msgspec.Struct):
    """What was found. `problems` says of each deviation which request it was."""

    kills: int = 0
    sent: int = 0
    answered: int = 0
    seen: int = 0  # by the simulator: each is one attempt
    records: int = 0
    lost: int = 0
    files: int = 0
    sealed: int = 0  # torn lines moved aside; each was written again
    problems: list[str] = []


class Doomed:
    """The gateway, its callers and its endpoints. One `rounds` after the other, then `audit`."""

    def __init__(self, folder: Path, simulator: Simulator, *, workers: int, usage: str, seed: int) -> None:
        self._folder = folder
        self._simulator = simulator
        self._chance = random.Random(seed)
        self._file = folder / "config" / "routes.toml"
        self._file.parent.mkdir()
        self._file.write_text(FILE.format(workers=workers, upstream=simulator.url, usage=usage, prices=PRICES))
        (folder / "marker.py").write_text(PLUGIN)
        self._workers = workers
        self._process: asyncio.subprocess.Process | None = None
        self._port = 0
        self._seen: dict[str, Counter[str]] = {}
        self._answers: dict[str, int] = {}  # marker: status, of those answered to the last byte
        self._sent = 0
        self._kills = 0

    async def kill(self, *, within: tuple[float, float], of_start: bool = False) -> None:
        """Kill the process so many seconds after it carries the load, or after it was started; start another."""
        if of_start:
            await self.start(wait=False)
        else:
            await self._carrying()
        await asyncio.sleep(self._chance.uniform(*within))
        assert self._process is not None
        self._process.kill()
        await self._process.wait()
        self._process = None
        self._kills += 1
        self._read_ledger()

    async def kill_worker(self, *, within: tuple[float, float]) -> None:
        """Kill one of several; the supervisor replaces it."""
        await self._carrying()
        await asyncio.sleep(self._chance.uniform(*within))
        replaced = self._named("worker_replaced")
        pids = dict(enumerate(self._named("supervising")[-1]["pids"])) | {
            said["worker"]: said["pid"] for said in replaced
        }
        os.kill(self._chance.choice(list(pids.values())), signal.SIGKILL)
        self._kills += 1
        await self._until(lambda: len(self._named("worker_replaced")) > len(replaced))

    async def _carrying(self) -> None:
        """It runs, and answers: a kill on a slow machine would else find it before its first request."""
        if self._process is None:
            await self.start()
        answered = len(self._answers)
        await self._until(lambda: len(self._answers) > answered + 2 * self._workers)

    async def start(self, *, wait: bool = True) -> None:
        environment = os.environ | {
            "WEIR_TEST_SEAL": "s" * 32,
            "WEIR_TEST_KEY_A": "key-of-a",
            "WEIR_TEST_KEY_B": "key-of-b",
            "PYTHONPATH": os.pathsep.join([str(self._folder), os.environ.get("PYTHONPATH", str(_ROOT))]),
        }
        words = [sys.executable, "-m", "proxy", "serve", "-c", str(self._file)]
        with (self._folder / "log").open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(*words, env=environment, stdout=log, stderr=log)
        if wait:
            ready = "listening" if self._workers == 1 else "supervising"
            await self._until(lambda: self._named(ready))
            self._port = int(self._named(ready)[-1]["url"].rpartition(":")[2])

    async def end(self) -> None:
        """An orderly end, after a start that recovers what the last kill left."""
        if self._process is None:
            await self.start()
        assert self._process is not None
        self._process.terminate()
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert await self._process.wait() == 0, self._log
        said = {line["compiled"] for line in self._named("listening")}
        assert said == {COMPILED}, "what was killed is not what is tested"
        self._read_ledger()

    @asynccontextmanager
    async def load(self, callers: int) -> AsyncIterator[None]:
        """So many callers that never pause, but while nobody listens."""
        tasks = [asyncio.create_task(self._call(random.Random(self._chance.random()))) for _ in range(callers)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if self._process is not None and self._process.returncode is None and sys.exc_info()[0] is not None:
                self._process.kill()

    def audit(self) -> Audit:
        """Compare what the usage log says with what the simulator and the callers saw."""
        folder = self._file.parent / "var" / "usage"
        found = Audit(kills=self._kills, sent=self._sent, answered=len(self._answers))
        by_marker: dict[str, UsageRecord] = {}
        ids: Counter[str] = Counter()
        for file in sorted(folder.glob("usage-*.jsonl")):
            found.files += 1
            content = file.read_bytes()
            if content and not content.endswith(b"\n"):
                found.problems.append(f"{file.name} ends in the middle of a line")
            for line in content.splitlines():
                record = msgspec.json.decode(line, type=UsageRecord)
                ids[record.id] += 1
                by_marker[record.subject or ""] = record
        found.records, found.lost = ids.total(), sum(record.outcome == "lost" for record in by_marker.values())
        found.seen = sum(keys.total() for keys in self._seen.values())
        found.sealed = len(list(folder.glob("usage-*.torn")))
        found.problems += [f"record {each} is there {count} times" for each, count in ids.items() if count > 1]
        if len(by_marker) != len(ids):
            found.problems.append(f"{len(ids)} records of {len(by_marker)} requests")
        for marker, attempts in self._seen.items():
            found.problems += _of_attempts(marker, attempts, by_marker.get(marker))
        for marker, status in self._answers.items():
            if marker not in by_marker:
                found.problems.append(f"request {marker} was answered {status} and has no record")
        found.problems += [
            f"record {record.id} is lost and says {record.reason}, {record.pricing}, {record.cost}"
            for record in by_marker.values()
            if record.outcome == "lost"
            and (record.reason != "GATEWAY_KILLED" or record.pricing == "priced" or record.cost == "0")
        ]
        found.problems += [
            f"{file.name} holds {file.stat().st_size} bytes" for file in folder.glob("ahead-*") if file.stat().st_size
        ]
        return found

    def _read_ledger(self) -> None:
        """Often enough: it forgets the oldest of 10,000."""
        for entry in self._simulator.ledger:
            marker, key = entry.header("x-marker"), entry.header("x-goog-api-key")
            assert marker is not None
            assert key is not None
            self._seen.setdefault(marker, Counter())[KEYS[key]] += 1
        self._simulator.ledger.clear()

    async def _call(self, chance: random.Random) -> None:
        while True:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            except OSError:
                await asyncio.sleep(0.01)
                continue
            try:
                while True:
                    await self._exchange(chance, reader, writer)
            except (OSError, EOFError):
                continue  # it was killed
            finally:
                writer.close()

    async def _exchange(
        self, chance: random.Random, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._sent += 1
        if self._sent % 1000 == 0:
            self._read_ledger()
        marker = f"m{self._sent}"
        fields = [f"x-marker: {marker}"]
        model = PRO if chance.random() < 0.2 else FLASH
        verb = "streamGenerateContent?alt=sse" if chance.random() < 0.3 else "generateContent"
        kind = chance.random()
        if kind < 0.1:
            fields.append("x-refuse: 1")
        elif kind < 0.5:
            fields.append(f"x-sim-fault: latency={chance.uniform(0, 0.1):.3f}")
        target = f"/v1beta/models/{model}:{verb}"
        head = [f"POST {target} HTTP/1.1", "Host: weir.example", f"Content-Length: {len(BODY)}", *fields]
        writer.write("\r\n".join([*head, "", ""]).encode() + BODY)
        answer = await reader.readuntil(b"\r\n\r\n")
        if b"chunked" in answer.lower():
            while size := int(await reader.readuntil(b"\r\n"), 16):
                await reader.readexactly(size + 2)
            await reader.readuntil(b"\r\n")
        else:
            await reader.readexactly(int(answer.lower().split(b"content-length:")[1].split(b"\r\n")[0]))
        self._answers[marker] = int(answer.split(b" ", 2)[1])

    @property
    def _log(self) -> str:
        return (self._folder / "log").read_text()

    def _named(self, event: str) -> list[dict[str, Any]]:
        lines = [line for line in self._log.splitlines(keepends=True) if line.startswith("{") and line.endswith("\n")]
        return [said for line in lines if (said := json.loads(line))["event"] == event]

    async def _until(self, true: Callable[[], Any]) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not true():
                assert self._process is not None
                assert self._process.returncode is None, self._log
                await asyncio.sleep(0.01)


def _of_attempts(marker: str, seen: Counter[str], record: UsageRecord | None) -> list[str]:
    """A lost exchange may say one attempt more: it was killed before the first byte arrived."""
    if record is None:
        return [f"request {marker} was seen by {dict(seen)} and has no record"]
    said = Counter(attempt.endpoint for attempt in record.attempts if attempt.sent)
    too_few, too_many = seen - said, said - seen
    if too_few or too_many.total() > (record.outcome == "lost"):
        return [f"request {marker} was seen by {dict(seen)}, its record says {dict(said)}, {record.outcome}"]
    return []


@asynccontextmanager
async def doomed(folder: Path, *, workers: int = 1, usage: str = "", seed: int = 0) -> AsyncIterator[Doomed]:
    """A gateway that has not been started yet; its process does not outlive the context."""
    simulator = Simulator(KEYS)
    await simulator.start()
    gateway = Doomed(folder, simulator, workers=workers, usage=usage, seed=seed)
    simulator.faults.add("status=503", key="key-of-a", model=PRO)
    try:
        yield gateway
    finally:
        if gateway._process is not None and gateway._process.returncode is None:
            with suppress(ProcessLookupError):
                gateway._process.kill()
            await gateway._process.wait()
        await simulator.stop()
