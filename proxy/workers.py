"""`[server] workers = N`: one supervisor process over N workers that share its listening sockets.

`cli/serve.py` runs a `Supervisor`, and in each worker reads its `Place` there. The sockets are bound once and live
as long as the supervisor, so a connection that finds no worker ready waits instead of being refused. The
supervisor relays nothing and reads no request: what could crash it is kept in the workers.
"""

import asyncio
import contextlib
import signal
import socket
from collections.abc import Coroutine, Sequence
from typing import Any, NamedTuple

import structlog

from proxy.config.schema import Server
from proxy.wire.door import Sockets, bind

START_SECONDS = 60.0  # for a worker to get ready: its plugins may fetch keys
HEALTHY_SECONDS = 5.0  # a worker that ends before is not restarted at once a second time
MOST_PAUSE_SECONDS = 10.0
GRACE_SECONDS = 15.0  # beyond `[server.timeouts] shutdown`, before a worker that hangs is killed
READY = b"r"


class Place(NamedTuple):
    """What a worker is told on its command line: which one it is, and the descriptors it was born with."""

    number: int
    line: int  # to the supervisor: we say once that we are ready; its end of file says that the supervisor is gone
    public: tuple[int, ...]
    admin: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.number}:{self.line}:{','.join(map(str, self.public))}:{','.join(map(str, self.admin))}"

    @classmethod
    def parse(cls, text: str) -> "Place":
        number, line, public, admin = text.split(":")
        return cls(int(number), int(line), tuple(map(int, public.split(","))), tuple(map(int, admin.split(","))))

    def sockets(self) -> Sockets:
        return Sockets(
            [socket.socket(fileno=number) for number in self.public],
            [socket.socket(fileno=number) for number in self.admin],
        )


class Worker:
    """One worker process, seen from the supervisor."""

    def __init__(self, number: int, process: asyncio.subprocess.Process, line: asyncio.StreamReader) -> None:
        self.number = number
        self.process = process
        self.born = asyncio.get_running_loop().time()
        self.was_ready = False
        self._line = line

    async def ready(self) -> bool:
        """True once it serves; False when it ended before, or takes too long."""
        with contextlib.suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(START_SECONDS):
                self.was_ready = await self._line.read(1) == READY
        return self.was_ready

    @property
    def alive(self) -> bool:
        return self.process.returncode is None

    def send(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):  # it has just ended
            self.process.send_signal(number)


