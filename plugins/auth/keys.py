"""The key file: team keys as hashes, and the only code that reads or writes it.

`weir keys` writes, `Keyring` reads. A key is shown once, when it is made; the file has its SHA-256. A plain
hash is right here and a slow one (bcrypt, argon2) is not: those make guessing of weak secrets slow, and 32
random bytes cannot be guessed at any speed, while every request would pay for the slowness.
"""

import contextlib
import fcntl
import hashlib
import os
import secrets
import stat
import tempfile
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import tomli_w

_HEADER = "# Team keys, by hash. Written by `weir keys`; a running gateway sees changes within a second or two.\n\n"

KeyState = Literal["live", "expired", "revoked"]
Moment = Annotated[datetime, msgspec.Meta(tz=True)]


class Key(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """One key of a team. A team may have several live ones: that is how keys are rotated without a gap."""

    id: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    team: Annotated[str, msgspec.Meta(min_length=1)]
    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]  # of the whole key, in hex
    created: Moment
    expires: Moment | None = None
    revoked: Moment | None = None  # present: refused, whatever the time
    note: str | None = None

    def state(self, now: datetime) -> KeyState:
        if self.revoked is not None:
            return "revoked"
        return "expired" if self.expires is not None and self.expires <= now else "live"


class _KeyFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    keys: tuple[Key, ...] = ()


def mint(team: str, *, created: datetime, expires: datetime | None = None, note: str | None = None) -> tuple[str, Key]:
    """A new key: the secret, to be shown once, and what is kept of it.

    The id is part of the secret's text, so that whoever finds one in a log knows which to revoke.
    """
    id_ = secrets.token_hex(4)
    secret = f"weir_{id_}_{secrets.token_urlsafe(32)}"
    return secret, Key(id=id_, team=team, sha256=digest(secret), created=created, expires=expires, note=note)


def digest(secret: str) -> str:
    # surrogateescape: a header may hold any bytes, and those must hash, not raise.
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def read(path: Path) -> tuple[Key, ...]:
    """The keys of the file. Raises FileNotFoundError, or ValueError naming file and place."""
    try:
        keys = msgspec.toml.decode(path.read_bytes(), type=_KeyFile).keys
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: {error}") from error
    for field in ("id", "sha256"):
        values = [getattr(key, field) for key in keys]
        if len(set(values)) < len(values):
            raise ValueError(f"{path}: two keys have the same {field}")
    return keys


def edit(path: Path, change: Callable[[tuple[Key, ...]], Sequence[Key]]) -> None:
    """Replace the file's keys by what `change` makes of them; a file that is not there has none.

    Under a lock, so that two `weir keys new` lose neither key; by rename, so that a reader never sees half
    a file. A link to the file stays a link, and mode and owner stay as somebody set them: the gateway may run as
    another user than the one who makes keys.
    """
    path = path.resolve()
    path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
    with open(path.with_name(path.name + ".lock"), "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        keys = change(read(path) if path.exists() else ())
        _write(path, keys)


def _write(path: Path, keys: Sequence[Key]) -> None:
    text = _HEADER + tomli_w.dumps(msgspec.to_builtins({"keys": keys}, builtin_types=(datetime,)))
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 0600
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            _keep_rights(file.fileno(), path)
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        raise
    _sync_folder(path.parent)


def _keep_rights(descriptor: int, old: Path) -> None:
    """Mode, group and owner of the file to be replaced, as far as we may give them; a new file is our own, 0600."""
    try:
        status = old.stat()
    except FileNotFoundError:
        return
    for user, group in ((-1, status.st_gid), (status.st_uid, -1)):  # each by itself: one may be allowed alone
        with contextlib.suppress(PermissionError):
            os.fchown(descriptor, user, group)
    os.fchmod(descriptor, stat.S_IMODE(status.st_mode))


def _sync_folder(folder: Path) -> None:
    """The rename is in the folder: without this a revoked key may be good again after a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
