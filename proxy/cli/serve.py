"""`weir serve`: run the gateway until SIGINT or SIGTERM; SIGHUP and a changed routes file reload it.

With `[server] workers` above 1 this process becomes the supervisor, and starts itself again for each worker:
the same command line and one word more.
"""

import asyncio
import logging
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Annotated, Any

import structlog
import typer

from proxy import log
from proxy.app import App
from proxy.cli import process
from proxy.cli.settings import DEFAULT_CONFIG, Config, load_or_exit
from proxy.config.bind import ConfigError
from proxy.config.schema import Settings
from proxy.config.watch import changes
from proxy.price_file import price_file
from proxy.version import COMPILED
from proxy.wire.door import Sockets
from proxy.workers import READY, Place, Supervisor


def serve(
    config: Config = DEFAULT_CONFIG,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
    worker: Annotated[str | None, typer.Option(hidden=True)] = None,
) -> None:
    """Stand in front of Gemini as the routes file says."""
    settings = load_or_exit(config)
    log.configure(log_level)
    # It logs every change in a folder that it watches: in the log's own folder, one line for each line, for ever.
    logging.getLogger("watchfiles").setLevel(logging.WARNING)
    process.allow_descriptors(settings.server.connections)
    if worker is not None:
        place = Place.parse(worker)
        structlog.contextvars.bind_contextvars(worker=place.number)
        _runner()(_serve(settings, place))
    elif settings.server.workers > 1:
        _supervise(settings)
    else:
        _runner()(_serve(settings, None))


def _supervise(settings: Settings) -> None:
    try:
        supervisor = Supervisor(settings.server, [sys.executable, *sys.orig_argv[1:], "--worker"])
    except OSError as error:
        typer.echo(f"cannot start: {error.strerror or error}", err=True)
        raise typer.Exit(1) from None
    if not asyncio.run(supervisor.run()):
        raise typer.Exit(1)


async def _serve(settings: Settings, place: Place | None) -> None:
    """`place`: of a worker among others; None where this process is the whole gateway."""
    events = structlog.get_logger("weir")
    app = await _started(settings, place.sockets() if place else None)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    tasks: set[asyncio.Task[None]] = set()

    def keep(task: asyncio.Task[None]) -> None:
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    loop.add_signal_handler(signal.SIGHUP, lambda: keep(asyncio.create_task(app.reload())))
    loop.add_signal_handler(signal.SIGUSR2, events.warning, "restart_refused")  # its default is the end
    keep(asyncio.create_task(_watch((settings.file, price_file(settings)), app.reload, stop)))
    for file in (settings.server.tls.certificate, settings.server.tls.key) if settings.server.tls else ():
        keep(asyncio.create_task(_watch((file,), app.renew_certificate, stop)))
    process.settle_collector()
    host, port = app.public.address
    scheme = "https" if settings.server.tls else "http"
    admin = "{}:{}".format(*app.admin.address)
    events.info("listening", url=f"{scheme}://{host}:{port}", admin=admin, file=str(settings.file), compiled=COMPILED)
    with _line(place, stop) if place else nullcontext():
        await stop.wait()
    events.info("stopping", exchanges=app.public.in_flight)
    await app.stop()
    events.info("stopped")


@contextmanager
def _line(place: Place, stop: asyncio.Event) -> Iterator[None]:
    """Tell the supervisor that we serve, and stop when it is gone: nobody else ever would stop us."""
    loop = asyncio.get_running_loop()
    with socket.socket(fileno=place.line) as line:
        with suppress(ConnectionError):  # gone already: the reader will say so
            line.send(READY)

        def gone() -> None:
            loop.remove_reader(line)
            stop.set()

        loop.add_reader(line, gone)
        try:
            yield
        finally:
            loop.remove_reader(line)


async def _started(settings: Settings, sockets: Sockets | None) -> App:
    """A running gateway; or one line on standard error, and exit status 1."""
    try:
        app = App(settings)
        await app.start(sockets)
    except ConfigError as error:
        typer.echo(str(error), err=True)
    except OSError as error:
        typer.echo(f"cannot start: {error.strerror or error}", err=True)
    except (ValueError, RuntimeError) as error:
        typer.echo(f"cannot start: {error}", err=True)
    else:
        return app
    raise typer.Exit(1)


async def _watch(files: Sequence[Path], reload: Callable[[], Awaitable[None]], stop: asyncio.Event) -> None:
    """Reload at each change of a file. Without a watch the gateway serves on, and SIGHUP still reloads it."""
    try:
        async for _ in changes(files, stop):
            await reload()
    except Exception:
        structlog.get_logger("weir").exception("watch_failed", file=str(files[0]), cure="reload with SIGHUP")


def _runner() -> Callable[[Coroutine[Any, Any, None]], None]:
    """uvloop's where it is installed (5 to 25 % less processor time), else asyncio's."""
    try:
        import uvloop  # noqa: PLC0415  # an optional extra
    except ImportError:
        return asyncio.run
    return uvloop.run
