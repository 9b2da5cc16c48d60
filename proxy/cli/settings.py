"""What the commands share: the `-c` option, the routes file or a clear end, and one plugin's part of it."""

from pathlib import Path
from typing import Annotated, Any

import typer

from proxy.config.bind import ConfigError
from proxy.config.load import load
from proxy.config.schema import Settings
from proxy.plugin import Plugin

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


def plugin_configs(settings: Settings, plugin: type[Plugin]) -> dict[str, Any]:
    """The settings of each table of this plugin, by the table's name, in the file's order."""
    return {name: table.config for name, table in settings.plugins.items() if table.plugin is plugin}
