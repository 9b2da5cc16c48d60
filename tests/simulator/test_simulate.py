import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest

COMMAND = [sys.executable, "-c", "import typer; from proxy.cli.simulate import simulate; typer.run(simulate)"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_says_where_it_listens_and_ends_clean(number: signal.Signals) -> None:
    with subprocess.Popen([*COMMAND, "--listen", "127.0.0.1:0"], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        url = re.search(r"http://127\.0\.0\.1:\d+", line)
        assert url is not None, line
        with urllib.request.urlopen(f"{url[0]}/v1beta/models?key=any") as response:
            assert response.headers["x-weir-simulator"] == "1"
        os.kill(process.pid, number)
        assert process.wait(60) == 0
        assert process.stderr.read() == ""


def test_a_taken_port_is_said(tmp_path: object) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = subprocess.run([*COMMAND, "--listen", address], capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 1
    assert done.stderr.startswith(f"cannot listen on {address}")


def test_a_bad_address_is_refused() -> None:
    done = subprocess.run([*COMMAND, "--listen", "8081"], capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 2
    assert "HOST:PORT" in done.stderr
