"""The routes file and its companions, watched: a companion that is nowhere must not end the watch of the others."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from proxy.config import watch
from proxy.config.watch import changes


async def test_a_file_in_a_folder_that_is_not_there(tmp_path: Path) -> None:
    file, stop = tmp_path / "routes.toml", asyncio.Event()
    file.write_text("0")
    watched = aiter(changes([file, tmp_path / "nowhere" / "prices.toml"], stop))
    seen = asyncio.ensure_future(anext(watched))
    async with asyncio.timeout(60):
        number = 0
        while not seen.done():  # the watch says nothing of its beginning
            number += 1
            await asyncio.to_thread(file.write_text, str(number))
            await asyncio.wait({seen}, timeout=0.1)
        await seen
        stop.set()
        assert [change async for change in watched] in ([], [None])


async def test_a_change_while_the_watch_begins_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, stop, folders = tmp_path / "cert.pem", asyncio.Event(), watch._folders
    file.write_text("old")

    def meanwhile(files: Sequence[Path]) -> set[Path]:
        file.write_text("new")
        return folders(files)

    monkeypatch.setattr(watch, "_folders", meanwhile)
    watched = aiter(changes([file], stop))
    async with asyncio.timeout(60):
        await anext(watched)
        stop.set()
        assert [change async for change in watched] == []
