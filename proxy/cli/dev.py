"""`weir dev`: everything on one machine, to try: the simulator, a gateway before it, a key, and the log.

`make dev` runs it. The parts are real processes, started as a user would start them, and ended with it.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated
from urllib.error import HTTPError
from urllib.parse import urlsplit

import typer

from proxy.cli.local import ask
from proxy.cli.settings import load_or_exit

WAIT_SECONDS = 20.0
STOP_SECONDS = 10.0


def dev(
    config: Annotated[Path, typer.Option("-c", "--config", help="The routes file.")] = Path("config/dev.toml"),
) -> None:
    """Start the simulator and a gateway before it, make a key, print a curl to try, follow the usage log."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # whoever stops us, the parts end with us
    os.environ.setdefault("SIMULATOR_KEY", "a-key-of-the-simulator")
    os.environ.setdefault("SIMULATOR_KEY_B", "another-key-of-the-simulator")
    settings = load_or_exit(config)
    simulator = urlsplit(next(iter(settings.upstreams.values()))[0].url).netloc
    team = next(iter(settings.teams))
    with ExitStack() as stack:
        key = _new_key(config, team)
        upstream = stack.enter_context(_child("simulate", "--listen", simulator))
        gateway = stack.enter_context(_child("serve", "-c", str(config), "--log-level", "warning"))
        _wait_for("simulator", simulator, "/", upstream)
        _wait_for("gateway", settings.server.admin, "/readyz", gateway)
        typer.echo(_greeting(settings.server.listen, settings.server.admin, simulator, team, key), err=True)
        stack.enter_context(_child("usage", "tail", "-c", str(config)))
        try:
            os.wait()  # for whichever ends first
        except KeyboardInterrupt:
            return
        typer.echo("one of the processes ended; stopping the others", err=True)
        raise typer.Exit(1)


def _weir(*words: str) -> list[str]:
    return [sys.executable, "-m", "proxy", *words]


@contextmanager
def _child(*words: str) -> Iterator[subprocess.Popen[bytes]]:
    """A `weir` command for as long as the context lasts."""
    process = subprocess.Popen(_weir(*words))  # noqa: S603  # our own command
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()


def _wait_for(part: str, address: str, path: str, process: subprocess.Popen[bytes]) -> None:
    """Until it answers, whatever it says: a gateway ready before its upstream would fail the first curl."""
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with ask(address, path, timeout_seconds=1):
                return
        except HTTPError as answer:
            if answer.code != 503:  # the gateway's "not yet"
                return
        except OSError:
            pass  # not listening yet
        time.sleep(0.1)
    typer.echo(f"the {part} did not start", err=True)
    raise typer.Exit(1)


def _new_key(config: Path, team: str) -> str:
    words = _weir("keys", "new", "--team", team, "--note", "made by weir dev", "-c", str(config))
    made = subprocess.run(words, check=False, capture_output=True, text=True)  # noqa: S603
    if made.returncode:
        typer.echo(made.stderr, err=True, nl=False)
        raise typer.Exit(1)
    return made.stdout.strip()


def _greeting(listen: str, admin: str, simulator: str, team: str, key: str) -> str:
    return f"""
gemini-weir  http://{listen}   admin http://{admin}/status   simulator http://{simulator}
A key of team {team}: {key}

Try:
  curl -s "http://{listen}/v1beta/models/gemini-2.5-flash:generateContent" \\
    -H "x-goog-api-key: {key}" -H "Content-Type: application/json" \\
    -d '{{"contents": [{{"parts": [{{"text": "Say hello."}}]}}]}}'

The usage log follows; Ctrl-C ends everything.
"""
