"""The stage of the measurements here: a simulator and a gateway as processes of their own, on loopback.

Every script in this folder starts one, loads it within bounds of count and time, and ends what it started. The
gateway has all its plugins on; its figures come from its own /metrics.
"""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

PRICES = Path(__file__).parents[1] / "config" / "prices.toml"
ROUTES = """
[server]
listen = "127.0.0.1:{port}"
admin = "127.0.0.1:{admin}"
state = "var"
prices = "{prices}"
drains = 1000
{server}
[[upstreams.simulator.endpoints]]
name = "simulator"
url = "{upstream}"
credential = {{ api_key = "env:BENCH_UPSTREAM_KEY" }}
[teams.bench]
limits = [{{ requests = 1_000_000_000, per = "minute" }}, {{ tokens = 1_000_000_000_000, per = "minute" }}]
[plugins.auth]
keys = "keys.toml"
[plugins.usage]
use = "usage_log"
[[routes]]
name = "all"
match = "/**"
upstream = "simulator"
plugins = ["usage", "auth", "team_quota", "regional_routing", "circuit_breaker"]
"""
PROMPT = b'{"contents":[{"parts":[{"text":"Hello"}]}],"generationConfig":{"maxOutputTokens":100}}'
WAIT_SECONDS = 20.0


class Stage:
    """A running pair. `key` is a team key; `folder` holds the usage log under var/usage."""

    def __init__(self, folder: Path, port: int, admin: int, upstream: str, key: str, gateway: int) -> None:
        self.folder = folder
        self.host = "127.0.0.1"
        self.port = port
        self.upstream = upstream
        self.key = key
        self.gateway = gateway  # its process id
        self._admin = admin

    def metrics(self) -> dict[str, float]:
        """Every series of the gateway's /metrics by its full name."""
        with urlopen(f"http://127.0.0.1:{self._admin}/metrics", timeout=30) as answer:
            lines = answer.read().decode().splitlines()
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[:1] != "#")}

    @property
    def memory_mb(self) -> float:
        """Resident memory of the gateway's process."""
        status = Path(f"/proc/{self.gateway}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

    @property
    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.gateway}/fd"))

    @property
    def processor_seconds(self) -> float:
        """User and system time of the gateway's process so far."""
        fields = Path(f"/proc/{self.gateway}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def request(self, target: str, *headers: str, body: bytes = PROMPT) -> bytes:
        """The bytes of one POST with the team's key."""
        head = [f"POST {target} HTTP/1.1", f"Host: {self.host}", f"x-goog-api-key: {self.key}", *headers]
        return "\r\n".join([*head, f"Content-Length: {len(body)}", "", ""]).encode() + body


@contextmanager
def stage(server: str = "", upstream: str | None = None) -> Iterator[Stage]:
    """`server`: further lines of [server]; `upstream`: a URL instead of the simulator."""
    weir = [sys.executable, "-m", "proxy"]
    environment = os.environ | {"BENCH_UPSTREAM_KEY": "key-of-the-endpoint"}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        port, admin, simulator = free_port(), free_port(), free_port()
        url = upstream or f"http://127.0.0.1:{simulator}"
        file = folder / "routes.toml"
        file.write_text(ROUTES.format(port=port, admin=admin, upstream=url, server=server, prices=PRICES))
        new_key = [*weir, "keys", "new", "--team", "bench", "-c", str(file)]
        key = subprocess.run(new_key, check=True, capture_output=True, text=True, env=environment).stdout.strip()
        children: list[subprocess.Popen[bytes]] = []
        try:
            if upstream is None:
                children.append(subprocess.Popen([*weir, "simulate", "--listen", f"127.0.0.1:{simulator}"]))
                _wait_for(simulator, children[-1])
            children.append(
                subprocess.Popen([*weir, "serve", "-c", str(file), "--log-level", "warning"], env=environment)
            )
            _wait_for(admin, children[-1])
            yield Stage(folder, port, admin, url, key, children[-1].pid)
        finally:
            for child in reversed(children):
                child.terminate()
                try:
                    child.wait(40)
                except subprocess.TimeoutExpired:
                    child.kill()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise SystemExit(f"nothing listens on port {port}")
