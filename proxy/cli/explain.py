"""`weir explain METHOD PATH`: what would happen to a request, and why.

Asks the running gateway, whose circuits and counters are the true ones; where none runs, answers from the
routes file alone and says so.
"""

import asyncio
from typing import Annotated
from urllib.error import HTTPError, URLError

import msgspec
import typer
from rich.console import Console
from rich.markup import escape

from proxy import log
from proxy.app import App
from proxy.cli.local import ask
from proxy.cli.settings import DEFAULT_CONFIG, Config, load_or_exit
from proxy.config.schema import Settings
from proxy.engine.explain import Explanation


def explain(
    method: Annotated[str, typer.Argument(help="GET, POST, ...")],
    path: Annotated[
        str, typer.Argument(help="The request target, such as /v1beta/models/gemini-2.5-flash:generateContent")
    ],
    key: Annotated[
        str | None, typer.Option(envvar="WEIR_KEY", help="A team key or a JWT, as the caller would send it.")
    ] = None,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Print the route, who is asking, what is left of the limits, and the endpoints in order."""
    settings = load_or_exit(config, with_secrets=False)
    headers = [("x-goog-api-key", key)] if key else []
    explanation = _of_running(settings, method, path, headers)
    if explanation is None:
        typer.echo(f"no gateway answers at {settings.server.admin}; this is by the routes file alone", err=True)
        explanation = asyncio.run(_of_file(settings, method, path, headers))
    _print(explanation)


def _of_running(settings: Settings, method: str, path: str, headers: list[tuple[str, str]]) -> Explanation | None:
    body = msgspec.json.encode({"method": method, "target": path, "headers": headers})
    try:
        with ask(settings.server.admin, "/explain", body) as answer:
            return msgspec.json.decode(answer.read(), type=Explanation)
    except HTTPError as error:
        typer.echo(f"the gateway at {settings.server.admin} answered {error.code}", err=True)
        raise typer.Exit(1) from None
    except (URLError, OSError):
        return None


async def _of_file(settings: Settings, method: str, path: str, headers: list[tuple[str, str]]) -> Explanation:
    log.configure("warning")  # on standard error: the answer alone belongs on standard output
    app = App(settings)
    raw = [(name.encode(), value.encode()) for name, value in headers]
    return await app.explain(method.upper(), path, raw)


def _print(explanation: Explanation) -> None:
    out = Console(highlight=False, soft_wrap=True)

    def line(name: str, value: str | None) -> None:
        out.print(f"[dim]{name:<11}[/dim]{escape(value or '-')}")

    line("request", f"{explanation.method} {explanation.path}")
    line("operation", explanation.operation + (f" of {explanation.model}" if explanation.model else ""))
    line("route", explanation.route and f"{explanation.route} to upstream {explanation.upstream}")
    line("principal", explanation.subject and f"{explanation.subject} of team {explanation.team}")
    for step in explanation.steps:
        for number, says in enumerate(step.says):
            out.print(f"[cyan]{escape(step.plugin if number == 0 else ''):<18}[/cyan]{escape(says)}")
    if explanation.refusal:
        out.print(f"[yellow]refused[/yellow]    {escape(explanation.refusal)}")
    for number, candidate in enumerate(explanation.candidates if not explanation.refusal else ()):
        line("endpoints" if number == 0 else "", f"{number + 1}. {candidate}")
    for excluded in explanation.excluded:
        line("", f"out: {excluded}")
