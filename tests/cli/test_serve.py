"""`weir serve` as a process: its start and what keeps it from one, reloads, its end, and a life after `kill -9`."""

import json
import os
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest

from proxy.record import UsageRecord
from proxy.usage import Outcome
from tests.sdk.gateway import WEIR
from tests.sdk.server import free_port

ROOT = Path(__file__).parents[2]
SECRET = "planted-endpoint-key"
PATIENCE_SECONDS = 60.0
FLASH = "/v1beta/models/gemini-2.5-flash:generateContent"
ANSWER = b'{"candidates": [], "usageMetadata": {"promptTokenCount": 3, "totalTokenCount": 3}}'
FILE = """
[server]
listen = "127.0.0.1:{port}"
admin = "127.0.0.1:{admin}"
state = "var"
[upstreams.u]
[[upstreams.u.endpoints]]
name = "a"
url = "{upstream}"
credential = {{ api_key = "env:WEIR_TEST_KEY" }}
[plugins.usage]
use = "usage_log"
[[routes]]
name = "all"
match = "/**"
upstream = "u"
plugins = ["usage"]
"""


def until(true: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def environment(**variables: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
    return kept | {"WEIR_TEST_KEY": SECRET} | variables


def run_to_end(*words: str, cwd: Path = ROOT, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [str(WEIR), "serve", *words]
    return subprocess.run(
        command, cwd=cwd, env=environment(**variables), capture_output=True, text=True, timeout=60, check=False
    )


class Endpoint(BaseHTTPRequestHandler):
    """Answers every call; one to a path with /held in it only once `go_on` is set."""

    protocol_version = "HTTP/1.1"
    held = threading.Event()
    go_on = threading.Event()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if "/held" in self.path:
            self.held.set()
            self.go_on.wait(PATIENCE_SECONDS)
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(ANSWER)))
        self.end_headers()
        self.wfile.write(ANSWER)

    do_GET = do_POST  # noqa: N815

    def log_message(self, *_: object) -> None:
        """The test's own output stays its own."""


@pytest.fixture(scope="module")
def upstream() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


class Served:
    """A gateway's folder, and the process over it."""

    def __init__(self, folder: Path, upstream: str) -> None:
        self.folder = folder
        self.port, self.admin = free_port(), free_port()
        self.file = folder / "routes.toml"
        self.text = FILE.format(port=self.port, admin=self.admin, upstream=upstream)
        self.file.write_text(self.text)
        self._log = folder / "log"

    @contextmanager
    def running(self) -> Iterator[subprocess.Popen[bytes]]:
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                [str(WEIR), "serve", "-c", str(self.file)], env=environment(), stdout=log, stderr=log
            )
        try:
            until(lambda: process.poll() is not None or self.ready(), f"{self.events}")
            assert process.poll() is None, self.log
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()

    def ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/readyz", timeout=2):
                return True
        except OSError:
            return False

    def listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def call(self, path: str = FLASH) -> int:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}?key=planted-of-the-caller", data=b"{}")
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as answer:
                assert answer.read() == ANSWER
                return int(answer.status)
        except urllib.error.HTTPError as error:
            error.close()
            return error.code

    @property
    def log(self) -> str:
        return self._log.read_text()

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.splitlines()]

    def named(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.events if line["event"] == event]

    def records(self) -> list[UsageRecord]:
        return [
            msgspec.json.decode(line, type=UsageRecord)
            for file in sorted((self.folder / "var" / "usage").glob("usage-*.jsonl"))
            for line in file.read_bytes().splitlines()
        ]


@pytest.fixture
def served(tmp_path: Path, upstream: str) -> Served:
    return Served(tmp_path, upstream)


# --- a life -------------------------------------------------------------------------------------------------


