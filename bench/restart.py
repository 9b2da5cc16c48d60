"""Rolling restarts under load: what callers lose, on connections that stay and on new ones each time.

    python bench/restart.py [--requests 100000] [--restarts 20] [--callers 32] [--loop uvloop | asyncio]

Two workers before an endpoint that answers at once; the restarts are spread over the requests of each mode. Prints
what failed, and compares the usage log with what was answered. Goal: nothing fails, one record a request.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.support.load import Load, quick
from tests.support.raw import raw_upstream

ROUTES = """
[server]
listen = "127.0.0.1:0"
admin = "127.0.0.1:0"
workers = 2
seal = "env:BENCH_SEAL"
[[upstreams.bench.endpoints]]
name = "bench"
url = "{upstream}"
credential = {{ api_key = "env:BENCH_UPSTREAM_KEY" }}
[plugins.usage]
use = "usage_log"
[[routes]]
name = "all"
match = "/**"
upstream = "bench"
plugins = ["usage", "circuit_breaker"]
"""
WAIT_SECONDS = 60.0


class Gateway:
    """The supervisor's process, and its log in a folder apart from the routes file."""

    def __init__(self, folder: Path) -> None:
        self._log = folder / "log"
        self.process: asyncio.subprocess.Process

    def named(self, event: str) -> list[dict[str, object]]:
        lines = [line for line in self._log.read_text().splitlines(keepends=True) if line.endswith("\n")]
        return [said for line in lines if line[0] == "{" and (said := json.loads(line))["event"] == event]

    async def start(self, file: Path, environment: dict[str, str]) -> int:
        """The port."""
        words = [sys.executable, "-m", "proxy", "serve", "-c", str(file)]
        with self._log.open("wb") as log:
            self.process = await asyncio.create_subprocess_exec(*words, env=environment, stdout=log, stderr=log)
        await self.until("supervising", 1)
        return int(str(self.named("supervising")[0]["url"]).rpartition(":")[2])

    async def until(self, event: str, count: int) -> None:
        async with asyncio.timeout(WAIT_SECONDS):
            while len(self.named(event)) < count:
                await asyncio.sleep(0.02)


async def main(requests: int, restarts: int, callers: int, loop: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = folder / "config"
        config.mkdir()
        environment = os.environ | {"BENCH_SEAL": "s" * 32, "BENCH_UPSTREAM_KEY": "key-of-the-endpoint"}
        if loop == "asyncio":
            (folder / "without").mkdir()
            (folder / "without" / "uvloop.py").write_text("raise ImportError\n")
            environment["PYTHONPATH"] = str(folder / "without")
        async with raw_upstream(quick()) as upstream:
            (config / "routes.toml").write_text(ROUTES.format(upstream=upstream.url))
            gateway = Gateway(folder)
            port = await gateway.start(config / "routes.toml", environment)
            answered = done = 0
            for mode in ("staying", "closing"):
                began = time.monotonic()
                async with Load("127.0.0.1", port).of(**{mode: callers}) as load:
                    for _ in range(restarts):
                        await load.more(requests // restarts)
                        gateway.process.send_signal(signal.SIGUSR2)
                        done += 1
                        await gateway.until("restarted", done)
                    await asyncio.sleep(2.0)  # the last of the old ones leave
                answered += load.answered
                took = time.monotonic() - began
                print(
                    f"{loop}, connections {mode}: {len(load.failures)} failed of {load.answered:,} "
                    f"with {restarts} restarts, {callers} callers, {took:.0f} s",
                    flush=True,
                )
                for _, what in load.failures[:5]:
                    print(f"  {what}")
            gateway.process.terminate()
            status = await gateway.process.wait()
        records = sum(len(file.read_bytes().splitlines()) for file in (config / "var" / "usage").glob("usage-*.jsonl"))
        print(f"{loop}: exit status {status}; {answered:,} answered, {records:,} records", flush=True)


if __name__ == "__main__":
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--requests", type=int, default=100_000, help="at least so many in each mode")
    words.add_argument("--restarts", type=int, default=20)
    words.add_argument("--callers", type=int, default=32)
    words.add_argument("--loop", choices=("uvloop", "asyncio"), default="uvloop")
    asyncio.run(main(**vars(words.parse_args())))
