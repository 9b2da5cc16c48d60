"""`weir schema`: an editor that follows it accepts what the loader accepts, and complains where the loader would."""

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from typer.testing import CliRunner

from proxy.cli import weir

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    result = CliRunner().invoke(weir, ["schema"])
    assert (result.exit_code, result.stderr) == (0, "")
    schema = json.loads(result.stdout)
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def problems(validator: Draft202012Validator, text: str) -> list[str]:
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(tomllib.loads(text))]


def good() -> str:
    return (ROOT / "config" / "routes.toml").read_text()


@pytest.mark.parametrize("name", ["routes.toml", "dev.toml"])
def test_the_files_that_come_with_it_follow_it(name: str, validator: Draft202012Validator) -> None:
    assert problems(validator, (ROOT / "config" / name).read_text()) == []


def test_every_plugin_of_ours_has_its_table_in_it(validator: Draft202012Validator) -> None:
    tables: dict[str, Any] = validator.schema["$defs"]["RoutesFile"]["properties"]["plugins"]["properties"]
    assert set(tables) >= {"auth", "circuit_breaker", "pacing", "regional_routing", "team_quota", "usage_log"}


MORE = {
    "every timeout": '[server.timeouts]\nconnect = "250ms"\nfirst_byte = "1.5h"',
    "a plugin's own settings": '[plugins.circuit_breaker]\nfailures = 3\nopen_for = "10s"',
    "a plugin of somebody else's": '[plugins.mine]\nuse = "package.module:Class"\nanything = [1]',
    "an issuer": '[[plugins.auth.issuers]]\nissuer = "https://x"\naudience = ["weir"]\nteam = "studio"',
}


@pytest.mark.parametrize("more", MORE.values(), ids=MORE)
def test_it_accepts(more: str, validator: Draft202012Validator) -> None:
    document = tomllib.loads(good())
    for table, settings in tomllib.loads(more).items():
        _merge(document.setdefault(table, {}), settings)
    assert [error.message for error in validator.iter_errors(document)] == []


BAD = {
    "a table nobody knows": "[surver]",
    "a misspelt key": "[teams.other]\nlimts = []",
    "a duration without its unit": "[server.timeouts]\nconnect = 5",
    "a size in another unit": '[server.sizes]\nreplay = "1 MB"',
    "a window of nobody's": '[teams.other]\nlimits = [{ requests = 1, per = "week" }]',
    "a secret in the file": '[[upstreams.x.endpoints]]\nname = "x"\nurl = "x"\ncredential = { api_key = "AIza" }',
    "an endpoint without its URL": '[[upstreams.x.endpoints]]\nname = "x"',
    "a plugin's misspelt key": "[plugins.circuit_breaker]\nfailure = 3",
    "a plugin of somebody else's without use": "[plugins.mine]\nanything = 1",
    "a route without its upstream": '[[routes]]\nname = "x"\nmatch = "/**"',
    "another way to disconnect": '[[routes]]\nname = "x"\nmatch = "/"\nupstream = "gemini"\non_disconnect = "hang up"',
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_it_complains(bad: str, validator: Draft202012Validator) -> None:
    document = tomllib.loads(good())
    for table, settings in tomllib.loads(bad).items():
        if isinstance(settings, list):
            document[table] = settings
        else:
            _merge(document.setdefault(table, {}), settings)
    assert [error.message for error in validator.iter_errors(document)] != []


def _merge(into: dict[str, Any], more: dict[str, Any]) -> None:
    for name, value in more.items():
        if isinstance(value, dict) and isinstance(into.get(name), dict):
            _merge(into[name], value)
        else:
            into[name] = value
