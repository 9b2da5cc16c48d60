"""`weir check`: validate a routes file, and show each route's onion in the order it runs."""

import typer
from rich.console import Console
from rich.markup import escape
from rich.tree import Tree

from proxy.app import NO_PRICES, NO_SEAL, App, certificate_of
from proxy.cli.settings import DEFAULT_CONFIG, Config, load_or_exit
from proxy.config.bind import ConfigError
from proxy.config.schema import PluginSettings, RouteTable, Settings
from proxy.plugin import Plugin
from proxy.price_file import PriceSheet, unpriced_patterns


def check(config: Config = DEFAULT_CONFIG) -> None:
    """Say what is wrong with the routes file, or what it means."""
    settings = load_or_exit(config)
    try:
        App(settings)  # makes every plugin, so that each has looked at its table
        certificate_of(settings)
        sheet = PriceSheet(settings)
        prices = sheet.read(settings, keep=False)
    except ConfigError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    out = Console(highlight=False)
    for route in settings.routes:
        out.print(_onion(route, settings))
    out.print(f"teams: {escape(', '.join(settings.teams) or 'none')}")
    said = f"{prices.version}  {sheet.file}" if prices else f"{NO_PRICES}; there is no {sheet.file}"
    out.print(escape(f"prices: {said}"), soft_wrap=True)
    for warning in (*settings.warnings, *(unpriced_patterns(settings, prices) if prices else ())):
        typer.echo(f"warning: {warning}", err=True)
    if settings.server.seal is None:
        out.print(escape(f"uploads: {NO_SEAL}"))
    if settings.server.workers > 1:
        out.print(f"workers: {settings.server.workers}, with admin listeners from {escape(settings.server.admin)} on")
    out.print(f"[green]{escape(str(config))} is valid[/green]")


def _onion(route: RouteTable, settings: Settings) -> Tree:
    tree = Tree(f"[bold]{escape(route.name)}[/bold]  {escape(route.match)}")
    branch = tree
    for name in route.plugins:
        branch = branch.add(f"[cyan]{escape(name)}[/cyan]  {_scopes(settings.plugins[name])}")
    upstream = branch.add(f"[bold]{escape(route.upstream)}[/bold]  on_disconnect = {route.on_disconnect}")
    for endpoint in sorted(settings.upstreams[route.upstream], key=lambda endpoint: endpoint.priority):
        share = f"priority {endpoint.priority}  weight {endpoint.weight}"
        upstream.add(escape(f"{endpoint.name}  {endpoint.region}  {share}  {endpoint.url}"))
    return tree


def _scopes(settings: PluginSettings) -> str:
    """Where in the two onions it is, and where it comes from when it is not ours."""
    plugin = settings.plugin
    places = [
        f"{place} each {scope}"
        for scope in ("exchange", "attempt")
        for place in ("before", "around")
        if getattr(plugin, f"{place}_{scope}") is not getattr(Plugin, f"{place}_{scope}")
    ]
    origin = "" if plugin.__module__.startswith("plugins.") else f"  from {plugin.__module__}:{plugin.__qualname__}"
    return f"{' and '.join(places) or 'around nothing'}{escape(origin)}"
