"""A spool whose disk is slow, and whose owner leaves in the middle of a write."""

import asyncio
import os
import threading
import time
from pathlib import Path

import pytest

from proxy.wire.spool import PIECE_BYTES, Spool

PIECE = b"a caller's own body " * 200


async def kept(spool: Spool) -> bytes:
    pieces = []
    while piece := await spool.read_at(sum(map(len, pieces))):
        pieces.append(piece)
    return b"".join(pieces)


async def test_what_is_kept_is_read_again_from_memory_and_from_the_file() -> None:
    spool = Spool()
    whole = b""
    for number in range(3 * PIECE_BYTES // len(PIECE)):
        piece = b"%d " % number + PIECE
        await spool.keep(piece)
        whole += piece
    assert spool.size == len(whole)
    assert await kept(spool) == whole
    assert await spool.read_at(len(whole)) == b""
    spool.close()


@pytest.mark.parametrize("goes_on", [False, True])
async def test_a_write_that_was_cancelled_goes_nowhere_else(
    goes_on: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes = threading.Event()
    write = os.pwrite

    def slow(file: int, data: bytes, offset: int) -> int:
        writes.set()
        time.sleep(0.005)
        return write(file, data, offset)

    monkeypatch.setattr(os, "pwrite", slow)
    spool = Spool()
    pieces: list[bytes] = []

    async def fill() -> None:
        while True:
            pieces.append(b"%d " % len(pieces) + PIECE)
            await spool.keep(pieces[-1])

    filling = asyncio.create_task(fill())
    await asyncio.to_thread(writes.wait, 30)
    filling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await filling
    if goes_on:
        for _ in range(2 * PIECE_BYTES // len(PIECE)):
            pieces.append(b"%d " % len(pieces) + PIECE)
            await spool.keep(pieces[-1])
        assert await kept(spool) == b"".join(pieces)
    writing = spool._writing
    spool.close()
    with (tmp_path / "other").open("w+b") as other:  # which may get the number of the spool's file
        assert writing is not None
        if not writing.done():
            await asyncio.wait([writing])
        assert other.read() == b"", "bytes of the caller's"
