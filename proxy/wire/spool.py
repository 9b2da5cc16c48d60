"""What of a request's body is kept beyond memory: in a nameless file, written and read by threads.

`request_body.py` keeps one where a plugin must have the whole body read first. What comes is gathered before it is
written: to hand a piece to a thread and to hear of it costs more than to write it.
"""

import asyncio
import os
import tempfile
from typing import BinaryIO, Final, final

PIECE_BYTES: Final = 256 << 10  # gathered to be written, and read back at once
_BESIDE_BYTES: Final = 50  # what a piece takes beside its content


@final
class Spool:
    """See the module. For one writer; who reads may be many, once nothing more is kept.

    Attributes:
        size: bytes kept.
    """

    __slots__ = ("_file", "_gathered", "_gathered_bytes", "_writing", "_written_bytes", "size")

    def __init__(self) -> None:
        self.size = 0
        self._file: BinaryIO | None = None
        self._gathered: list[bytes] = []  # what is behind the file's end
        self._gathered_bytes = 0  # with what each piece takes
        self._written_bytes = 0
        self._writing: asyncio.Future[None] | None = None  # the last write; a thread may be at it still

    async def keep(self, piece: bytes) -> None:
        """Raises OSError."""
        self._gathered.append(piece)
        self._gathered_bytes += len(piece) + _BESIDE_BYTES
        self.size += len(piece)
        if self._gathered_bytes < PIECE_BYTES:
            return
        if self._file is None:
            self._file = await asyncio.to_thread(tempfile.TemporaryFile)  # closed by close()
        if self._writing is not None:  # of one that was cancelled meanwhile
            await asyncio.wait((self._writing,))
        pieces, place = tuple(self._gathered), self._written_bytes
        loop = asyncio.get_running_loop()
        self._writing = writing = loop.run_in_executor(None, _write_at, self._file.fileno(), pieces, place)
        writing.add_done_callback(_heard)
        await asyncio.wait((writing,))  # who is cancelled here ends no thread
        writing.result()
        self._written_bytes = self.size
        self._gathered = []
        self._gathered_bytes = 0

    async def read_at(self, offset: int) -> bytes:
        """What is kept from there, PIECE_BYTES at most; b"" at the end. Raises OSError."""
        if offset >= self.size:
            return b""
        if self._file is None or offset >= self._written_bytes:
            return b"".join(self._gathered)[offset - self._written_bytes :]
        piece = await asyncio.to_thread(os.pread, self._file.fileno(), PIECE_BYTES, offset)
        if not piece:
            raise RuntimeError("the spooled body is shorter than it was")
        return piece

    def close(self) -> None:
        """Not before the thread has written: its file's number might be another file's by then."""
        if self._writing is not None and not self._writing.done():
            self._writing.add_done_callback(self._close_file)
        else:
            self._close_file(None)

    def _close_file(self, _: object) -> None:
        if self._file is not None:
            self._file.close()


def _heard(writing: "asyncio.Future[None]") -> None:
    """Of one that was cancelled nobody else asks."""
    if not writing.cancelled():
        writing.exception()


def _write_at(file: int, pieces: tuple[bytes, ...], offset: int) -> None:
    """By its place: who was cancelled does not know that it was written, and writes it again, behind this one."""
    for piece in pieces:
        rest = piece
        while rest:  # a write may be cut short
            written = os.pwrite(file, rest, offset)
            rest, offset = rest[written:], offset + written
