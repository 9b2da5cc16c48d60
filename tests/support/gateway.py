"""A whole gateway inside the test's loop, on real sockets: only the process is not its own."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
from jsonschema import Draft202012Validator

from proxy import UsageRecord
from proxy.app import App
from proxy.cli.usage.schema import record_schema
from proxy.config.load import load

TEAM_KEYS = """
[[keys]]
id = "k1"
team = "studio"
sha256 = "{sha256}"
created = 2026-01-01T00:00:00Z
"""


_published = Draft202012Validator(record_schema())


class Gateway:
    """One running `App` and its usage log."""

    def __init__(self, app: App, file: Path) -> None:
        self.app = app
        self.file = file
        host, port = app.public.address
        self.host, self.port = host, port
        self.url = f"http://{host}:{port}"
        self.admin = "http://{}:{}".format(*app.admin.address)

    def records(self) -> list[UsageRecord]:
        """Every record written so far; complete once the gateway has stopped."""
        lines = [
            line
            for file in sorted((self.file.parent / "var" / "usage").glob("usage-*.jsonl"))
            for line in file.read_bytes().splitlines()
        ]
        for line in lines:
            _published.validate(msgspec.json.decode(line))  # what others read it by
        return [msgspec.json.decode(line, type=UsageRecord) for line in lines]


def routes(*upstreams: str, plugins: str = '["usage"]', server: str = "", route: str = "", more: str = "") -> str:
    """A routes file in front of these base URLs, in this order of priority, named a, b, c."""
    endpoints = "".join(
        f"""
[[upstreams.u.endpoints]]
name = "{"abcdef"[number]}"
url = "{url}"
priority = {number}
credential = {{ api_key = "env:WEIR_TEST_KEY_{"ABCDEF"[number]}" }}
"""
        for number, url in enumerate(upstreams)
    )
    return f"""
[server]
listen = "127.0.0.1:0"
admin = "127.0.0.1:0"
state = "var"
{server}
[upstreams.u]
{endpoints}
[plugins.usage]
use = "usage_log"
{more}
[[routes]]
name = "all"
match = "/**"
upstream = "u"
plugins = {plugins}
{route}
"""


@asynccontextmanager
async def gateway(folder: Path, text: str, monkeypatch: Any) -> AsyncIterator[Gateway]:
    """Start a gateway with this routes file; stopped, and its log complete, when the context ends."""
    for letter in "ABCDEF":
        monkeypatch.setenv(f"WEIR_TEST_KEY_{letter}", f"key-of-{letter.lower()}")
    file = folder / "routes.toml"
    file.write_text(text)
    app = App(await asyncio.to_thread(load, file))
    await app.start()
    running = Gateway(app, file)
    try:
        yield running
    finally:
        await app.stop()
