"""One run: the fake upstream, then round after round every target in turn, so that a disturbance hits all alike.

`__main__.py` calls it. Everything stays on 127.0.0.1 and in a folder of its own. A target that does not start or
fails a phase is noted and left out; it ends nobody else's measurement.
"""

import asyncio
import gc
import os
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

from bench import identity, machine
from bench.faithful import unfaithful
from bench.load import Caller, Line, connect
from bench.machine import Cores, Process
from bench.phases import USUAL, Phase, Setting
from bench.results import Measured, Results
from bench.running import SMALL, Running
from bench.stage import free_port
from bench.targets import ROOT, Place, Target

_DESCRIPTORS = 24_000
_WARM_CALLS = 64
_FAILURES = (OSError, TimeoutError, ValueError, ZeroDivisionError)


class Run:
    """Options and surroundings of one run."""

    def __init__(self, folder: Path, weir: Path, seconds: float, rounds: int) -> None:
        self._folder = folder
        self._weir = weir
        self._seconds = seconds
        self._rounds = rounds
        self._cores = Cores()
        self._token = identity.make(folder)
        self._upstream, self._upstream_tls = free_port(), free_port()
        self._started = 0
        self._given_up: set[str] = set()  # what did not start is not waited for again
        self.results = Results(
            time.strftime("%Y-%m-%d %H:%M"),
            machine.describe(),
            rounds,
            seconds,
        )
        self._fake: Process  # the upstream, while there is one

    async def measure(self, targets: Sequence[Target], phases: dict[str, Phase]) -> Results:
        os.sched_setaffinity(0, self._cores.load)
        machine.allow_descriptors(_DESCRIPTORS)
        ports = [str(self._upstream), str(self._upstream_tls)]
        command = [sys.executable, "-m", "bench.upstream", *ports, str(self._folder)]
        log = self._folder / "upstream.log"
        self._fake = upstream = Process(command, self._cores.load, log, {"PYTHONPATH": str(ROOT)})
        self.results.targets = {target.name: Measured(target.label, target.note) for target in targets}
        gc.freeze()
        gc.disable()  # between targets only: a collection would show as latency
        try:
            await self._answering(Caller(self._upstream), upstream, 20)
            for number in range(self._rounds):
                await self._round(number, targets, phases)
            for target in targets:
                for name, phase in _of(target, phases, fresh=True).items():
                    await self._phases(target, {name: phase}, f"once {name}", phase.setting)
        finally:
            gc.enable()
            await upstream.stop()
        return self.results

    async def _round(self, number: int, targets: Sequence[Target], phases: dict[str, Phase]) -> None:
        """Settings of one start, target by target; then those of more, so that what is compared stands side by side."""
        said = f"round {number + 1} of {self._rounds}"
        for start in range(max(phase.setting.starts for phase in phases.values())):
            for target in targets:
                mine = _of(target, phases, fresh=False)
                for setting in dict.fromkeys(phase.setting for phase in mine.values()):
                    if start < setting.starts:
                        alike = {name: phase for name, phase in mine.items() if phase.setting == setting}
                        check = number == start == 0 and setting == USUAL
                        await self._phases(target, alike, said, setting, check=check)

    async def _phases(
        self,
        target: Target,
        phases: dict[str, Phase],
        said: str,
        setting: Setting = USUAL,
        *,
        check: bool = False,
    ) -> None:
        """Start it, measure these, stop it; what goes wrong is noted."""
        if target.name in self._given_up:
            return
        gc.collect()
        measured = self.results.targets[target.name]
        began, known = time.perf_counter(), len(measured.failures)
        found: dict[str, float] = {"noise": machine.noise(self._cores.proxy(target.workers))}
        others = self._cores.proxy(target.workers) if setting.together else [*self._cores.load]
        try:
            self._move(others)
            async with self._running(target, tls=setting.tls) as on:
                if check and target.start:
                    for wrong in await unfaithful(target, on.caller, self._upstream):
                        measured.fail(wrong)
                for name, phase in phases.items():
                    try:
                        found |= await phase.run(on)
                    except _FAILURES as error:
                        measured.fail(f"{name}: {error or type(error).__name__}")
        except _FAILURES as error:
            self._given_up.add(target.name)
            measured.fail(f"did not start: {error}")
        measured.rounds.append(found)
        failures = "".join(f"; {failure}" for failure in measured.failures[known:])
        cpu = found.get("small.cpu.64")
        told = f", {cpu:.1f} µs a small call" if cpu else ""
        seconds = time.perf_counter() - began
        print(f"{said}: {target.name} {seconds:.0f} s{told}, noise {found['noise']:.2f}{failures}", flush=True)

    def _move(self, cores: Sequence[int]) -> None:
        """The load, which we are, to the first, and the upstream to the last: left free, they gather on one of two."""
        for pid, core in ((os.getpid(), cores[0]), *((pid, cores[-1]) for pid in self._fake.pids)):
            machine.pin(pid, {core})

    @asynccontextmanager
    async def _running(self, target: Target, *, tls: bool) -> AsyncIterator[Running]:
        headers = [(name, value.format(token=self._token)) for name, value in target.headers]
        if target.start is None:
            yield Running(Caller(self._upstream, headers=headers), None, self._seconds, target.workers)
            return
        self._started += 1
        folder = self._folder / f"{self._started}-{target.name}"
        folder.mkdir()
        place = Place(
            folder=folder,
            port=free_port(),
            admin=_free_ports(target.workers + 1),
            upstream=self._upstream_tls if tls else self._upstream,
            certificate=self._folder / "cert.pem" if tls else None,
            jwks=f"http://127.0.0.1:{self._upstream}/jwks.json",
            keys=self._folder / "jwks.json",
            weir=self._weir,
        )
        command, environment = target.start(place)
        cores = self._cores.proxy(target.workers)
        process = Process(command, cores, folder / "log", environment)
        caller = Caller(place.port, target.prefix, headers)
        try:
            await self._answering(caller, process, target.wait)
            process.look()
            if target.workers > 1:
                process.spread(cores)
            yield Running(caller, process, self._seconds, target.workers)
        finally:
            await process.stop()

    async def _answering(self, caller: Caller, process: Process, wait: float) -> None:
        """Until it answers well, and then some calls more, so that it is warm."""
        deadline = time.monotonic() + wait
        answered = 0
        said = "does not listen"
        while answered < _WARM_CALLS:
            try:
                line = await connect(caller.port, Line)
                await asyncio.wait_for(line.call(caller.request(SMALL)), 15)
                line.transport.abort()
                said = line.head[:60].decode("latin-1")
                answered += line.good
            except (OSError, TimeoutError) as error:
                line = None
                said = str(error) or type(error).__name__
            if line is None or not line.good:
                if not process.alive or time.monotonic() > deadline:
                    raise OSError(f"{said}; its log ends: {_tail(process.log)}")
                await asyncio.sleep(0.1)


def _free_ports(count: int) -> int:
    """The first of so many in a row: each worker has its own beside that of the whole."""
    while True:
        first = free_port()
        with ExitStack() as stack:
            try:
                for port in range(first, first + count):
                    probe = stack.enter_context(socket.socket())
                    probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return first


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-600:].strip()


def _of(target: Target, phases: dict[str, Phase], *, fresh: bool) -> dict[str, Phase]:
    return {name: phase for name, phase in phases.items() if name in target.phases and phase.fresh == fresh}


async def measure(
    targets: Sequence[Target], phases: dict[str, Phase], weir: Path, seconds: float, rounds: int
) -> Results:
    with tempfile.TemporaryDirectory(prefix="weir-bench-") as name:
        return await Run(Path(name), weir, seconds, rounds).measure(targets, phases)
