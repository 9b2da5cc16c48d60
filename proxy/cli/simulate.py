"""`weir simulate`: run the stand-in for Google's API until interrupted.

The command line mounts `simulate`. It says on standard error where it listens, and ends with status 0 on SIGINT or
SIGTERM. Refuses an address that is not HOST:PORT.
"""

import asyncio
import signal
from typing import Annotated

import typer

from proxy.simulator import Simulator


def simulate(
    listen: Annotated[str, typer.Option(help="HOST:PORT to listen on; port 0 takes a free one.")] = "127.0.0.1:8081",
    key: Annotated[list[str] | None, typer.Option(help="A key that is good; repeatable. None: any key is.")] = None,
) -> None:
    """Run an honest stand-in for Google's Gemini API. Never give it a real key."""
    host, separator, port = listen.rpartition(":")
    if not separator or not host or not port.isdigit():
        raise typer.BadParameter(f'expected HOST:PORT such as "127.0.0.1:8081", found "{listen}"')
    asyncio.run(_run(host.strip("[]"), int(port), key or ()))


async def _run(host: str, port: int, keys: list[str] | tuple[()]) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    simulator = Simulator(keys)
    try:
        await simulator.start(host, port)
    except OSError as error:
        typer.echo(f"cannot listen on {host}:{port}: {error.strerror}", err=True)
        raise typer.Exit(1) from error
    typer.echo(f"simulator of the Gemini API at {simulator.url}", err=True)
    await stopped.wait()
    await simulator.stop()
