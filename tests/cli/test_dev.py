"""`weir dev` as a person runs it: a key and a curl that work, the usage log behind them, and one Ctrl-C for all."""

import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.sdk.gateway import WEIR
from tests.sdk.server import free_port
from tests.tools import require

ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 60.0


class Dev:
    """A copy of the file that `make dev` uses, on free ports, and the process over it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = {8080: free_port(), 8081: free_port(), 9090: free_port()}
        text = (ROOT / "config" / "dev.toml").read_text().replace("../var/dev", "var")
        for usual, free in self.ports.items():
            text = text.replace(f"127.0.0.1:{usual}", f"127.0.0.1:{free}")
        self.file = folder / "dev.toml"
        self.file.write_text(text)

    @contextmanager
    def running(self) -> Iterator[subprocess.Popen[bytes]]:
        """A session of its own: what a terminal sends, it sends to the whole group."""
        with (self.folder / "out").open("wb") as out, (self.folder / "err").open("wb") as err:
            process = subprocess.Popen(
                [str(WEIR), "dev", "-c", str(self.file)], stdout=out, stderr=err, start_new_session=True
            )
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    @property
    def out(self) -> str:
        return (self.folder / "out").read_text()

    @property
    def err(self) -> str:
        return (self.folder / "err").read_text()

    def listening(self) -> list[int]:
        return [port for port in self.ports.values() if _listens(port)]


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def until(true: Callable[[], object], dev: Dev, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not true():
        assert process.poll() is None, f"it ended: {dev.err}"
        assert time.monotonic() < deadline, f"{dev.out}\n{dev.err}"
        time.sleep(0.02)


@pytest.fixture
def dev(tmp_path: Path) -> Dev:
    return Dev(tmp_path)


def test_the_curl_it_prints_works_and_one_interrupt_ends_everything(dev: Dev) -> None:
    curl = require("curl", "install curl")
    with dev.running() as process:
        until(lambda: "Ctrl-C ends everything" in dev.err, dev, process)
        command = re.search(r"^  (curl -s .*?\}')$", dev.err, re.DOTALL | re.MULTILINE)
        assert command is not None, dev.err
        words = command[1].replace("curl", str(curl), 1)
        done = subprocess.run(["bash", "-c", words], capture_output=True, text=True, timeout=60, check=True)
        answer = json.loads(done.stdout)
        assert answer.get("candidates"), answer
        assert answer["candidates"][0]["content"]["parts"][0]["text"]
        until(lambda: "generateContent" in dev.out, dev, process)
        assert "completed" in dev.out
        assert "studio/" in dev.out
        assert len(dev.listening()) == 3

        os.killpg(process.pid, signal.SIGINT)
        process.wait(PATIENCE_SECONDS)
    assert dev.listening() == []
    key = re.search(r"weir_\w+_[\w-]+", dev.err)
    assert key is not None
    assert dev.err.count(key[0]) == 2, "shown beside the team and in the curl, and never again"
    assert key[0] not in dev.out
    assert "Traceback" not in dev.out + dev.err


def test_nothing_is_greeted_before_the_simulator_answers(dev: Dev) -> None:
    """A busy machine may start the gateway first; the curl that is printed must work all the same."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", dev.ports[8081]))  # taken and not listening: the simulator cannot have it
        with dev.running() as process:
            assert process.wait(PATIENCE_SECONDS) == 1
    assert "the simulator did not start" in dev.err
    assert "Try:" not in dev.err
    assert "Traceback" not in dev.err


def test_a_signal_to_it_alone_ends_everything(dev: Dev) -> None:
    with dev.running() as process:
        until(lambda: len(dev.listening()) == 3, dev, process)
        process.terminate()
        process.wait(PATIENCE_SECONDS)
    assert dev.listening() == []


def test_it_ends_with_a_part_that_ends(dev: Dev) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", dev.ports[8080]))
        taken.listen()
        with dev.running() as process:
            assert process.wait(PATIENCE_SECONDS) == 1
    assert "cannot start: " in dev.err
    assert "the gateway did not start" in dev.err
    assert dev.listening() == []
    assert "Traceback" not in dev.err
