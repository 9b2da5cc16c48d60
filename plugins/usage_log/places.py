"""Where in the usage log lines were put, as a write-ahead file says it: so that what was written is known again.

`WriteAhead` notes a place before each group, `recovery` reads it and notes its own. A place can be trusted until the
machine restarts: then pages of different age may lie beside each other.
"""

from pathlib import Path

import msgspec

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Place(msgspec.Struct, frozen=True):
    """A usage file, and how long it was before the last group."""

    file: str
    offset: int


class Places(msgspec.Struct, frozen=True):
    """Where lines that still count may have been written already, and in which life of the machine."""

    boot: str
    places: tuple[Place, ...]

    def with_one_more(self, file: str, offset: int) -> "Places":
        """A file is named once, however often a start fails on a full disk: all of them have to fit into one slot."""
        if any(place.file == file and place.offset <= offset for place in self.places):
            return self
        others = (place for place in self.places if place.file != file)
        return Places(self.boot, (*others, Place(file, offset)))


def boot_id() -> str:
    """Changes when the machine restarts; empty where nobody knows."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""
