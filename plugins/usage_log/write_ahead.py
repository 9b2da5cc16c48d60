"""What must outlive a `kill -9` at any moment: exchanges under way, and records that no usage file holds yet.

Lines are put in on the loop: a copy into a map of the file, no system call and no thread. The kernel keeps what was
copied when the process dies; a power cut is another matter, see `synced`.
One process, one file: `recovery` reads those whose lock is free. Room is made before an exchange is let in, so that a
full disk stops admission and nothing else. Knows no record and reads nothing back.
"""

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, final

import msgspec
from structlog.typing import FilteringBoundLogger

from plugins.usage_log.ahead_file import AheadFile, touch
from plugins.usage_log.journal import sync_data
from plugins.usage_log.places import Place, Places, boot_id
from plugins.usage_log.slots import (
    MOST_PARTS,
    PLACE_SLOTS,
    ROOM_BYTES,
    Kind,
    Slot,
    pack,
    parts_of,
    pieces,
)
from proxy import Clock

CHUNK_SLOTS: Final = 1024  # the file grows by 4 MiB: some 500 exchanges in flight
SLOTS_EACH: Final = 2  # promised to an exchange in flight: its opening, and what replaces that
SLOTS_EACH_SYNCED: Final = 3  # its opening, that of its next attempt until it is on the disk, and its end
RETRY_SECONDS: Final = 1.0

_ENDED: Final = Kind.ENDED


@final
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
        self._clock = clock
        self._log = log
        self._sync = sync
        self._file = AheadFile(folder, chunk_slots=chunk_slots, sync_data=sync_data)
        self._free = self._file.free
        self._slots_each = SLOTS_EACH_SYNCED if sync else SLOTS_EACH
        self._held: dict[str, Slot] = {}  # by id, where its line begins
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
        return self._file.name

    @property
    def held(self) -> int:
        """Lines that count."""
        return len(self._held)

    @property
    def size_bytes(self) -> int:
        return self._file.size_bytes

    def in_place(self) -> bool:
        """False when somebody took the file away: the next start will not find it. For a thread."""
        return self._file.in_place()

    def open(self) -> None:
        """Claim a file that no living process holds, and make it empty. Raises OSError."""
        self._file.claim()
        self._boot = boot_id()
        self._note(())
        self._file.sync_name()

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
        self._file.close(empty=not self._held)

    @property
    def has_room(self) -> bool:
        """For one exchange more, beside all that was promised to those inside."""
        return len(self._free) + self._openings >= self._slots_each * (self._inside + 1)

    def enter_at_once(self) -> bool:
        """As `enter`, without a wait. False where room has to be made first."""
        if not self.has_room:
            return False
        self._inside += 1
        return True

    async def enter(self) -> None:
        """Let an exchange in; `leave` must follow. Raises OSError when there is no room and none can be made."""
        while not self.enter_at_once():
            if self.error is not None:  # somebody is at it
                raise OSError(self.error)
            await self._grown()

    def leave(self) -> None:
        self._inside -= 1

    def put(self, id: str, line: bytes, kind: Kind) -> bool:
        """Make this the line of that id, in the place of the one it has. False when there is no room."""
        more: list[Slot] | None = None
        if len(line) > ROOM_BYTES:
            slots = self._lay_long(line, kind)
            if not slots:
                return False
            first, more = slots[0], slots[1:]
        elif self._free:
            first = self._free.pop()
            self._number += 1
            first.lay_line(self._number, kind, line)
        else:
            return False
        first.count()
        is_opening = kind is not _ENDED
        first.is_opening, first.more = is_opening, more
        old = self._held.get(id)
        self._held[id] = first
        if old is not None:
            self._replace(old, first)
        if is_opening:
            self._openings += 1
        return True

    def _lay_long(self, line: bytes, kind: Kind) -> list[Slot]:
        """Copy a line into several slots; it does not count yet. [] when there are not enough."""
        parts = parts_of(len(line))
        if parts > len(self._free) or parts > MOST_PARTS:
            return []
        self._number += 1
        slots = [self._free.pop() for _ in range(parts)]
        for part, (slot, piece) in enumerate(zip(slots, pieces(line), strict=True)):
            slot.lay(pack(self._number, kind, part, parts, piece))
        return slots

    def _replace(self, old: Slot, new: Slot) -> None:
        """Where a power cut matters it counts on: the disk may learn that it is gone before it has the next."""
        if old.is_opening:
            self._openings -= 1
        if self._sync:
            new.replaced = [*(old.replaced or ()), old]
            old.replaced = None
        else:
            self._release(old)

    def done(self, ids: Iterable[str]) -> None:
        """The usage log holds them: they count no more."""
        for each in ids:
            held = self._held.get(each)
            if held is not None:
                del self._held[each]
                self._openings -= held.is_opening
                self._release(held)

    def _release(self, held: Slot) -> None:
        held.count_no_more()
        self._free.append(held)
        if held.more is not None:
            self._free += held.more
            held.more = None
        if held.replaced is not None:
            self._release_replaced(held)

    def _release_replaced(self, held: Slot) -> None:
        replaced, held.replaced = held.replaced, None
        if replaced is not None:
            for each in replaced:
                self._release(each)

    def place(self, file: str, offset: int) -> None:
        """Note that the next group goes there. Called by the thread that writes it, before it does."""
        self._note((Place(file, offset),))

    def _note(self, places: tuple[Place, ...]) -> None:
        self._placed += 1
        content = pack(self._placed, Kind.PLACE, 0, 1, msgspec.json.encode(Places(self._boot, places)))
        slot = self._file.places[self._placed % PLACE_SLOTS]
        slot.count_no_more()
        slot.lay(content)
        slot.count()

    async def synced(self, id: str) -> None:
        """Wait until the line of that id would outlive a power cut; many share one sync. Raises OSError."""
        if (error := await self._next_synced()) is not None:
            raise OSError(*error.args)
        self._release_replaced(self._held[id])

    async def _next_synced(self) -> OSError | None:
        if self._next_sync is None:
            self._next_sync = asyncio.create_task(self._sync_after(self._syncing))
        return await asyncio.shield(self._next_sync)

    async def _sync_after(self, before: asyncio.Task[OSError | None] | None) -> OSError | None:
        if before is not None:
            await asyncio.wait({before})
        self._syncing, self._next_sync = self._next_sync, None
        try:
            await asyncio.to_thread(self._file.sync)
        except OSError as error:
            self._failed(error)
            touch(slot for held in self._held.values() for slot in held.taken())
            return error
        return None

    async def _grown(self) -> OSError | None:
        """Wait for more room. One thread at a time makes it, whoever is cancelled meanwhile."""
        if self._growing is None:
            self._growing = asyncio.create_task(self._grow_once())
        return await asyncio.shield(self._growing)

    async def _grow_once(self) -> OSError | None:
        try:
            await asyncio.to_thread(self._file.grow)
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
