"""What the commands share: the `-c` option, and the routes file or a clear end."""

from pathlib import Path
from typing import Annotated

import typer

from proxy.config.bind import ConfigError
from proxy.config.load import load
from proxy.config.schema import Settings

DEFAULT_CONFIG = Path("config/routes.toml")
Config = Annotated[Path, typer.Option("-c", "--config", help="The routes file.", metavar="FILE")]


def load_or_exit(config: Path, *, with_secrets: bool = True) -> Settings:
    """The settings; or every problem on standard error, and exit status 1."""
    try:
        return load(config, with_secrets=with_secrets)
    except ConfigError as error:
        for problem in error.problems:
            typer.echo(f"{error.file}: {problem}", err=True)
        raise typer.Exit(1) from None
