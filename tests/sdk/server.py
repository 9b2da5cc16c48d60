"""Servers of ours as the processes a person would start, for tests that need the whole program.

The fixtures of `conftest.py` use it. A server counts as started when a URL of it answers 200, and is ended
by its own id. Refuses to hide a server that does not start or does not stop: its last lines are the message.
"""

import itertools
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

START_SECONDS = 60.0
STOP_SECONDS = 30.0
POLL_SECONDS = 0.02


# Below the range that the kernel gives to outgoing connections and to port 0: nothing takes one by chance between
# our look and the server's bind. Each process begins elsewhere, so that parallel runs do not meet.
_ports = itertools.islice(itertools.cycle(range(10_000, 30_000)), os.getpid() * 101 % 20_000, None)


def free_port() -> int:
    """A port that nobody listens on, and that is not given out again soon."""
    for port in _ports:
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("an endless cycle ended")


@contextmanager
def serving(
    command: Sequence[str], *, ready: str, log: Path, environment: Mapping[str, str] | None = None
) -> Iterator[None]:
    """Run the command until the block ends. Its output goes to the file `log`."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        _wait_until_ready(process, ready, log)
        yield
    finally:
        _end(process)
    # 0: it was asked to stop and stopped. Anything else is a fault of the shutdown, which no other test would see.
    assert process.returncode in (0, -signal.SIGTERM), f"{command} ended with {process.returncode}:\n{_tail(log)}"


def _wait_until_ready(process: subprocess.Popen[bytes], ready: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not _answers(ready):
        assert process.poll() is None, f"{process.args!r} ended with {process.returncode} at its start:\n{_tail(log)}"
        assert time.monotonic() < deadline, f"{ready} does not answer 200 after {START_SECONDS:g} s:\n{_tail(log)}"
        time.sleep(POLL_SECONDS)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1.0):
            return True
    except urllib.error.HTTPError as error:
        error.close()
        return False
    except OSError:
        return False


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-20:])
