"""The command line: one file a command, mounted here.

Results go to standard output, everything said about them to standard error; the exit status is 0 or not.
"""

import typer

from proxy.cli.check import check
from proxy.cli.dev import dev
from proxy.cli.explain import explain
from proxy.cli.keys import keys
from proxy.cli.schema import schema
from proxy.cli.serve import serve
from proxy.cli.simulate import simulate
from proxy.cli.usage import usage

weir = typer.Typer(
    name="weir",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # its tracebacks print local variables, secrets among them
    help="A reverse proxy for Gemini: teams, quotas, failover and the bill around unchanged requests.",
)
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
