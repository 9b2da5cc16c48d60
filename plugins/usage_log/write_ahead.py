"""What must outlive a `kill -9` at any moment: exchanges under way, and records that no usage file holds yet.

The `Writer` puts lines in on the loop: a copy into a map of the file, less than a microsecond, no system call and
no thread. The kernel keeps what was copied when the process dies; a power cut is another matter, see `synced`.
One process, one file: `recovery` reads those whose lock is free. Room is made before an exchange is let in, so that a
full disk stops admission and nothing else. Knows no record and reads nothing back.
"""

import asyncio
import mmap
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import msgspec
from structlog.typing import FilteringBoundLogger

from plugins.usage_log.journal import sync_data, sync_folder
from plugins.usage_log.lock import lock
from plugins.usage_log.slots import LIVE_AT, MOST_PARTS, PLACE_SLOTS, SLOT_BYTES, Kind, pack, parts_of, pieces
from proxy import Clock

CHUNK_SLOTS = 1024  # the file grows by 4 MiB: some 500 exchanges in flight
SLOTS_EACH = 2  # promised to an exchange in flight: its opening, and what replaces that
RETRY_SECONDS = 1.0

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

Slot = tuple[mmap.mmap, int]


class Place(msgspec.Struct, frozen=True):
    """A usage file, and how long it was before the last group."""

    file: str
    offset: int


class Places(msgspec.Struct, frozen=True):
    """Where lines that still count may have been written already. Only to be trusted until the machine restarts."""

    boot: str
    places: tuple[Place, ...]


class _Held(NamedTuple):
    slots: list[Slot]  # the first one's live byte is the line's
    kind: Kind


