"""`weir usage`: the usage log for people and for accounting, one file a command.

`tail` follows it, `report` sums it up, `export` hands it on, `reconcile` holds it against Google's bill, `reprice`
proves its amounts, `schema` prints its shape. None of them writes to it.
"""

import typer

from proxy.cli.usage.export import export
from proxy.cli.usage.reconcile import reconcile
from proxy.cli.usage.report import report
from proxy.cli.usage.reprice import reprice
from proxy.cli.usage.schema import schema
from proxy.cli.usage.tail import tail

__all__ = ["usage"]

usage = typer.Typer(help="Read the usage log.", no_args_is_help=True)
for command in (tail, report, export, reconcile, reprice, schema):
    usage.command()(command)
