"""What a small call costs weir in instructions of user space, and which of its compiled functions they go to.

    python -m bench.instructions                          the gateway as `make wheel` left it, all five plugins
    python -m bench.instructions --target weir-usage      another of `python -m bench --list`
    python -m bench.instructions --weir ../other-tree     another tree's gateway
    python -m bench.instructions --zipped                 answers gzipped and in chunks, as SDKs get them

Counted by valgrind's callgrind (apt install valgrind), so that two runs differ by less than one in a hundred, on a
busy machine too: what a change of the code has done, before a noisy clock can tell. It knows neither the kernel nor
caches, and no SHA instructions: hashing a token looks 20 times as dear as it is. About a minute.
"""

import argparse
import asyncio
import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import uvloop

from bench import identity
from bench.callgrind import Profile
from bench.load import Caller, Line, connect
from bench.machine import Cores, Process
from bench.running import SMALL, ZIPPED
from bench.stage import free_port
from bench.targets import COMPILED, ROOT, Place, Target, all_targets

_CALLERS = 16
_WARM_CALLS = 320
_WAIT_SECONDS = 120.0  # under valgrind a start takes half a minute
_OF_OURS = "CPyDef_"  # how mypyc names functions


def main() -> None:
    asked = _arguments()
    target = next(target for target in all_targets() if target.name == asked.target)
    with tempfile.TemporaryDirectory(prefix="weir-instructions-") as name:
        profile = uvloop.run(_measure(Path(name), target, asked.weir, asked.calls, ZIPPED if asked.zipped else SMALL))
    print(f"{target.label}: {profile.total // asked.calls:,} instructions a call\n")
    print(f"{'with all it calls':>17} {'own':>9} {'times':>6}  compiled function")
    ours = ((cost, name) for name, cost in profile.whole.items() if name.startswith(_OF_OURS))
    for cost, name in sorted(ours, reverse=True)[: asked.most]:
        own, times = profile.own[name] / asked.calls, profile.calls[name] / asked.calls
        print(f"{cost / asked.calls:17,.0f} {own:9,.0f} {times:6.1f}  {_plain(name)}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.instructions", description="instructions a small call")
    ours = [each.name for each in all_targets() if each.name.startswith("weir")]
    parser.add_argument("--target", default="weir", choices=ours)
    parser.add_argument("--weir", type=Path, default=COMPILED, help="whose gateway is measured: this tree's, compiled")
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--zipped", action="store_true", help="answers come gzipped and in chunks")
    parser.add_argument("--most", type=int, default=60, help="functions shown")
    if shutil.which("valgrind") is None:
        parser.error("needs valgrind (on Debian: apt install valgrind)")
    return parser.parse_args()


async def _measure(folder: Path, target: Target, weir: Path, calls: int, asked: str) -> Profile:
    token = identity.make(folder)
    upstream, dump = free_port(), folder / "profile"
    place = Place(
        folder=folder,
        port=free_port(),
        admin=free_port(),
        upstream=upstream,
        certificate=None,
        jwks=f"http://127.0.0.1:{upstream}/jwks.json",
        keys=folder / "jwks.json",
        weir=weir,
    )
    assert target.start is not None, "weir is started"
    command, environment = target.start(place)
    valgrind = ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={dump}"]
    fake = [command[0], "-m", "bench.upstream", str(upstream), str(free_port()), str(folder)]
    headers = [(name, value.format(token=token)) for name, value in target.headers]
    caller = Caller(place.port, target.prefix, headers)
    async with (
        _process(fake, folder / "upstream.log", {"PYTHONPATH": str(ROOT)}),
        _process([*valgrind, *command], folder / "log", {**environment, "PYTHONHASHSEED": "0"}) as gateway,
    ):
        requests = caller.requests(asked)
        await _answering(caller, requests, gateway)
        await _drive(caller, requests, _WARM_CALLS)
        _control("--instr=on", gateway)
        await _drive(caller, requests, calls)
        _control("--dump", gateway)
    with dump.with_suffix(".1").open() as lines:  # what is written at the end has the stop in it
        return Profile(lines)


@asynccontextmanager
async def _process(command: list[str], log: Path, environment: dict[str, str]) -> AsyncIterator[Process]:
    process = Process(command, Cores().load, log, environment)
    try:
        yield process
    finally:
        await process.stop()


async def _answering(caller: Caller, requests: Iterator[bytes], gateway: Process) -> None:
    deadline = time.monotonic() + _WAIT_SECONDS
    while True:
        try:
            await _drive(caller, requests, _CALLERS)
        except OSError as error:
            if not gateway.alive or time.monotonic() > deadline:
                raise SystemExit(f"{error}; the gateway's log ends: {gateway.log.read_text()[-600:]}") from None
            await asyncio.sleep(0.5)
        else:
            return


async def _drive(caller: Caller, requests: Iterator[bytes], calls: int) -> None:
    """Raises OSError for a call that was not answered well."""

    async def one() -> None:
        line = await connect(caller.port, Line)
        try:
            for _ in range(calls // _CALLERS):
                await line.call(next(requests))
                if not line.good:
                    raise ConnectionError(f"answered {line.head[:60]!r}")
        finally:
            line.transport.abort()

    async with asyncio.timeout(_WAIT_SECONDS):
        await asyncio.gather(*(one() for _ in range(_CALLERS)))


def _control(word: str, gateway: Process) -> None:
    subprocess.run(["callgrind_control", word, str(gateway.pids[0])], check=True, capture_output=True)


def _plain(name: str) -> str:
    """`CPyDef_line___Line___write` is line.Line.write; `_gen…helper__` is a coroutine's body."""
    return name.removeprefix(_OF_OURS).removesuffix("_____mypyc_generator_helper__").replace("___", ".")


if __name__ == "__main__":
    main()
