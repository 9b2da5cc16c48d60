"""How far a long read is, on standard error, for a person who waits; nothing where nobody watches.

Used by the commands that read the whole usage log. Results never pass here: they go to standard output.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn


@contextmanager
def reading(total_bytes: int) -> Iterator[Callable[[int], None]]:
    """Call what it yields with each number of bytes that has been read."""
    console = Console(stderr=True)
    columns = (
        TextColumn("reading the usage log"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("read", total=total_bytes)
        yield lambda read_bytes: progress.advance(task, read_bytes)
