"""What the documents promise is what the code does: names, tables and the example are read from the README."""

import asyncio
import inspect
import json
import re
import tomllib
from pathlib import Path

import msgspec
import pytest

from proxy import AttemptRecord, Outcome, Plugin, Usage, UsageRecord, UsageState
from proxy.cli import weir
from proxy.cli.schema import routes_schema
from proxy.cli.usage import usage
from proxy.config.discovery import find_plugin, installed_plugins
from proxy.config.schema import EndpointTable, LimitTable, RouteTable, Server, Sizes, TeamTable, Timeouts
from tests.support.gateway import gateway, routes
from tests.support.raw import answers, raw_upstream, request_bytes, send_bytes

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def section(title: str) -> str:
    return README.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def code(language: str, text: str) -> str:
    match = re.search(rf"```{language}\n(.*?)```", text, re.DOTALL)
    assert match is not None
    return match[1]


@pytest.mark.parametrize("shape", [UsageRecord, AttemptRecord, Usage])
def test_every_field_of_the_record_is_explained(shape: type[msgspec.Struct]) -> None:
    missing = [name for name in shape.__struct_fields__ if f"`{name}`" not in section("The usage record")]
    assert missing == []


@pytest.mark.parametrize("values", [Outcome, UsageState])
def test_every_value_is_named(values: type[Outcome] | type[UsageState]) -> None:
    assert [value for value in values if f"`{value}`" not in section("The usage record")] == []


@pytest.mark.parametrize("shape", [Server, Timeouts, Sizes, EndpointTable, TeamTable, LimitTable, RouteTable])
def test_every_key_of_the_routes_file_is_named(shape: type[msgspec.Struct]) -> None:
    text = section("The routes file")
    keys = set(shape.__struct_fields__) - {"timeouts", "sizes"}
    assert [key for key in keys if not re.search(rf"[`{{ ]{key}\b", text)] == []


@pytest.mark.parametrize("name", installed_plugins())
def test_every_plugin_and_its_settings_are_named(name: str) -> None:
    row = next(line for line in section("The routes file").splitlines() if line.startswith(f"| `{name}` |"))
    fields = msgspec.structs.fields(find_plugin(name).Config)
    assert [field.name for field in fields if f"{field.name}" not in row] == []


def test_every_command_is_named() -> None:
    groups = {group.name for group in weir.registered_groups}
    commands = {command.callback.__name__ for command in weir.registered_commands if command.callback}
    assert [name for name in groups | commands if f"`weir {name}" not in section("Commands")] == []
    of_usage = {command.callback.__name__ for command in usage.registered_commands if command.callback}
    assert [name for name in of_usage if f"`weir usage {name}" not in section("Commands")] == []


def test_every_hook_is_in_the_plugin_guide() -> None:
    guide = (ROOT / "docs/plugins.md").read_text()
    hooks = [name for name, value in vars(Plugin).items() if inspect.isfunction(value) and not name.startswith("_")]
    assert [name for name in hooks if f"{name}(" not in guide] == []
    assert [name for name in ("principal", "candidates", "labels") if name not in guide] == []


def test_links_lead_somewhere() -> None:
    for document in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md")):
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_the_schema_in_docs_is_the_one_the_command_prints() -> None:
    """Renew it with: weir schema > docs/routes.schema.json"""
    assert json.loads((ROOT / "docs/routes.schema.json").read_text()) == json.loads(
        msgspec.json.encode(routes_schema())
    )


async def test_the_example_plugin_works_from_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = section("Write a plugin")
    (tmp_path / "cost_center.py").write_text(code("python", text))
    monkeypatch.syspath_prepend(tmp_path)
    table = tomllib.loads(code("toml", text))["plugins"]["cost_center"]
    more = f'[plugins.cost_center]\nuse = "{table["use"]}"\nallowed = {table["allowed"]}\n'
    ok = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    async with raw_upstream(answers(ok)) as upstream:
        file = routes(upstream.url, plugins='["usage", "cost_center"]', more=more)
        async with gateway(tmp_path, file, monkeypatch) as running:
            told, refused = await asyncio.gather(
                send_bytes(running.host, running.port, request_bytes("X-Cost-Center: research", method="GET")),
                send_bytes(running.host, running.port, request_bytes(method="GET")),
            )
    assert told.startswith(b"HTTP/1.1 200 ")
    assert refused.startswith(b"HTTP/1.1 400 ")
    assert b"Send a known cost center as x-cost-center." in refused
    by_status = {record.status: record for record in running.records()}
    assert by_status[200].labels == {"cost_center": "research"}
    assert by_status[400].reason == "NO_COST_CENTER"


def test_the_example_is_about_twenty_lines() -> None:
    assert len(code("python", section("Write a plugin")).splitlines()) <= 22
