"""Says when the routes file, or one that is read with it, has changed, by watchfiles.

Run as one task by `weir serve`. It watches folders, not files, because editors and Kubernetes replace files
instead of writing into them (a Kubernetes mount swaps a `..data` link).
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from pathlib import Path

from watchfiles import awatch

# Between two looks at files of which nothing was heard: a watch takes a while to begin, and some mounts never tell.
_LOOK_MS = 2000


async def changes(files: Sequence[Path], stop: asyncio.Event) -> AsyncIterator[None]:
    """One item for each burst of changes that left a file different from what it was. One may be still to come."""
    seen = await asyncio.to_thread(_fingerprints, files)
    folders = await asyncio.to_thread(_folders, files)
    heard = awatch(
        *folders,
        stop_event=stop,
        recursive=False,
        debounce=200,
        step=50,
        rust_timeout=_LOOK_MS,
        yield_on_timeout=True,
    )
    async for _ in heard:
        now = await asyncio.to_thread(_fingerprints, files)
        if not now.items() <= seen.items():
            seen |= now
            yield


def _folders(files: Sequence[Path]) -> set[Path]:
    """Those that are there: watchfiles watches none of them when one is missing."""
    return {file.parent for file in files if file.parent.is_dir()}


def _fingerprints(files: Sequence[Path]) -> dict[Path, bytes]:
    """Without those that are not there: between the two halves of a replace, or not yet."""
    found: dict[Path, bytes] = {}
    for file in files:
        with suppress(OSError):
            found[file] = file.read_bytes()
    return found
