"""The command line: one file a command, mounted here.

Results go to standard output, everything said about them to standard error; the exit status is 0 or not.
"""

from typing import Annotated

import typer

from proxy.cli.check import check
from proxy.cli.dev import dev
from proxy.cli.explain import explain
from proxy.cli.keys import keys
from proxy.cli.schema import schema
from proxy.cli.serve import serve
from proxy.cli.simulate import simulate
from proxy.cli.usage import usage
from proxy.version import COMPILED, __version__

weir = typer.Typer(
    name="weir",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # its tracebacks print local variables, secrets among them
    help="A reverse proxy for Gemini: teams, quotas, failover and the bill around unchanged requests.",
)


def _say_version(asked: bool) -> None:
    if asked:
        typer.echo(f"gemini-weir {__version__} ({'compiled' if COMPILED else 'not compiled'})")
        raise typer.Exit


@weir.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_say_version, help="Say which version this is."),
    ] = False,
) -> None:
    """What stands before a command."""


weir.command()(serve)
weir.command()(check)
weir.command()(explain)
weir.add_typer(keys, name="keys")
weir.add_typer(usage, name="usage")
weir.command()(schema)
weir.command()(simulate)
weir.command()(dev)


def main() -> None:
    weir()
