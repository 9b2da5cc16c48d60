"""Says when the routes file has changed, by watchfiles.

Run as one task by `weir serve`. It watches the folder, not the file, because editors and Kubernetes replace
files instead of writing into them (a Kubernetes mount swaps a `..data` link).
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from watchfiles import awatch


async def changes(file: Path, stop: asyncio.Event) -> AsyncIterator[None]:
    """One item for each burst of changes that left the file different from what it was."""
    seen = _fingerprint(file)
    async for _ in awatch(file.parent, stop_event=stop, recursive=False, debounce=200, step=50):
        now = _fingerprint(file)
        if now is not None and now != seen:
            seen = now
            yield


def _fingerprint(file: Path) -> bytes | None:
    try:
        return file.read_bytes()
    except OSError:
        return None  # between the two halves of a replace
