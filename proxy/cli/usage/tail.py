"""`weir usage tail`: the usage log as it is written, readable or as it is, across days and files.

It reads the routes file and the journal's files, and nothing else: no gateway needs to run, and none is asked.
"""

import os
import sys
import time
from typing import Annotated

import typer

from proxy.cli.settings import DEFAULT_CONFIG, Config
from proxy.cli.usage.files import Files
from proxy.cli.usage.lines import Filter, Readable, show_raw
from proxy.cli.usage.scope import usage_folder

POLL_SECONDS = 0.25


def tail(
    config: Config = DEFAULT_CONFIG,
    team: Annotated[str | None, typer.Option(help="Only this team's exchanges.")] = None,
    model: Annotated[str | None, typer.Option(help="Only models that match this shell pattern.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The lines as they are in the file.")] = False,
    lines: Annotated[int, typer.Option("-n", "--lines", min=0, help="How many past exchanges to begin with.")] = 10,
    follow: Annotated[bool, typer.Option("--follow/--no-follow", help="Wait for more until Ctrl-C.")] = True,
) -> None:
    """Show the last exchanges, then each new one as it ends, across days and files."""
    folder = usage_folder(config)
    wants = Filter(team, model)
    show = show_raw if as_json else Readable().show
    files = Files(folder)
    try:
        for line in files.last(lines, wants):
            show(line)
        if not files.found:
            typer.echo(
                f"no usage log in {folder} yet" + (", waiting for the first exchange" if follow else ""), err=True
            )
        while follow:
            time.sleep(POLL_SECONDS)
            for line in filter(wants, files.new()):
                show(line)
    except KeyboardInterrupt:
        return
    except BrokenPipeError:
        # `weir usage tail | head`: the reader has had enough. Keep the interpreter's last flush quiet as well.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
