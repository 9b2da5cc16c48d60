"""The team keys in memory: looked up for each request, read again when the file has changed.

`Auth` owns one. A file that cannot be read (any more) changes nothing: the last good keys stay and the
error is logged and shown in `/status`; to refuse everybody, write an empty file. It asks the file system
once a second at most, in a thread: never on the loop.
"""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, final

from plugins.auth.credential import Credential
from plugins.auth.keys import Key, KeyState, read
from proxy import Services

_LOOK_SECONDS: Final = 1.0

_Stamp = tuple[int, int, int]


@final
class Keyring:
    """The keys of one file, by hash."""

    def __init__(self, path: Path, services: Services) -> None:
        self._path = path
        self._monotonic = services.clock.monotonic
        self._time = services.clock.time
        self._log = services.log
        self._by_hash: dict[str, Key] = {}
        self._stamp: _Stamp | None = None
        self._looked_at: float | None = None
        self._error: str | None = None

    async def start(self) -> None:
        await self._look()

    def due(self) -> bool:
        """It is time to look at the file: `known` may be of a file that is no more."""
        return self._looked_at is None or self._monotonic() - self._looked_at >= _LOOK_SECONDS

    async def find(self, credential: Credential) -> Key | None:
        """As `known`, of the file as it is now."""
        if self.due():
            await self._look()
        return self.known(credential)

    def known(self, credential: Credential) -> Key | None:
        """The key, live or not, or None.

        Constant-time by construction: what is compared is the SHA-256 of the caller's text, so that the
        time a comparison takes tells of hashes, which nobody can steer towards the stored ones. (A credential that is
        known from its connection's last head was compared with that caller's own.)
        """
        return self._by_hash.get(credential.digest)

    def state(self, key: Key) -> KeyState:
        if key.expires is None and key.revoked is None:
            return "live"  # whatever the time; most are like this
        return key.state(datetime.fromtimestamp(self._time(), UTC))

    def status(self) -> dict[str, Any]:
        live = sum(self.state(key) == "live" for key in self._by_hash.values())
        return {"live": live, "known": len(self._by_hash), "last_error": self._error}

    async def _look(self) -> None:
        self._looked_at = self._monotonic()  # first: those who come meanwhile use what is there
        try:
            stamp, keys = await asyncio.to_thread(_read_if_changed, self._path, self._stamp)
        except FileNotFoundError:
            self._fail("key_file_missing", f"{self._path} is not there; make a key with `weir keys new --team TEAM`")
        except (OSError, ValueError) as error:
            self._fail("key_file_unreadable", str(error))
        else:
            self._error = None
            self._stamp = stamp
            if keys is not None:
                self._by_hash = {key.sha256: key for key in keys}
                self._log.info("key_file_read", file=str(self._path), **self.status())

    def _fail(self, event: str, error: str) -> None:
        if error != self._error:  # once, not once a second
            log = self._log.error if self._by_hash or event != "key_file_missing" else self._log.warning
            log(event, error=error, kept=len(self._by_hash))
        self._error = error
        self._stamp = None  # so that a file put back as it was is seen


def _read_if_changed(path: Path, seen: _Stamp | None) -> tuple[_Stamp, tuple[Key, ...] | None]:
    # Stamp before content: a change in between is seen at the next look. The inode tells a rename within
    # one tick of the file system's clock.
    stat = path.stat()
    stamp = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
    return stamp, None if stamp == seen else read(path)
