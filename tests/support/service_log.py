"""The service log as its readers get it: configured as `weir serve` does, its lines read back."""

import io
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import structlog

from proxy import log


class ServiceLog:
    """`text` is all that was written; `events` its lines."""

    def __init__(self) -> None:
        self._stream = io.StringIO()

    @property
    def text(self) -> str:
        return self._stream.getvalue()

    @property
    def events(self) -> list[dict[str, Any]]:
        return [msgspec.json.decode(line) for line in self.text.splitlines()]

    def named(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.events if line["event"] == event]


@contextmanager
def service_log(level: str = "debug") -> Iterator[ServiceLog]:
    """Log to memory, through everything that a real line passes, until the context ends."""
    written = ServiceLog()
    root = logging.getLogger()
    handlers, threshold, stderr = root.handlers[:], root.level, sys.stderr
    sys.stderr = written._stream
    try:
        log.configure(level, json=True)
    finally:
        sys.stderr = stderr
    try:
        yield written
    finally:
        root.handlers[:] = handlers
        root.setLevel(threshold)
        structlog.reset_defaults()
