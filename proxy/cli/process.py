"""What a serving process asks of the machine it runs on: open files, an allocator that keeps, a collector that rests.

`serve.py` calls these once, before it listens. None of them changes what the gateway does, only what it costs.
"""

import ctypes
import gc
import os
import resource
from typing import Final

import structlog

_DESCRIPTORS: Final = 65_536  # what we ask for: each exchange holds two
# mallopt(3); figures in docs/bench.md: without them a chunked image of 20 MB costs twice the processor time.
_TRIM_THRESHOLD: Final = (-1, 128 << 20, "MALLOC_TRIM_THRESHOLD_")  # freed memory that is kept at the heap's top
_TOP_PAD: Final = (-2, 32 << 20, "MALLOC_TOP_PAD_")  # asked for at once; not resident until it is used
_MMAP_THRESHOLD: Final = (-3, 32 << 20, "MALLOC_MMAP_THRESHOLD_")  # larger blocks are given back at once
_SETTINGS: Final = (_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD)
# What an exchange makes is freed by its counts; cycles are rare. 700 would have the youngest looked at every 30 calls.
_YOUNGEST: Final = 20_000


def allow_descriptors(connections: int) -> None:
    """Raise the soft limit, often 1024, to what we are going to need."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    if max(soft, most) < 2 * connections:
        cure = "raise the limit of open files (ulimit -n), or lower [server] connections"
        structlog.get_logger("weir").warning("too_few_descriptors", limit=most, connections=connections, cure=cure)


def keep_freed_memory() -> bool:
    """Have glibc keep what is freed: given back, the next piece of a body would fault it in again, page by page.

    False where the C library has no such setting (musl). What the environment sets stays as it is.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    done = [mallopt(number, size) for number, size, name in _SETTINGS if name not in os.environ]
    return all(done)


def settle_collector() -> None:
    """What start-up made lives for ever: the collector need not look at it again (10 to 20 % of a call)."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNGEST, *gc.get_threshold()[1:])
