"""`weir check`: what a good file means, and everything that is wrong with a bad one, each by its key."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from proxy.cli import weir

ROOT = Path(__file__).parents[2]
FILE = """
[server]
admin = "{admin}"
[upstreams.u]
[[upstreams.u.endpoints]]
name = "spare"
url = "https://spare.example"
region = "eu"
priority = 1
weight = 3
credential = {{ api_key = "env:WEIR_TEST_KEY" }}
[[upstreams.u.endpoints]]
name = "main"
url = "https://main.example"
credential = {{ api_key = "env:WEIR_TEST_KEY" }}
[teams.studio]
{team}
[plugins.auth]
keys = "keys.toml"
[plugins.breaker]
use = "circuit_breaker"
{breaker}
[[routes]]
name = "files"
match = "/v1beta/files/**"
upstream = "u"
plugins = ["auth"]
on_disconnect = "cancel"
[[routes]]
name = "all"
match = "/**"
upstream = "u"
plugins = {plugins}
"""


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEIR_TEST_KEY", "planted")


def check(
    folder: Path,
    *,
    admin: str = "127.0.0.1:9090",
    team: str = "",
    breaker: str = "",
    plugins: str = '["auth", "team_quota", "breaker"]',
) -> Result:
    file = folder / "routes.toml"
    file.write_text(FILE.format(admin=admin, team=team, breaker=breaker, plugins=plugins))
    return CliRunner().invoke(weir, ["check", "-c", str(file)])


def test_a_good_file_shows_each_route_s_onion(tmp_path: Path) -> None:
    result = check(tmp_path)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines()[:13] == [
        "files  /v1beta/files/**",
        "└── auth  before each exchange",
        "    └── u  on_disconnect = cancel",
        "        ├── main  global  priority 0  weight 1  https://main.example",
        "        └── spare  eu  priority 1  weight 3  https://spare.example",
        "all  /**",
        "└── auth  before each exchange",
        "    └── team_quota  around each exchange",
        "        └── breaker  around each attempt",
        "            └── u  on_disconnect = drain",
        "                ├── main  global  priority 0  weight 1  https://main.example",
        "                └── spare  eu  priority 1  weight 3  https://spare.example",
        "teams: studio",
    ]
    none = f"prices: without a price file every record is unpriced; there is no {tmp_path / 'prices.toml'}"
    assert result.stdout.splitlines()[13] == none
    assert result.stdout.splitlines()[14].startswith("uploads: without [server] seal, uploads under way end with this")
    assert result.stdout.replace("\n", "").endswith("routes.toml is valid")


def test_the_price_file_is_checked_with_it(tmp_path: Path) -> None:
    prices = tmp_path / "prices.toml"
    prices.write_text((ROOT / "config" / "prices.toml").read_text() + "[lists.resale]\nfactor = 0.375\n")
    result = check(tmp_path, team='prices = "resale"\nmodels = ["gemini-*", "gemnii-*", "nano-*"]')
    assert result.exit_code == 0
    assert result.stderr == (
        'warning: teams.studio.models: "gemnii-*" fits no model of prices.toml; its calls will be unpriced\n'
    )
    assert re.search(rf"^prices: 2026-11-21\.[0-9a-f]{{8}}  {re.escape(str(prices))}$", result.stdout, re.MULTILINE)
    assert not (tmp_path / "var").exists()

    prices.write_text(prices.read_text().replace("factor = ", "factr = "))
    result = check(tmp_path, team='prices = "resale"')
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f'{prices}: lists."resale": unknown key "factr"; known are: factor, currency')


def test_a_certificate_that_is_not_there(tmp_path: Path) -> None:
    result = check(tmp_path, admin='127.0.0.1:9090"\n[server.tls]\ncertificate = "cert.pem"\nkey = "key.pem')
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"server.tls: cannot read {tmp_path / 'cert.pem'}: No such file or directory" in result.stderr


def test_several_workers_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEIR_TEST_SEAL", "s" * 32)
    result = check(tmp_path, admin='127.0.0.1:9090"\nworkers = 3\nseal = "env:WEIR_TEST_SEAL')
    assert (result.exit_code, result.stderr) == (0, "")
    assert "workers: 3, with admin listeners from 127.0.0.1:9090 on" in result.stdout.splitlines()


@pytest.mark.parametrize("name", ["routes.toml", "dev.toml"])
def test_the_files_that_come_with_it_are_good(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("GEMINI_API_KEY", "SIMULATOR_KEY", "SIMULATOR_KEY_B"):
        monkeypatch.setenv(variable, "a-key")
    result = CliRunner().invoke(weir, ["check", "-c", str(ROOT / "config" / name)])
    assert (result.exit_code, result.stderr) == (0, "")


def test_every_problem_is_told_and_by_its_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WEIR_TEST_KEY")
    result = check(
        tmp_path,
        admin="nine",
        team='limts = []\nlimits = [{ requests = 0, per = "minute" }]',
        breaker='failure = 1\nopen_for = "soon"',
        plugins='["team_quota", "auth", "nobody", "auth"]',
    )
    assert (result.exit_code, result.stdout) == (1, "")
    problems = [line.removeprefix(f"{tmp_path / 'routes.toml'}: ") for line in result.stderr.splitlines()]
    for told in (
        'server.admin: expected "HOST:PORT", found "nine"',
        "upstreams.u.endpoints[0].credential.api_key: the environment variable WEIR_TEST_KEY is not set",
        'teams.studio: unknown key "limts"; known are: parent, tier, models, regions, limits, prices',
        "plugins.breaker",
        'plugins.nobody: no plugin is installed under the name "nobody"',
        'routes.all.plugins: "auth" stands there twice',
    ):
        assert [problem for problem in problems if problem.startswith(told)], told


def test_what_only_the_plugin_can_tell_is_told_too(tmp_path: Path) -> None:
    result = check(tmp_path, breaker="failures = 0")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"{tmp_path / 'routes.toml'}: plugins.breaker: failures: expected 1 or more, found 0\n"


def test_a_wrong_order_is_told_with_its_cure(tmp_path: Path) -> None:
    result = check(tmp_path, plugins='["team_quota", "auth"]')
    assert result.exit_code == 1
    assert 'routes.all.plugins: "team_quota" needs principal' in result.stderr
    assert 'put "auth" before it' in result.stderr


def test_warnings_do_not_make_it_invalid(tmp_path: Path) -> None:
    result = check(tmp_path, admin="0.0.0.0:9090", plugins="[]")
    assert result.exit_code == 0
    assert result.stderr.splitlines() == [
        "warning: server.admin: 0.0.0.0:9090 can be reached from outside; it has no login",
        "warning: routes.all: no plugin asks who calls; everybody who reaches the port may use your keys",
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "cannot read it: No such file or directory; name another with -c FILE"),
        ("[server", "not valid TOML: Expected ']' at the end of a table declaration"),
        ("", "routes: expected at least one [[routes]]"),
    ],
)
def test_a_file_that_is_none(text: str | None, told: str, tmp_path: Path) -> None:
    file = tmp_path / "routes.toml"
    if text is not None:
        file.write_text(text)
    result = CliRunner().invoke(weir, ["check", "-c", str(file)])
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"{file}: {told}")


def test_it_touches_nothing_and_shows_no_secret(tmp_path: Path) -> None:
    result = check(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["routes.toml"]
    assert "planted" not in result.output