def test_it_starts_serves_reloads_and_ends(served: Served) -> None:
    with served.running() as process:
        assert served.call() == 200

        process.send_signal(signal.SIGHUP)
        until(lambda: len(served.named("reloaded")) == 1, "SIGHUP did not reload")

        served.file.write_text(served.text.replace('match = "/**"', 'match = "/v1/**"'))
        until(lambda: served.call() == 404, "an edit was not taken")
        assert served.call("/v1/x") == 200

        served.file.write_text("[server")
        until(lambda: served.named("reload_refused"), "a bad edit was not told")
        assert served.call("/v1/x") == 200

        # As an editor or Kubernetes does it: another file takes the name.
        other = served.folder / "routes.toml.new"
        other.write_text(served.text)
        other.replace(served.file)
        until(lambda: served.call() == 200, "a replaced file was not taken")

        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_SECONDS) == 0
    events = [line["event"] for line in served.events]
    assert events[:4] == ["config_warning", "no_prices", "seal_made", "listening"]
    assert events[-2:] == ["stopping", "stopped"]
    (listening,) = served.named("listening")
    assert listening["url"] == f"http://127.0.0.1:{served.port}"
    assert "Traceback" not in served.log
    assert "planted" not in served.log
    completed = [record for record in served.records() if record.outcome is Outcome.COMPLETED]
    assert [record.path for record in completed if record.path != FLASH] == ["/v1/x", "/v1/x"]
    assert completed[0].usage is not None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_its_end_waits_for_what_is_under_way(number: signal.Signals, served: Served) -> None:
    Endpoint.held.clear()
    Endpoint.go_on.clear()
    statuses: list[int] = []
    with served.running() as process:
        caller = threading.Thread(target=lambda: statuses.append(served.call("/held")))
        caller.start()
        assert Endpoint.held.wait(PATIENCE_SECONDS)
        process.send_signal(number)
        until(lambda: not served.listens(), "it still lets callers in")
        assert process.poll() is None
        Endpoint.go_on.set()
        caller.join()
        assert process.wait(PATIENCE_SECONDS) == 0
    assert statuses == [200]
    (record,) = served.records()
    assert record.outcome is Outcome.COMPLETED
    assert served.named("stopping")[0]["exchanges"] == 1


def test_after_kill_9_the_usage_log_goes_on(served: Served) -> None:
    with served.running() as process:
        assert [served.call(f"/v1/{number}") for number in range(3)] == [200] * 3
        until(lambda: len(served.records()) == 3, "the records were not written within their pause")
        process.kill()
        assert process.wait(PATIENCE_SECONDS) == -signal.SIGKILL
    (file,) = (served.folder / "var" / "usage").glob("usage-*.jsonl")
    with file.open("ab") as torn:
        torn.write(b'{"schema":1,"time":"20')  # what a machine that lost its power may leave
    with served.running() as process:
        assert served.call("/v1/3") == 200
        process.terminate()
        assert process.wait(PATIENCE_SECONDS) == 0
    assert [record.path for record in served.records()] == [f"/v1/{number}" for number in range(4)]


# --- what keeps it from starting ----------------------------------------------------------------------------


def test_without_its_key_it_says_what_to_export() -> None:
    """With the file it takes by default."""
    done = run_to_end()
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert "config/routes.toml: upstreams.gemini.endpoints[0].credential.api_key: " in line
    assert line.endswith(
        "the environment variable GEMINI_API_KEY is not set; export GEMINI_API_KEY=... and start again"
    )


@pytest.mark.parametrize("taken", ["port", "admin"])
def test_an_address_that_is_taken(taken: str, served: Served) -> None:
    with socket.socket() as occupied:
        occupied.bind(("127.0.0.1", getattr(served, taken)))
        occupied.listen()
        done = run_to_end("-c", str(served.file))
    assert (done.returncode, done.stdout) == (1, "")
    last = done.stderr.splitlines()[-1]
    assert last.startswith("cannot start: ")
    assert "address already in use" in last
    assert "Traceback" not in done.stderr


def test_a_file_that_cannot_be_used(served: Served) -> None:
    served.file.write_text(served.text.replace("[server]", "[surver]").replace("upstream =", "upsteam ="))
    done = run_to_end("-c", str(served.file))
    assert (done.returncode, done.stdout) == (1, "")
    problems = [line.removeprefix(f"{served.file}: ") for line in done.stderr.splitlines()]
    assert problems[0].startswith('unknown table "surver"')
    assert problems[1].startswith('routes.all: unknown key "upsteam"')
