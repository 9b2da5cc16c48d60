"""The gateway as its users see it: a URL, a routes file, the command `weir`, and the usage log.

Tests of real clients ask it for a key, run the client, and read back what was recorded of it. Nothing of
the code under test is imported but the record's published form.
"""

import subprocess
import sys
import time
from pathlib import Path

import msgspec

from proxy.record import UsageRecord

WEIR = Path(sys.executable).with_name("weir")
UPSTREAM_KEY = "the-endpoints-own-key"
UPSTREAM_KEY_VARIABLE = "WEIR_TEST_UPSTREAM_KEY"
TEAM = "studio"
FLUSH_SECONDS = 60.0  # the log is flushed every 50 ms; the rest is for a busy machine
POLL_SECONDS = 0.02

ROUTES = """\
[server]
listen = "127.0.0.1:{port}"
admin = "127.0.0.1:{admin_port}"
state = "state"

[upstreams.gemini]
[[upstreams.gemini.endpoints]]
name = "simulator"
url = "{upstream}"
region = "global"
credential = {{ api_key = "env:{variable}" }}

[teams.acme]
limits = [ {{ tokens = 100_000_000, per = "day" }} ]

[teams.studio]
parent = "acme"
models = ["gemini-*", "no-such-model"]
limits = [ {{ requests = 100_000, per = "minute" }}, {{ concurrent = 100 }} ]

[plugins.auth]
keys = "keys.toml"

[plugins.usage]
use = "usage_log"

[[routes]]
name = "gemini"
match = "/**"
upstream = "gemini"
plugins = ["usage", "auth", "team_quota", "regional_routing", "circuit_breaker"]
"""


class Gateway:
    """A gateway's folder before it runs, and its address and log while it does."""

    def __init__(self, folder: Path, port: int, admin_port: int, upstream: str) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.ready_url = f"http://127.0.0.1:{admin_port}/readyz"
        self.routes = folder / "routes.toml"
        self.routes.write_text(
            ROUTES.format(port=port, admin_port=admin_port, upstream=upstream, variable=UPSTREAM_KEY_VARIABLE)
        )
        self.key = self._new_key()
        self._usage = folder / "state" / "usage"

    @property
    def key_id(self) -> str:
        """The part of a team key's text that names it."""
        return self.key.split("_")[1]

    @property
    def records(self) -> list[UsageRecord]:
        """Every record so far, in the order in which the exchanges ended."""
        lines = [
            line
            for path in sorted(self._usage.glob("usage-*.jsonl"))
            for line in path.read_bytes().splitlines(keepends=True)
            if line.endswith(b"\n")  # a line without its end is still being written
        ]
        return [msgspec.json.decode(line, type=UsageRecord) for line in lines]

    def records_after(self, seen: int, count: int) -> list[UsageRecord]:
        """The records after the first `seen`, once there are `count` of them."""
        deadline = time.monotonic() + FLUSH_SECONDS
        while len(found := self.records[seen:]) < count and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        return found

    def _new_key(self) -> str:
        command = [str(WEIR), "keys", "new", "--team", TEAM, "-c", str(self.routes)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()
