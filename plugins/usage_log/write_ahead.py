"""What must outlive a `kill -9` at any moment: exchanges under way, and records that no usage file holds yet.

Lines are put in on the loop: a copy into a map of the file, no system call and no thread. The kernel keeps what was
copied when the process dies; a power cut is another matter, see `synced`.
One process, one file: `recovery` reads those whose lock is free. Room is made before an exchange is let in, so that a
full disk stops admission and nothing else. Knows no record and reads nothing back.
"""

import asyncio
import mmap
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec
from structlog.typing import FilteringBoundLogger

from plugins.usage_log.journal import sync_data, sync_folder
from plugins.usage_log.lock import lock
from plugins.usage_log.places import Place, Places, boot_id
from plugins.usage_log.slots import LIVE_AT, MOST_PARTS, PLACE_SLOTS, SLOT_BYTES, Kind, pack, parts_of, pieces
from proxy import Clock

CHUNK_SLOTS = 1024  # the file grows by 4 MiB: some 500 exchanges in flight
SLOTS_EACH = 2  # promised to an exchange in flight: its opening, and what replaces that
SLOTS_EACH_SYNCED = 3  # its opening, that of its next attempt until it is on the disk, and its end
RETRY_SECONDS = 1.0

Slot = tuple[mmap.mmap, int]
Slots = tuple[Slot, ...]  # of one line: it counts by the first one's live byte


class _Held(msgspec.Struct, frozen=True, gc=False):
    """The line of an id."""

    slots: Slots
    kind: Kind
    replaced: tuple[Slots, ...] = ()  # lines that count until this one is on the disk


class WriteAhead:
    """All but `open`, `close`, `place` and `in_place` are for the loop's thread.

    Args:
        sync: whether lines are to outlive a power cut: see `synced`.
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
        sync: bool = False,
        chunk_slots: int = CHUNK_SLOTS,
        sync_data: Callable[[int], None] = sync_data,
    ) -> None:
        self.error: str | None = None
        self._folder = folder
        self._clock = clock
        self._log = log
        self._sync = sync
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
        self._growing: asyncio.Task[OSError | None] | None = None
        self._trying: asyncio.Task[None] | None = None
        self._syncing: asyncio.Task[OSError | None] | None = None
        self._next_sync: asyncio.Task[OSError | None] | None = None

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
        each = SLOTS_EACH_SYNCED if self._sync else SLOTS_EACH
        return len(self._free) + self._openings >= each * (self._inside + 1)

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
        # The others are left to their end: a thread cannot be cancelled, and would go on with a file that is closed.
        works = {task for task in (self._trying, self._growing, self._syncing, self._next_sync) if task is not None}
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
        while not self.has_room:
            if self.error is not None:  # somebody is at it
                raise OSError(self.error)
            await self._grown()
        self._inside += 1

    def leave(self) -> None:
        self._inside -= 1

    def put(self, id: str, line: bytes, kind: Kind) -> bool:
        """Make this the line of that id, in the place of the one it has. False when there is no room."""
        parts = parts_of(len(line))
        if parts > len(self._free) or parts > MOST_PARTS:
            return False
        self._number += 1
        slots: Slots
        if parts == 1:
            slots = (self._free.pop(),)
            _copy(slots[0], pack(self._number, kind, 0, 1, line))
        else:
            slots = tuple(self._free.pop() for _ in range(parts))
            for part, (slot, piece) in enumerate(zip(slots, pieces(line), strict=True)):
                _copy(slot, pack(self._number, kind, part, parts, piece))
        page, start = slots[0]
        page[start + LIVE_AT] = 1  # from here on it counts
        self._held[id] = _Held(slots, kind, self._replace(id))
        self._openings += kind is Kind.OPENING
        return True

    def _replace(self, id: str) -> tuple[Slots, ...]:
        """What is replaced, and counts on: the disk may learn that a line is gone before it has the next."""
        old = self._held.get(id)
        if old is None:
            return ()
        self._openings -= old.kind is Kind.OPENING
        if self._sync:
            return (*old.replaced, old.slots)
        self._release(old.slots)
        return ()

    def done(self, ids: Iterable[str]) -> None:
        """The usage log holds them: they count no more."""
        for each in ids:
            held = self._held.pop(each, None)
            if held is not None:
                self._openings -= held.kind is Kind.OPENING
                for slots in (held.slots, *held.replaced):
                    self._release(slots)

    def _release(self, slots: Slots) -> None:
        page, start = slots[0]
        page[start + LIVE_AT] = 0
        self._free += slots

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

    async def synced(self, id: str) -> None:
        """Wait until the line of that id would outlive a power cut; many share one sync. Raises OSError.

        Linux's fdatasync writes pages that a map has made dirty as well.
        """
        if (error := await self._next_synced()) is not None:
            raise OSError(*error.args)
        held = self._held[id]
        for slots in held.replaced:
            self._release(slots)
        self._held[id] = _Held(held.slots, held.kind)

    async def _next_synced(self) -> OSError | None:
        if self._next_sync is None:
            self._next_sync = asyncio.create_task(self._sync_after(self._syncing))
        return await asyncio.shield(self._next_sync)

    async def _sync_after(self, before: asyncio.Task[OSError | None] | None) -> OSError | None:
        if before is not None:
            await asyncio.wait({before})
        self._syncing, self._next_sync = self._next_sync, None
        try:
            await asyncio.to_thread(self._sync_data, self._fd)
        except OSError as error:
            self._failed(error)
            # After a failed sync Linux may call the pages clean: only pages touched anew are written again.
            for held in self._held.values():
                for page, start in (slot for slots in (held.slots, *held.replaced) for slot in slots):
                    page[start] = page[start]
            return error
        return None

    async def _grown(self) -> OSError | None:
        """Wait for more room. One thread at a time makes it, whoever is cancelled meanwhile."""
        if self._growing is None:
            self._growing = asyncio.create_task(self._grow_once())
        return await asyncio.shield(self._growing)

    async def _grow_once(self) -> OSError | None:
        try:
            await asyncio.to_thread(self._grow)
        except OSError as error:
            self._failed(error)
            return error
        finally:
            self._growing = None
        return None

    def _failed(self, error: OSError) -> None:
        if self.error is None:
            self._log.error("usage log: no room ahead; nothing is let in", file=self.name, error=repr(error))
        self.error = repr(error)
        if self._trying is None or self._trying.done():
            self._trying = asyncio.create_task(self._try_again(), name="usage log: making room")

    async def _try_again(self) -> None:
        """Until there is room and a sync succeeds, also when nobody asks: nobody may be sent here meanwhile."""
        failed: OSError | None = OSError()
        while failed is not None:
            await self._clock.sleep(RETRY_SECONDS)
            failed = (None if self.has_room else await self._grown()) or await self._next_synced()
        self.error = None
        self._log.warning("usage log: room ahead again", file=self.name)

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


def _copy(slot: Slot, content: bytes) -> None:
    page, start = slot
    page[start : start + len(content)] = content
