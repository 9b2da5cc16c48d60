"""The keys in memory follow the file, and survive a bad one."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from plugins.auth.credential import Credential
from plugins.auth.keyring import Keyring
from plugins.auth.keys import Key, edit, mint
from tests.support import ManualClock, make_services

NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.toml"


async def write(path: Path, *keys: Key) -> None:
    await asyncio.to_thread(edit, path, lambda _: keys)


async def put(path: Path, content: bytes) -> None:
    await asyncio.to_thread(path.write_bytes, content)


async def test_a_missing_file_says_what_to_type(path: Path) -> None:
    keyring = Keyring(path, make_services())
    with capture_logs() as logs:
        await keyring.start()
    assert [(log["event"], log["log_level"]) for log in logs] == [("key_file_missing", "warning")]
    assert "weir keys new" in logs[0]["error"]
    assert await keyring.find(Credential("weir_x")) is None


async def test_new_keys_are_seen_within_a_second_and_no_sooner(path: Path) -> None:
    clock = ManualClock()
    keyring = Keyring(path, make_services(clock=clock))
    await keyring.start()
    secret, key = mint("studio", created=NOW)
    await write(path, key)
    assert await keyring.find(Credential(secret)) is None  # not looked again yet
    await clock.advance(1)
    assert await keyring.find(Credential(secret)) == key
    assert keyring.status() == {"live": 1, "known": 1, "last_error": None}


async def test_several_live_keys_of_a_team(path: Path) -> None:
    made = [mint("studio", created=NOW) for _ in range(3)]
    await write(path, *(key for _, key in made))
    keyring = Keyring(path, make_services())
    await keyring.start()
    assert [await keyring.find(Credential(secret)) for secret, _ in made] == [key for _, key in made]
    assert await keyring.find(Credential(made[0][0] + "x")) is None
    assert await keyring.find(Credential(made[0][1].sha256)) is None  # the hash is no key
    assert await keyring.find(Credential(made[0][1].id)) is None


async def test_a_broken_file_changes_nothing_and_is_said_once(path: Path) -> None:
    clock = ManualClock()
    secret, key = mint("studio", created=NOW)
    await write(path, key)
    good = await asyncio.to_thread(path.read_bytes)
    keyring = Keyring(path, make_services(clock=clock))
    await keyring.start()
    with capture_logs() as logs:
        for content in (b"[[broken", b"[[broken"):
            await put(path, content)
            await clock.advance(1)
            assert await keyring.find(Credential(secret)) == key
    assert [(log["event"], log["log_level"], log["kept"]) for log in logs] == [("key_file_unreadable", "error", 1)]
    assert keyring.status()["last_error"]

    await asyncio.to_thread(path.unlink)
    with capture_logs() as logs:
        await clock.advance(1)
        assert await keyring.find(Credential(secret)) == key
    assert [(log["event"], log["log_level"]) for log in logs] == [("key_file_missing", "error")]

    await put(path, good)
    await clock.advance(1)
    assert await keyring.find(Credential(secret)) == key
    assert keyring.status()["last_error"] is None

    await put(path, b"")  # the way to refuse everybody
    await clock.advance(1)
    assert await keyring.find(Credential(secret)) is None


async def test_bytes_that_are_no_text_are_just_unknown(path: Path) -> None:
    await write(path)
    keyring = Keyring(path, make_services())
    await keyring.start()
    assert await keyring.find(Credential("weir_\udcff")) is None
