"""One file, one writer, by `flock`: the kernel lets go of it when the process dies, however that happens.

The journal locks its usage files, `WriteAhead` its own; whoever gets the lock of a file that it did not make
knows that its writer is gone. Network file systems may keep such locks from other machines: a folder is one
machine's.
"""

import fcntl
import os
from pathlib import Path

FILE_MODE = 0o640  # names of people are in it; a log shipper reads it through its group


def lock(file: Path, *, create: bool = False, append: bool = False) -> int | None:
    """Open a file to read and write, as the only one who does; None when somebody else does."""
    flags = os.O_RDWR | (os.O_CREAT if create else 0) | (os.O_APPEND if append else 0)
    fd = os.open(file, flags, FILE_MODE)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    except OSError:
        os.close(fd)
        raise
    return fd
