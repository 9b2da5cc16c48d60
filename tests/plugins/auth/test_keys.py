"""The key file: what is written, what is refused, and that nobody's key is lost."""

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from plugins.auth.keys import Key, digest, edit, mint, read

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_a_key_comes_back_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    secret, key = mint("studio", created=NOW, expires=NOW + timedelta(days=90), note='for "nightly" renders')
    edit(path, lambda known: [*known, key])
    assert read(path) == (key,)
    assert key.sha256 == digest(secret)
    assert secret.startswith(f"weir_{key.id}_")
    assert secret not in path.read_text()
    assert secret.removeprefix(f"weir_{key.id}_") not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_keys_are_long_and_never_the_same() -> None:
    made = [mint("studio", created=NOW) for _ in range(100)]
    assert len({secret for secret, _ in made}) == len({key.id for _, key in made}) == 100
    assert all(len(secret) == len("weir_00000000_") + 43 for secret, _ in made)  # 32 bytes in base64url


def test_writers_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    made = [mint("studio", created=NOW)[1] for _ in range(20)]
    with ThreadPoolExecutor(5) as pool:
        list(pool.map(lambda key: edit(path, lambda known: [*known, key]), made))
    assert {key.id for key in read(path)} == {key.id for key in made}
    assert sorted(file.name for file in tmp_path.iterdir()) == ["keys.toml", "keys.toml.lock"]


def test_a_change_that_fails_leaves_the_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    edit(path, lambda _: [mint("studio", created=NOW)[1]])
    before = path.read_bytes()

    def fail(_: tuple[Key, ...]) -> list[Key]:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        edit(path, fail)
    path.write_bytes(before + b"broken")
    with pytest.raises(ValueError, match=r"keys\.toml"):
        edit(path, lambda known: known)
    assert path.read_bytes() == before + b"broken"


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    real = tmp_path / "real.toml"
    edit(real, lambda _: [])
    link = tmp_path / "keys.toml"
    link.symlink_to(real)
    edit(link, lambda _: [mint("studio", created=NOW)[1]])
    assert link.is_symlink()
    assert len(read(real)) == 1


def test_the_first_key_makes_the_folder(tmp_path: Path) -> None:
    path = tmp_path / "var" / "dev" / "keys.toml"
    edit(path, lambda _: [mint("studio", created=NOW)[1]])
    assert len(read(path)) == 1


def test_the_file_keeps_the_mode_that_somebody_gave_it(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    edit(path, lambda _: [])
    path.chmod(0o640)
    edit(path, lambda _: [mint("studio", created=NOW)[1]])
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert len(read(path)) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file away")
def test_the_file_keeps_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    edit(path, lambda _: [])
    os.chown(path, 12_345, 23_456)
    edit(path, lambda _: [mint("studio", created=NOW)[1]])
    assert (path.stat().st_uid, path.stat().st_gid) == (12_345, 23_456)


GOOD = '[[keys]]\nid = "a"\nteam = "studio"\ncreated = 2026-01-02T03:04:05Z\nsha256 = "' + "0" * 64 + '"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[keys]\n", "keys.toml"),
        ('[[keys]]\nid = "a"', "team"),
        (GOOD + 'extra = "x"', "extra"),
        (GOOD.replace("0" * 64, "ABC"), "sha256"),
        (GOOD.replace("03:04:05Z", "03:04:05"), "created"),  # of no time zone
        (GOOD + 'expires = "2026-01-01"', "expires"),
        (GOOD + GOOD, "same id"),
        (GOOD + GOOD.replace('"a"', '"b"'), "same sha256"),
        ("\xff", "keys.toml"),
    ],
)
def test_a_broken_file_says_where(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "keys.toml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=message):
        read(path)


def test_a_secret_put_in_the_place_of_its_hash_is_not_repeated(tmp_path: Path) -> None:
    secret, _ = mint("studio", created=NOW)
    path = tmp_path / "keys.toml"
    path.write_text(GOOD.replace("0" * 64, secret))
    with pytest.raises(ValueError) as caught:
        read(path)
    assert secret not in str(caught.value)


def test_states() -> None:
    key = mint("studio", created=NOW, expires=NOW + timedelta(seconds=10))[1]
    assert key.state(NOW) == "live"
    assert key.state(NOW + timedelta(seconds=10)) == "expired"
    revoked = Key(id="a", team="t", sha256="0" * 64, created=NOW, revoked=NOW + timedelta(days=1))
    assert revoked.state(NOW) == "revoked"  # by being there, whatever the time
