"""This machine and what runs on it: cores, processes with their descendants, their time and memory, and the noise.

For `run.py` and the phases. Everything is read from /proc, so Linux alone will do. It ends only what it started.
"""

import asyncio
import os
import platform
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")
_PATIENCE_SECONDS = 8.0
_SPIN_SECONDS = 0.15
_SPIN = (
    "import time; began = time.perf_counter(), time.process_time()\n"
    f"while (spent := time.process_time() - began[1]) < {_SPIN_SECONDS}: pass\n"
    "print((time.perf_counter() - began[0]) / spent)"
)


class Cores:
    """The proxy has the first core for itself; the upstream and the load share the last one.

    Where workers are compared, all three share as many cores as there are workers.
    """

    def __init__(self) -> None:
        ours = sorted(os.sched_getaffinity(0))
        if len(ours) < 2:
            raise SystemExit("bench: needs two cores: one for the proxy alone, one for the load")
        self.load = {ours[-1]}
        self._ours = ours

    def proxy(self, workers: int) -> list[int]:
        """One for each worker, as far as there are so many."""
        return self._ours[:workers]


class Process:
    """A child on cores of its own, with its descendants. Its output goes to a file."""

    def __init__(self, argv: Sequence[str], cores: Iterable[int], log: Path, environment: Mapping[str, str]) -> None:
        self.log = log
        with log.open("wb") as out, _on(cores):
            self._child = subprocess.Popen(
                argv,
                env=os.environ | environment,
                cwd=log.parent,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        self.pids = [self._child.pid]

    def look(self) -> None:
        """Find the descendants there are now."""
        children: dict[int, list[int]] = {}
        for pid in (int(name) for name in os.listdir("/proc") if name.isdigit()):
            if fields := _read(f"/proc/{pid}/stat").rpartition(")")[2].split():
                children.setdefault(int(fields[1]), []).append(pid)
        self.pids = [self._child.pid]
        for pid in self.pids:
            self.pids += children.get(pid, [])

    def spread(self, cores: Sequence[int]) -> None:
        """One core for each worker: the descendants, in the order in which they were started."""
        for pid, core in zip(sorted(self.pids[1:]), cores, strict=False):
            pin(pid, {core})

    @property
    def alive(self) -> bool:
        return self._child.poll() is None

    def spent(self) -> float:
        """Processor seconds of all, so far."""
        return sum(map(_spent, self.pids))

    def shares(self, before: Sequence[float]) -> list[float]:
        """What each process has spent since then; for `before`: `[0] * len(pids)`."""
        return [_spent(pid) - was for pid, was in zip(self.pids, before, strict=True)]

    def memory_mb(self) -> float:
        return self._status_mb("VmRSS")

    def peak_mb(self) -> float:
        """Since `forget_peak`; the sum of the processes' peaks."""
        return self._status_mb("VmHWM")

    def forget_peak(self) -> None:
        for pid in self.pids:
            Path(f"/proc/{pid}/clear_refs").write_text("5")

    def _status_mb(self, field: str) -> float:
        found = [re.search(rf"{field}:\s+(\d+)", _read(f"/proc/{pid}/status")) for pid in self.pids]
        return sum(int(match[1]) for match in found if match) / 1024

    async def stop(self) -> None:
        self.look()
        for number in (signal.SIGTERM, signal.SIGKILL):
            for pid in self.pids:
                if _parent_is_ours(pid, self.pids):
                    _signal(pid, number)
            deadline = time.monotonic() + _PATIENCE_SECONDS
            while time.monotonic() < deadline:
                if self._child.poll() is not None and not any(map(_lives, self.pids)):
                    return
                await asyncio.sleep(0.05)


def pin(pid: int, cores: Iterable[int]) -> None:
    """All threads that the process has now run on these alone."""
    for task in os.listdir(f"/proc/{pid}/task"):
        os.sched_setaffinity(int(task), cores)


@contextmanager
def _on(cores: Iterable[int]) -> Iterator[None]:
    """What is started meanwhile runs on these: a child inherits them."""
    ours = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, ours)


def _parent_is_ours(pid: int, ours: Iterable[int]) -> bool:
    """A process id may have been given to somebody else meanwhile."""
    fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return bool(fields) and (int(fields[1]) in {os.getpid(), 1, *ours})


def _lives(pid: int) -> bool:
    return bool(_read(f"/proc/{pid}/stat"))


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _spent(pid: int) -> float:
    """The scheduler's own count, in ns for each thread; in ticks where the kernel keeps none."""
    try:
        tasks = os.listdir(f"/proc/{pid}/task")
    except FileNotFoundError:
        return 0.0
    counts = [_read(f"/proc/{pid}/task/{task}/schedstat").split() for task in tasks]
    if all(counts):
        return sum(int(count[0]) for count in counts) / 1e9
    fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK if fields else 0.0


def _read(path: str) -> str:
    """A file of /proc; empty when its process is gone."""
    try:
        return Path(path).read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def noise(cores: Iterable[int]) -> float:
    """Wall over processor time of a spin on each of these cores, the worst: 1.0 when nobody else is there."""
    return max(map(_noise, cores))


def _noise(core: int) -> float:
    with _on({core}):
        out = subprocess.run([sys.executable, "-S", "-c", _SPIN], check=True, capture_output=True, text=True)
    return float(out.stdout)


def allow_descriptors(count: int) -> None:
    """For us, and so for what we start."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY:
        count = min(count, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count), hard))


def holders(port: int, pids: Iterable[int]) -> dict[int, int]:
    """Which of these processes holds the connection from each port of 127.0.0.1 to this one."""
    sockets = {}
    for line in _read("/proc/net/tcp").splitlines()[1:]:
        fields = line.split()
        here, there = (int(address.rpartition(":")[2], 16) for address in fields[1:3])
        if here == port and there:  # it listens with no other side
            sockets[f"socket:[{fields[9]}]"] = there
    found = {}
    for pid in pids:
        for name in os.listdir(f"/proc/{pid}/fd"):
            try:
                held = os.readlink(f"/proc/{pid}/fd/{name}")
            except FileNotFoundError:  # closed meanwhile
                continue
            if held in sockets:
                found[sockets[held]] = pid
    return found


def describe() -> str:
    """For the report: what it ran on."""
    model = re.search(r"model name\s*:\s*(.*)", _read("/proc/cpuinfo"))
    name = model[1] if model else platform.machine()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = len(os.sched_getaffinity(0))
    return f"{cores} cores of {name}, {memory:.0f} GB, Linux {platform.release()}, Python {platform.python_version()}"