class Supervisor:
    """Binds at once (raises OSError when an address is taken); `run` starts the workers and keeps them there.

    Args:
        command: the command line of a worker, without its place.
    """

    def __init__(self, server: Server, command: Sequence[str]) -> None:
        self._server = server
        self._command = command
        self._public = bind(server.listen)
        host, _, port = server.admin.rpartition(":")
        ports = [int(port) + number if int(port) else 0 for number in range(server.workers)]
        self._admin = [bind(f"{host}:{each}") for each in ports]
        self._serving: dict[int, Worker] = {}
        self._alive: set[Worker] = set()  # also those that start, and those that drain
        self._short_lives: dict[int, int] = {}
        self._in_order = True
        self._stopping = asyncio.Event()
        self._restarting = False
        self._tasks: set[asyncio.Task[Any]] = set()  # among them one a worker alive, to its end
        self._log = structlog.get_logger("weir")

    async def run(self) -> bool:
        """Until SIGINT or SIGTERM; SIGHUP goes on to the workers, SIGUSR2 puts new ones in the place of all.

        False when the workers did not start, or one had to be killed at the end.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stopping.set)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        loop.add_signal_handler(signal.SIGUSR2, lambda: self._keep(self._restart()))
        if not await self._start() and not self._stopping.is_set():
            self._in_order = False
            self._stopping.set()
        await self._stopping.wait()
        await self._end()
        return self._in_order

    async def _start(self) -> bool:
        """The first alone: what is wrong with the file or a plugin is then said once, not N times."""
        for numbers in ((0,), range(1, self._server.workers)):
            for worker in await asyncio.gather(*(self._birth(number) for number in numbers)):
                if worker is None:
                    return False
                self._put(worker)
        if len(self._serving) < self._server.workers:  # one died while the others started
            return False
        host, port = self._public[0].getsockname()[:2]
        scheme = "https" if self._server.tls else "http"
        admin = [f"{host}:{port}" for host, port in (socks[0].getsockname()[:2] for socks in self._admin)]
        pids = [self._serving[number].process.pid for number in range(self._server.workers)]
        self._log.info("supervising", url=f"{scheme}://{host}:{port}", admin=admin, pids=pids)
        return True

    async def _birth(self, number: int) -> Worker | None:
        """A worker that is ready; None when it could not be had, or it is too late for one."""
        if self._stopping.is_set():
            return None
        try:
            worker = await self._spawn(number)
        except OSError as error:  # no process or no descriptor to be had
            self._log.error("worker_not_started", worker=number, reason=str(error))
            return None
        if await worker.ready():
            return worker
        worker.send(signal.SIGKILL)  # where it lives, it took too long
        return None

    async def _spawn(self, number: int) -> Worker:
        ours, theirs = socket.socketpair()
        with theirs:
            public = tuple(sock.fileno() for sock in self._public)
            admin = tuple(sock.fileno() for sock in self._admin[number])
            process = await asyncio.create_subprocess_exec(
                *self._command,
                str(Place(number, theirs.fileno(), public, admin)),
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), *public, *admin),
                start_new_session=True,  # so that Ctrl-C reaches the supervisor alone, which tells them in order
            )
        line, writer = await asyncio.open_unix_connection(sock=ours)
        worker = Worker(number, process, line)
        self._alive.add(worker)
        self._keep(self._attend(worker, writer))
        if self._stopping.is_set():  # while it was being born
            worker.send(signal.SIGTERM)
        return worker

    def _put(self, worker: Worker) -> None:
        """Let it serve in the place of whoever does, if it lives."""
        if not worker.alive:
            return
        old = self._serving.get(worker.number)
        self._serving[worker.number] = worker
        if old is not None and old.alive:
            old.send(signal.SIGTERM)

    async def _attend(self, worker: Worker, line: asyncio.StreamWriter) -> None:
        """Wait for its end, and see to a successor where it did not end by our will."""
        status = await worker.process.wait()
        line.close()
        self._alive.discard(worker)
        died = self._serving.get(worker.number) is worker and not self._stopping.is_set()
        report = self._log.error if died or (status and worker.was_ready) else self._log.info
        report("worker_died" if died else "worker_ended", worker=worker.number, pid=worker.process.pid, status=status)
        if died:
            del self._serving[worker.number]
            await self._succeed(worker)
        elif status and worker.was_ready:
            self._in_order = False

    async def _succeed(self, dead: Worker) -> None:
        """Start another of its number, at once; but wait longer each time when they die young."""
        number, born, loop = dead.number, dead.born, asyncio.get_running_loop()
        while not self._stopping.is_set() and number not in self._serving:
            young = loop.time() - born < HEALTHY_SECONDS
            short_lives = self._short_lives[number] = self._short_lives.get(number, 0) + 1 if young else 0
            if short_lives > 1:
                pause = min(MOST_PAUSE_SECONDS, 0.25 * 2 ** (short_lives - 2))
                self._log.warning("worker_waits", worker=number, short_lives=short_lives, seconds=pause)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), pause)
                    return
            born = loop.time()
            worker = await self._birth(number)
            if worker is not None:
                self._put(worker)
                self._log.info("worker_replaced", worker=number, pid=worker.process.pid)

    def _reload(self) -> None:
        for worker in self._serving.values():
            worker.send(signal.SIGHUP)  # to one that has no handler yet it would be the end: these are ready

    async def _restart(self) -> None:
        """New workers, which read the file and the code anew; the old ones leave when all of them are ready."""
        if self._restarting or len(self._serving) < self._server.workers:
            self._log.warning("restart_refused", reason="workers are being started already")
            return
        self._restarting = True
        try:
            new: list[Worker] = []
            for number in range(self._server.workers):
                worker = await self._birth(number)
                if worker is None:
                    self._log.error("restart_refused", reason="a new worker did not start; the old ones go on")
                    for born in new:
                        born.send(signal.SIGTERM)
                    return
                new.append(worker)
            if not all(worker.alive for worker in new):
                self._log.error("restart_refused", reason="a new worker died at once; the old ones go on")
                for born in new:
                    born.send(signal.SIGTERM)
                return
            for worker in new:
                self._put(worker)
            self._log.info("restarted", pids=[worker.process.pid for worker in new])
        finally:
            self._restarting = False

    async def _end(self) -> None:
        """Ask every worker to drain, wait, and kill those that hang."""
        self._log.info("stopping", workers=len(self._alive))
        for sock in (*self._public, *(sock for sockets in self._admin for sock in sockets)):
            sock.close()  # ours is the last that listens: callers would wait in its queue for nobody
        for worker in self._alive:
            worker.send(signal.SIGTERM)
        await self._all_ended(self._server.timeouts.shutdown + GRACE_SECONDS)
        for worker in self._alive:
            self._log.error("worker_killed", worker=worker.number, reason="it did not end within its time")
            worker.send(signal.SIGKILL)
        await self._all_ended(GRACE_SECONDS)
        self._log.info("stopped")

    async def _all_ended(self, within_seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_seconds):
                while self._tasks:  # a task may have begun another
                    await asyncio.wait(self._tasks)

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
