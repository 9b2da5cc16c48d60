"""The write-ahead file itself: claimed by one process, mapped, grown by slots whose blocks are on the disk.

`WriteAhead` keeps its lines in it. All but `free` and `touch` are for threads: whatever is here asks the disk. It knows
no line and awaits nothing.
"""

import mmap
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from plugins.usage_log.journal import sync_folder
from plugins.usage_log.lock import lock
from plugins.usage_log.slots import PLACE_SLOTS, SLOT_BYTES, Slot

# All at once would stay with the thread that wrote it: glibc gives back little of what a thread has freed.
_ZEROS: Final = bytes(64 << 10)


class AheadFile:
    """See the module.

    Args:
        chunk_slots: how much it grows by.
        sync_data: what syncs.

    Attributes:
        free: the last one freed is the next one used: few pages are ever touched. Always the same list.
        places: the slots that it begins with.
    """

    def __init__(self, folder: Path, *, chunk_slots: int, sync_data: Callable[[int], None]) -> None:
        self.free: list[Slot] = []
        self.places: list[Slot] = []
        self._folder = folder
        self._chunk_slots = chunk_slots
        self._sync_data = sync_data
        self._file: Path | None = None
        self._fd = -1
        self._maps: list[mmap.mmap] = []

    @property
    def name(self) -> str | None:
        return self._file.name if self._file else None

    @property
    def size_bytes(self) -> int:
        return len(self._maps) * self._chunk_slots * SLOT_BYTES

    def in_place(self) -> bool:
        """False when somebody took the file away: the next start will not find it."""
        try:
            return self._file is not None and os.path.samestat(os.stat(self._file), os.fstat(self._fd))
        except (FileNotFoundError, NotADirectoryError):
            return False

    def claim(self) -> None:
        """Take a file that no living process holds, empty, and give it its first slots. Raises OSError."""
        number = 1
        while self._fd < 0:
            self._file = self._folder / f"ahead-{number}.wal"
            fd = lock(self._file, create=True)
            if fd is not None:
                if os.fstat(fd).st_size:  # somebody's who died since `recovery` looked
                    os.close(fd)
                else:
                    self._fd = fd
            number += 1
        self.grow()

    def close(self, *, empty: bool) -> None:
        """Let go of it. `empty`: nothing in it counts; what does stays for the next start."""
        if self._fd < 0:
            return
        for each in self._maps:
            each.close()
        if empty:
            os.ftruncate(self._fd, 0)
        os.close(self._fd)
        self._maps.clear()
        self.free.clear()
        self.places.clear()
        self._fd = -1

    def grow(self) -> None:
        """Add slots whose blocks are on the disk: a map of a file with holes ends in SIGBUS when the disk is full."""
        size = self._chunk_slots * SLOT_BYTES
        start = os.fstat(self._fd).st_size
        try:
            written = 0
            while written < size:
                zeros = _ZEROS[: size - written]
                written += os.pwrite(self._fd, zeros, start + written)
            os.fsync(self._fd)  # some file systems find the blocks only now
            grown = mmap.mmap(self._fd, size, offset=start)
        except OSError:
            os.ftruncate(self._fd, start)
            raise
        slots = [Slot(grown, number * SLOT_BYTES) for number in range(self._chunk_slots)]
        if not self._maps:
            self.places, slots = slots[:PLACE_SLOTS], slots[PLACE_SLOTS:]
        self._maps.append(grown)
        self.free += reversed(slots)

    def sync(self) -> None:
        """Linux's fdatasync writes pages that a map has made dirty as well. Raises OSError."""
        self._sync_data(self._fd)

    def sync_name(self) -> None:
        sync_folder(self._folder)


def touch(slots: Iterable[Slot]) -> None:
    """Make their pages dirty: after a failed sync Linux may call pages clean, and writes only what changes anew."""
    for slot in slots:
        slot.touch()
