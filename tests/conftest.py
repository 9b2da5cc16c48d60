"""What holds for every test: nothing blocks the loop, no test leaves its logging to the next, Ctrl-C works."""

import logging
import signal
from collections.abc import Iterator

import pytest
import structlog
from blockbuster import blockbuster_ctx

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Started in the background by a shell. Programs that a test starts would be as deaf to the Ctrl-C it sends them.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _nothing_blocks_the_loop() -> Iterator[None]:
    """A file, socket or sleep call from our code on the event loop raises BlockingError."""
    with blockbuster_ctx(["proxy", "plugins"]) as watch:
        for function in watch.functions.values():
            function.can_block_in("structlog/dev.py", {"__call__"})  # a traceback, with its source lines
            function.can_block_in("proxy/config/load.py", {"load"})  # before the loop runs; a reload has a thread
            function.can_block_in("proxy/wire/tls.py", {"__init__"})  # likewise
        yield


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    before, root = structlog.get_config(), logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.configure(**before)
    root.handlers[:] = handlers
    root.setLevel(level)
