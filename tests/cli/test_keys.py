"""`weir keys` as scripts and people use it: on files, by exit status and the two outputs."""

import re
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from plugins.auth.keys import digest, read
from proxy.cli.keys import keys

UPSTREAM = """
[[upstreams.u.endpoints]]
name = "a"
url = "https://a.example"
credential = { api_key = "env:WEIR_TEST_KEY_NOT_SET" }

[[routes]]
name = "all"
match = "/**"
upstream = "u"
"""

ROUTES = f"""
{UPSTREAM}
plugins = ["usage", "auth"]

[teams.acme]
[teams.studio]
parent = "acme"

[plugins.usage]
use = "usage_log"

[plugins.auth]
keys = "keys.toml"
"""


@pytest.fixture
def routes(tmp_path: Path) -> Path:
    file = tmp_path / "routes.toml"
    file.write_text(ROUTES)
    return file


def weir_keys(*arguments: str, config: Path) -> Result:
    return CliRunner().invoke(keys, [*arguments, "-c", str(config)])


def test_new_prints_the_key_alone_and_keeps_its_hash_alone(routes: Path) -> None:
    result = weir_keys("new", "--team", "studio", config=routes)
    assert result.exit_code == 0
    assert re.fullmatch(r"weir_[0-9a-f]{8}_[A-Za-z0-9_-]{43}\n", result.stdout)
    secret = result.stdout.strip()
    file = routes.with_name("keys.toml")
    (key,) = read(file)
    assert (key.team, key.sha256, key.expires) == ("studio", digest(secret), None)
    assert secret.startswith(f"weir_{key.id}_")
    assert secret not in file.read_text()
    assert secret not in result.stderr
    assert key.id in result.stderr


def test_new_keeps_the_other_keys(routes: Path) -> None:
    file = routes.with_name("keys.toml")
    weir_keys("new", "--team", "acme", "--note", "nightly", config=routes)
    before = tomllib.loads(file.read_text())["keys"]
    weir_keys("new", "--team", "studio", "--expires", "90d", config=routes)
    after = tomllib.loads(file.read_text())["keys"]
    assert after[:1] == before
    assert after[1]["expires"] - after[1]["created"] == timedelta(days=90)
    assert abs(after[1]["created"] - datetime.now(UTC)) < timedelta(minutes=1)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["new", "--team", "studoi"], 'team "studoi" is not in'),
        (["new", "--team", "studoi"], "acme, studio"),
        (["new", "--team", "studio", "--expires", "90"], 'such as "250ms"'),
        (["new", "--team", "studio", "--expires", "99999999999d"], "--expires"),
        (["revoke", "00000000"], 'no key "00000000"'),
    ],
)
def test_errors_say_why_and_write_nothing(routes: Path, arguments: list[str], says: str) -> None:
    result = weir_keys(*arguments, config=routes)
    assert result.exit_code == 1
    assert says in result.stderr
    assert result.stdout == ""
    assert not routes.with_name("keys.toml").exists()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "routes.toml"),
        ("[teams", "routes.toml"),
        ('[plugins.auth]\nkeys = "k.toml"', "routes: expected at least one"),
        (UPSTREAM, "no key file is named"),
        (UPSTREAM + '[plugins.auth]\nuse = "usage_log"', "no key file is named"),
        (
            UPSTREAM + '[plugins.auth]\nkeys = "a.toml"\n[plugins.sso]\nuse = "auth"\nkeys = "b.toml"',
            "several key files",
        ),
    ],
)
def test_routes_files_that_name_no_key_file(routes: Path, text: str | None, says: str) -> None:
    if text is None:
        routes.unlink()
    else:
        routes.write_text(text)
    result = weir_keys("list", config=routes)
    assert result.exit_code == 1
    assert says in result.stderr
    assert not isinstance(result.exception, OSError | ValueError)


def test_the_plugins_table_may_have_another_name(routes: Path, tmp_path: Path) -> None:
    routes.write_text(UPSTREAM + '[teams.studio]\n[plugins.sso]\nuse = "auth"\nkeys = "secrets/team-keys.toml"\n')
    (tmp_path / "secrets").mkdir()
    assert weir_keys("new", "--team", "studio", config=routes).exit_code == 0
    assert len(read(tmp_path / "secrets" / "team-keys.toml")) == 1


def test_list_shows_every_key_and_no_secret(routes: Path) -> None:
    assert weir_keys("list", config=routes).exit_code == 0  # before the first key
    secret = weir_keys("new", "--team", "studio", "--note", "[bold]nightly[/] renders", config=routes).stdout.strip()
    weir_keys("new", "--team", "acme", "--expires", "1ms", config=routes)
    studio, acme = read(routes.with_name("keys.toml"))
    result = weir_keys("list", config=routes)
    assert result.exit_code == 0
    lines = {line.split()[0]: line for line in result.stdout.splitlines()}
    assert list(lines) == ["id", studio.id, acme.id]
    assert "live" in lines[studio.id]
    assert "[bold]nightly[/] renders" in lines[studio.id]
    assert "expired" in lines[acme.id]
    assert secret not in result.stdout
    assert studio.sha256 not in result.stdout
    only = weir_keys("list", "--team", "acme", config=routes).stdout
    assert acme.id in only
    assert studio.id not in only


def test_revoke_keeps_the_line_and_the_first_date(routes: Path) -> None:
    weir_keys("new", "--team", "studio", config=routes)
    weir_keys("new", "--team", "studio", config=routes)
    file = routes.with_name("keys.toml")
    first, second = read(file)
    assert weir_keys("revoke", first.id, config=routes).exit_code == 0
    revoked, other = read(file)
    assert revoked.revoked is not None
    assert other == second
    weir_keys("revoke", first.id, config=routes)
    assert read(file)[0] == revoked
    assert "revoked" in weir_keys("list", config=routes).stdout


def test_a_broken_key_file_is_named_and_left_alone(routes: Path) -> None:
    file = routes.with_name("keys.toml")
    file.write_text("[[keys]")
    for arguments in (["new", "--team", "studio"], ["list"], ["revoke", "a"]):
        result = weir_keys(*arguments, config=routes)
        assert result.exit_code == 1
        assert "keys.toml" in result.stderr
        assert result.stdout == ""
    assert file.read_text() == "[[keys]"
