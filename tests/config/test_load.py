"""The routes file: what a good one becomes, and what each bad one is told."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from proxy import Limit
from proxy.config.bind import ConfigError
from proxy.config.load import load
from proxy.config.schema import Settings
from proxy.endpoint import ApiKey, GoogleAccount

ROOT = Path(__file__).parents[2]

GOOD = """
[server]
listen = "127.0.0.1:8080"
state = "var"
timeouts = { first_byte = "20m" }
sizes = { replay = "2 MiB" }

[upstreams.gemini]
[[upstreams.gemini.endpoints]]
name = "studio-a"
url = "https://generativelanguage.googleapis.com/"
credential = { api_key = "env:WEIR_TEST_KEY" }
[[upstreams.gemini.endpoints]]
name = "vertex"
url = "https://aiplatform.googleapis.com"
region = "eu"
priority = 1
credential = { google = "default" }

[teams.acme]
limits = [{ requests = 10, per = "minute" }]
[teams.studio]
parent = "acme"
models = ["gemini-*"]
limits = [{ tokens = 1000, per = "day" }, { concurrent = 4 }]

[plugins.usage]
use = "usage_log"

[[routes]]
name = "gemini"
match = "/**"
upstream = "gemini"
plugins = ["usage", "auth", "team_quota"]
"""


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEIR_TEST_KEY", "AIza-secret")
    monkeypatch.setenv("WEIR_TWO_LINES", "AIza-secret\nanother")


def settings_of(text: str, folder: Path) -> Settings:
    file = folder / "routes.toml"
    file.write_text(text)
    return load(file)


def problems_of(text: str, folder: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        settings_of(text, folder)
    return caught.value.problems


def test_a_good_file(tmp_path: Path) -> None:
    settings = settings_of(GOOD, tmp_path)
    studio, vertex = settings.upstreams["gemini"]
    assert studio.url == "https://generativelanguage.googleapis.com"
    assert isinstance(studio.credential, ApiKey)
    assert studio.credential.secret.reveal() == "AIza-secret"
    assert vertex.credential == GoogleAccount("default")
    assert settings.teams["studio"].limits == (Limit("tokens", 1000, "day"), Limit("concurrent", 4, None))
    assert settings.server.state == tmp_path / "var"
    assert settings.server.timeouts.first_byte == 1200.0
    assert settings.server.sizes.replay == 2 << 20
    assert list(settings.plugins) == ["usage", "auth", "team_quota"]
    assert settings.warnings == ()


def test_settings_never_show_the_secret(tmp_path: Path) -> None:
    assert "AIza-secret" not in repr(settings_of(GOOD, tmp_path))


def test_the_files_we_ship_are_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GEMINI_API_KEY", "SIMULATOR_KEY", "SIMULATOR_KEY_B"):
        monkeypatch.setenv(name, "x")
    assert load(ROOT / "config/routes.toml").routes[0].name == "gemini"
    assert load(ROOT / "config/dev.toml").routes[0].name == "simulator"


def test_a_file_read_twice_is_equal(tmp_path: Path) -> None:
    """So that a reload keeps every plugin whose table did not change."""
    first, second = settings_of(GOOD, tmp_path), settings_of(GOOD, tmp_path)
    assert first == second


def swap(old: str, new: str, times: int = -1) -> str:
    assert old in GOOD
    return GOOD.replace(old, new, times)


BAD: dict[str, tuple[str, str]] = {
    "broken TOML": (GOOD + "\n[", "not valid TOML: "),
    "unknown table": (GOOD + "\n[serverr]\n", 'unknown table "serverr"; known are: server, upstreams'),
    "unknown key": (swap('state = "var"', 'stat = "var"'), 'server: unknown key "stat"; known are: listen, admin'),
    "nested unknown key": (
        swap("first_byte", "first_bite"),
        'server.timeouts: unknown key "first_bite"; known are: connect',
    ),
    "wrong type": (
        swap("priority = 1", 'priority = "1"'),
        'upstreams.gemini.endpoints[1].priority: expected "int", got "str"',
    ),
    "missing key": (swap('name = "vertex"\n', ""), 'upstreams.gemini.endpoints[1]: the key "name" is missing'),
    "bad duration": (swap('"20m"', '"20 minutes"'), 'server.timeouts.first_byte: expected a duration such as "250ms"'),
    "bad size": (swap('"2 MiB"', '"2 megs"'), "server.sizes.replay: expected a size"),
    "secret in the file": (swap("env:WEIR_TEST_KEY", "AIza-in-the-open"), "a secret is never written here"),
    "secret not set": (
        swap("env:WEIR_TEST_KEY", "env:WEIR_UNSET"),
        "the environment variable WEIR_UNSET is not set; export WEIR_UNSET=...",
    ),
    "secret file": (swap("env:WEIR_TEST_KEY", "file:nowhere.txt"), "cannot read the secret's file nowhere.txt"),
    "two credentials": (
        swap('google = "default"', 'google = "default", api_key = "env:WEIR_TEST_KEY"'),
        "expected one of api_key and google",
    ),
    "url with a path": (
        swap("aiplatform.googleapis.com", "aiplatform.googleapis.com/v1"),
        'endpoints.vertex.url: expected "https://HOST" without a path',
    ),
    "url in the clear": (
        swap("https://aiplatform.googleapis.com", "http://aiplatform.googleapis.com"),
        "would send the credential in the clear",
    ),
    "address": (swap("127.0.0.1:8080", "8080"), 'server.listen: expected "HOST:PORT", found "8080"'),
    "same endpoint twice": (swap('"vertex"', '"studio-a"'), 'two endpoints are named "studio-a"'),
    "unknown parent": (swap('parent = "acme"', 'parent = "acne"'), 'teams.studio.parent: there is no team "acne"'),
    "circle of parents": (swap("[teams.acme]\n", '[teams.acme]\nparent = "studio"\n'), "form a circle"),
    "limit without a window": (
        swap('{ tokens = 1000, per = "day" }', "{ tokens = 1000 }"),
        'teams.studio.limits[0]: tokens needs per = "minute"',
    ),
    "window without need": (swap("{ concurrent = 4 }", '{ concurrent = 4, per = "day" }'), "concurrent has no per"),
    "two in one limit": (
        swap("{ concurrent = 4 }", "{ concurrent = 4, requests = 4 }"),
        "expected one of requests, tokens, images, concurrent",
    ),
    "unknown window": (
        swap('per = "day"', 'per = "fortnight"'),
        'teams.studio.limits[0].per: expected one of "second", "minute", "hour", "day", "month", found "fortnight"',
    ),
    "unknown road": (
        swap("[server]\n", '[server]\nroad = "slow"\n'),
        'server.road: expected one of "fast", "plain", found "slow"',
    ),
    "unknown upstream": (
        swap('upstream = "gemini"', 'upstream = "gemmini"'),
        'routes.gemini.upstream: there is no upstream "gemmini"; there are: gemini',
    ),
    "unknown plugin": (
        swap('"team_quota"]', '"team_quotas"]'),
        'no plugin is installed under the name "team_quotas"; installed are: auth',
    ),
    "plugin not importable": (
        swap('use = "usage_log"', 'use = "no_such_module:Plugin"'),
        "put its folder on PYTHONPATH",
    ),
    "not a plugin": (swap('use = "usage_log"', 'use = "pathlib:Path"'), "is not a class derived from proxy.Plugin"),
    "plugin's key": (
        swap('use = "usage_log"', 'use = "usage_log"\nflush = 1'),
        'plugins.usage: unknown key "flush"; known are:',
    ),
    "order": (
        swap('"auth", "team_quota"', '"team_quota", "auth"'),
        '"team_quota" needs principal, which no plugin before it provides; put "auth" before it',
    ),
    "plugin twice": (
        swap('"auth", "team_quota"', '"auth", "auth"'),
        'routes.gemini.plugins: "auth" stands there twice',
    ),
    "route's plugins": (
        swap('plugins = ["usage", "auth", "team_quota"]', "plugins = 5"),
        'routes.gemini.plugins: expected "array"',
    ),
    "use": (
        swap('use = "usage_log"', "use = 5"),
        'plugins.usage: use: expected "NAME" or "package.module:Class", found 5',
    ),
    "endpoints as a table": (
        swap("[upstreams.gemini]", "[upstreams.other.endpoints]"),
        'upstreams.other.endpoints: expected "array", got "object"',
    ),
    "url that is none": (
        swap("https://aiplatform.googleapis.com", "https://[bad"),
        'expected "https://HOST" without a path',
    ),
    "url with a fragment": (
        swap("aiplatform.googleapis.com", "aiplatform.googleapis.com#x"),
        'expected "https://HOST" without a path',
    ),
    "url with a port": (
        swap("aiplatform.googleapis.com", "aiplatform.googleapis.com:99999"),
        'expected "https://HOST" without a path',
    ),
    "url like loopback": (
        swap("https://aiplatform.googleapis.com", "http://127.evil.example"),
        "would send the credential in the clear",
    ),
    "no time at all": (swap('"20m"', '"0s"'), "server.timeouts.first_byte: expected more than 0s"),
    "short seal": (
        swap('state = "var"', 'state = "var"\nseal = "env:WEIR_TEST_KEY"'),
        "server.seal: expected at least 32 characters",
    ),
    "no life": (
        swap('state = "var"', 'state = "var"\nupload_life = "0s"'),
        "server.upload_life: expected more than 0s",
    ),
    "public url without a scheme": (
        swap('state = "var"', 'state = "var"\npublic_url = "gw.example"'),
        'server.public_url: expected "https://HOST", with a path or without, found "gw.example"',
    ),
    "public url with a query": (
        swap('state = "var"', 'state = "var"\npublic_url = "https://gw.example/?x=1"'),
        "server.public_url: expected",
    ),
    "secret as a number": (swap('"env:WEIR_TEST_KEY"', "12345678"), "credential.api_key: expected text, found int"),
    "secret of two lines": (swap("env:WEIR_TEST_KEY", "env:WEIR_TWO_LINES"), "the secret holds a line break"),
    "match": (swap('match = "/**"', 'match = "**"'), 'routes.gemini.match: expected a path that starts with "/"'),
    "no routes": (GOOD.partition("[[routes]]")[0], "routes: expected at least one [[routes]]"),
    "no workers": (swap('state = "var"', 'state = "var"\nworkers = 0'), "server.workers: expected 1 or more, found 0"),
    "no connections": (
        swap('state = "var"', 'state = "var"\nconnections = 0'),
        "server.connections: expected 1 or more, found 0",
    ),
    "limits counted apart": (
        swap('state = "var"', 'state = "var"\nworkers = 4'),
        "server.workers: each of 4 workers would count the limits of acme, studio for itself; use workers = 1 until",
    ),
    "uploads sealed apart": (
        swap('state = "var"', 'state = "var"\nworkers = 4'),
        "server.seal: an upload begun at one worker goes on at another, which must know its seal; add seal = ",
    ),
    "half a tls": (
        swap('state = "var"', 'state = "var"\ntls = { certificate = "cert.pem" }'),
        'server.tls: the key "key" is missing',
    ),
    "store to come": (
        swap('state = "var"', 'state = "var"\nstore = "valkey://localhost:6379/0"'),
        'server.store: only "memory" is built yet',
    ),
    "money to come": (
        swap("{ concurrent = 4 }", '{ usd = 50, per = "day" }'),
        "teams.studio: usd: money limits come with the price list",
    ),
    "vertex to come": (
        swap('region = "eu"', 'region = "eu"\nvertex = { project = "p" }'),
        "upstreams.gemini: vertex: project, location and throughput",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_told_what_and_where(case: str, tmp_path: Path) -> None:
    text, expected = BAD[case]
    problems = problems_of(text, tmp_path)
    assert any(expected in problem for problem in problems), problems
    assert not any("AIza" in problem for problem in problems)


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    text = swap("[teams.acme]", "[teams.acne]").replace("priority = 1", "priority = true").replace('"/**"', '"x"')
    assert len(problems_of(text, tmp_path)) == 3


def test_limits_that_nobody_keeps_are_warned_of(tmp_path: Path) -> None:
    settings = settings_of(swap('"auth", "team_quota"', '"auth"'), tmp_path)
    assert settings.warnings == ("routes.gemini: no plugin keeps the limits of acme, studio",)
    settings = settings_of(swap('"usage", "auth", "team_quota"', '"usage"'), tmp_path)
    assert "everybody who reaches the port may use your keys" in settings.warnings[0]


def test_several_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEIR_TEST_SEAL", "s" * 32)
    text = swap('state = "var"', 'state = "var"\nworkers = 4\nseal = "env:WEIR_TEST_SEAL"').replace("limits = [", "# [")
    settings = settings_of(text.replace('"team_quota"]', '"team_quota", "pacing"]'), tmp_path)
    assert settings.server.workers == 4
    assert settings.warnings == ("plugins.pacing: each of 4 workers keeps a pace of its own; endpoints see their sum",)


def test_tls_files_start_at_the_folder_of_the_file(tmp_path: Path) -> None:
    text = swap('state = "var"', 'state = "var"\ntls = { certificate = "tls/cert.pem", key = "/etc/key.pem" }')
    tls = settings_of(text, tmp_path).server.tls
    assert tls is not None
    assert (tls.certificate, tls.key) == (tmp_path / "tls" / "cert.pem", Path("/etc/key.pem"))


def test_a_missing_secret_hides_nothing_else(tmp_path: Path) -> None:
    text = swap("env:WEIR_TEST_KEY", "env:WEIR_UNSET").replace("priority = 1", "priorty = 1")
    unset, unknown = problems_of(text, tmp_path)
    assert "WEIR_UNSET is not set" in unset
    assert 'upstreams.gemini.endpoints[1]: unknown key "priorty"' in unknown


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read it: No such file or directory; name another with -c FILE"):
        load(tmp_path / "none.toml")


@pytest.mark.parametrize("url", ["https://gw.example", "https://gw.example:8443/gemini/v2/", "http://[::1]:8080"])
def test_what_callers_call_us(url: str, tmp_path: Path) -> None:
    text = swap('state = "var"', f'state = "var"\npublic_url = "{url}"\nupload_life = "1h"')
    server = settings_of(text, tmp_path).server
    assert (server.public_url, server.upload_life, server.seal) == (url, 3600.0, None)


def test_commands_that_need_no_secret_ask_for_none(tmp_path: Path) -> None:
    file = tmp_path / "routes.toml"
    text = swap("env:WEIR_TEST_KEY", "env:WEIR_UNSET")
    file.write_text(text.replace('state = "var"', 'state = "var"\nseal = "env:WEIR_UNSET"'))
    credential = load(file, with_secrets=False).upstreams["gemini"][0].credential
    assert isinstance(credential, ApiKey)
    assert credential.secret.reveal() == ""


@pytest.mark.parametrize("value", [1, [1], "x", True])
@pytest.mark.parametrize("table", ["server", "upstreams", "teams", "plugins", "routes"])
def test_the_wrong_kind_of_table_is_no_traceback(table: str, value: Any, tmp_path: Path) -> None:
    text = f"{table} = {msgspec.json.encode(value).decode()}\n" + "".join(
        part for part in GOOD.split("\n\n") if not part.strip().startswith((f"[{table}", f"[[{table}"))
    )
    assert problems_of(text, tmp_path)