class WriteAhead:
    """All but `open`, `close`, `place` and `in_place` are for the loop's thread.

    Args:
        chunk_slots: how much it grows by; `sync_data`: what syncs. Both are a test's seams.

    Attributes:
        error: why the last try to make room, or to sync, failed; None when it did not.
    """

    def __init__(
        self,
        folder: Path,
        clock: Clock,
        log: FilteringBoundLogger,
        *,
        chunk_slots: int = CHUNK_SLOTS,
        sync_data: Callable[[int], None] = sync_data,
    ) -> None:
        self.error: str | None = None
        self._folder = folder
        self._clock = clock
        self._log = log
        self._chunk_slots = chunk_slots
        self._sync_data = sync_data
        self._file: Path | None = None
        self._fd = -1
        self._maps: list[mmap.mmap] = []
        self._free: list[Slot] = []  # the last one freed is the next one used: few pages are ever touched
        self._held: dict[str, _Held] = {}
        self._openings = 0
        self._inside = 0  # exchanges that were let in
        self._number = 0
        self._boot = ""
        self._placed = 0
        self._making_room = asyncio.Lock()
        self._trying: asyncio.Task[None] | None = None
        self._syncing: asyncio.Task[None] | None = None
        self._next_sync: asyncio.Task[None] | None = None

    @property
    def name(self) -> str | None:
        return self._file.name if self._file else None

    @property
    def held(self) -> int:
        """Lines that count."""
        return len(self._held)

    def in_place(self) -> bool:
        """False when somebody took the file away: the next start will not find it. For a thread."""
        try:
            return self._file is not None and os.path.samestat(os.stat(self._file), os.fstat(self._fd))
        except (FileNotFoundError, NotADirectoryError):
            return False

    @property
    def size_bytes(self) -> int:
        return len(self._maps) * self._chunk_slots * SLOT_BYTES

    @property
    def has_room(self) -> bool:
        """For one exchange more, beside all that was promised to those inside."""
        return len(self._free) + self._openings >= SLOTS_EACH * (self._inside + 1)

    def open(self) -> None:
        """Claim a file that no living process holds, and make it empty. Raises OSError."""
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
        self._boot = boot_id()
        self._grow()
        self._note(())
        sync_folder(self._folder)

    async def stop(self) -> None:
        """Once nobody puts anything in any more."""
        if self._trying is not None:
            self._trying.cancel()
        works = {task for task in (self._trying, self._syncing, self._next_sync) if task is not None}
        await asyncio.gather(*works, return_exceptions=True)
        await asyncio.to_thread(self.close)

    def close(self) -> None:
        """What still counts stays in the file, for the next start."""
        if self._fd < 0:
            return
        for each in self._maps:
            each.close()
        if not self._held:
            os.ftruncate(self._fd, 0)
        os.close(self._fd)
        self._maps, self._free, self._fd = [], [], -1

    async def enter(self) -> None:
        """Let an exchange in; `leave` must follow. Raises OSError when there is no room and none can be made."""
        if not self.has_room:
            async with self._making_room:
                while not self.has_room:
                    await self._make_room()
        self._inside += 1

    def leave(self) -> None:
        self._inside -= 1

    def put(self, id: str, line: bytes, kind: Kind) -> bool:
        """Make this the line of that id, in the place of the one it has. False when there is no room."""
        parts = parts_of(len(line))
        if parts > len(self._free) or parts > MOST_PARTS:
            return False
        self._number += 1
        if parts == 1:
            slots = [self._free.pop()]
            _copy(slots[0], pack(self._number, kind, 0, 1, line))
        else:
            slots = [self._free.pop() for _ in range(parts)]
            for part, (slot, piece) in enumerate(zip(slots, pieces(line), strict=True)):
                _copy(slot, pack(self._number, kind, part, parts, piece))
        page, start = slots[0]
        page[start + LIVE_AT] = 1
        self._release(id)
        self._held[id] = _Held(slots, kind)
        self._openings += kind is Kind.OPENING
        return True

    def done(self, ids: Iterable[str]) -> None:
        """The usage log holds them: they count no more."""
        for each in ids:
            self._release(each)

    def place(self, file: str, offset: int) -> None:
        """Note that the next group goes there. Called by the thread that writes it, before it does."""
        self._note((Place(file, offset),))

    def _note(self, places: tuple[Place, ...]) -> None:
        self._placed += 1
        line = msgspec.json.encode(Places(self._boot, places))
        start = self._placed % PLACE_SLOTS * SLOT_BYTES
        self._maps[0][start + LIVE_AT] = 0
        _copy((self._maps[0], start), pack(self._placed, Kind.PLACE, 0, 1, line))
        self._maps[0][start + LIVE_AT] = 1

    async def synced(self) -> None:
        """Wait until all that was put so far would outlive a power cut; many share one sync. Raises OSError.

        Linux's fdatasync writes pages that a map has made dirty as well.
        """
        if self._next_sync is None:
            self._next_sync = asyncio.create_task(self._sync_after(self._syncing))
        await asyncio.shield(self._next_sync)

    async def _sync_after(self, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait({before})
        self._syncing, self._next_sync = self._next_sync, None
        try:
            await asyncio.to_thread(self._sync_data, self._fd)
        except OSError as error:
            self._failed(error)
            for held in self._held.values():
                # After a failed sync Linux may call the pages clean: only pages touched anew are written again.
                page, start = held.slots[0]
                page[start + LIVE_AT] = 1
            raise

    def _release(self, id: str) -> None:
        held = self._held.pop(id, None)
        if held is None:
            return
        page, start = held.slots[0]
        page[start + LIVE_AT] = 0
        self._free += held.slots
        self._openings -= held.kind is Kind.OPENING

    async def _make_room(self) -> None:
        if self.error is not None:  # somebody is at it
            raise OSError(self.error)
        try:
            await asyncio.to_thread(self._grow)
        except OSError as error:
            self._failed(error)
            raise

    def _failed(self, error: OSError) -> None:
        if self.error is None:
            self._log.error("usage log: no room ahead; nothing is let in", file=self.name, error=repr(error))
        self.error = repr(error)
        if self._trying is None or self._trying.done():
            self._trying = asyncio.create_task(self._try_again(), name="usage log: making room")

    async def _try_again(self) -> None:
        """Until there is room and a sync succeeds, also when nobody asks: nobody may be sent here meanwhile."""
        while self._fd >= 0:
            await self._clock.sleep(RETRY_SECONDS)
            try:
                if not self.has_room:
                    await asyncio.to_thread(self._grow)
                await asyncio.to_thread(self._sync_data, self._fd)
            except OSError as error:
                self.error = repr(error)
            else:
                self.error = None
                self._log.warning("usage log: room ahead again", file=self.name)
                return

    def _grow(self) -> None:
        """Add slots whose blocks are on the disk: a map of a file with holes ends in SIGBUS when the disk is full."""
        size = self._chunk_slots * SLOT_BYTES
        start = os.fstat(self._fd).st_size
        try:
            written = 0
            while written < size:
                written += os.pwrite(self._fd, bytes(size - written), start + written)
            os.fsync(self._fd)  # some file systems find the blocks only now
            grown = mmap.mmap(self._fd, size, offset=start)
        except OSError:
            os.ftruncate(self._fd, start)
            raise
        first = 0 if self._maps else PLACE_SLOTS
        self._maps.append(grown)
        self._free += [(grown, number * SLOT_BYTES) for number in reversed(range(first, self._chunk_slots))]


def boot_id() -> str:
    """Changes when the machine restarts; empty where nobody knows."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""


def _copy(slot: Slot, content: bytes) -> None:
    page, start = slot
    page[start : start + len(content)] = content
