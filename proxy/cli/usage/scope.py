"""Which records a command over the usage log is about: the files, the time, the team, the models.

The commands share these options. A file whose day ends before `--since` is not read, since no record is written
before its exchange began; one of a later day always is, since an exchange may end days after it began.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from plugins.usage_log import UsageLog
from proxy.cli.settings import load_or_exit, plugin_configs
from proxy.cli.usage.files import day_and_number

Since = Annotated[str | None, typer.Option(help="From this day, month or moment on (UTC): 2026-11-01.", metavar="TIME")]
Until = Annotated[str | None, typer.Option(help="Before this day, month or moment (UTC): 2026-12.", metavar="TIME")]
Team = Annotated[str | None, typer.Option(help="Only this team's exchanges.")]
Model = Annotated[str | None, typer.Option(help="Only models that match this shell pattern.", metavar="PATTERN")]
In = Annotated[
    list[Path] | None,
    typer.Option(
        "--in", help="Files or folders to read instead of the gateway's, .jsonl or .jsonl.gz.", metavar="PATH"
    ),
]
More = Annotated[list[Path] | None, typer.Argument(help="More of --in.", metavar="PATH", show_default=False)]

_CURE = "name the gateway's routes file with -c, or files with --in"


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    """What to read, and which of it counts. Times are compared as text: the log has them all in one form."""

    files: tuple[Path, ...]
    earlier: tuple[Path, ...] = ()  # of days before `since`: read only to see what was charged there once and for all
    since: str | None = None
    until: str | None = None
    team: str | None = None
    model: str | None = None  # a shell pattern

    @property
    def size_bytes(self) -> int:
        return sum(size_of(file) for file in self.files)


def scope_or_exit(
    config: Path,
    paths: list[Path],
    *,
    since: str | None = None,
    until: str | None = None,
    team: str | None = None,
    model: str | None = None,
) -> Scope:
    """The scope that the options mean; or what is wrong with them, and exit status 1."""
    first, end = (moment_or_exit(since, "--since"), moment_or_exit(until, "--until"))
    found = (file for path in paths or [usage_folder(config)] for file in _files_or_exit(path))
    files = list({file.resolve(): file for file in found}.values())  # one by two names is one file all the same
    # A file of another name than the journal's says nothing of its day.
    earlier = [file for file in files if first is not None and "" < day_and_number(file)[0] < first[:10]]
    return Scope(
        files=tuple(file for file in files if file not in set(earlier)),
        earlier=tuple(earlier),
        since=first,
        until=end,
        team=team,
        model=model,
    )


def usage_folder(config: Path) -> Path:
    """Where the routes file has the usage log put; of several logs the first that says where. May exit."""
    settings = load_or_exit(config, with_secrets=False)
    paths = [log.path for log in plugin_configs(settings, UsageLog).values() if log.path is not None]
    return paths[0] if paths else settings.server.state / "usage"


def moment_or_exit(text: str | None, option: str) -> str | None:
    """A day, a month or an RFC 3339 moment as the log writes times, or the beginning of one."""
    if text is None:
        return None
    try:
        if len(text) == len("2026-11"):
            return datetime.strptime(text, "%Y-%m").strftime("%Y-%m")  # noqa: DTZ007  # a month has no zone
        moment = datetime.fromisoformat(text)
    except ValueError:
        typer.echo(f"{option}: expected a day such as 2026-11-01, a month or a moment, found {text!r}", err=True)
        raise typer.Exit(2) from None
    if len(text) == len("2026-11-01"):
        return moment.date().isoformat()  # also of a week's day, 2026-W45-1
    utc = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return utc.strftime("%Y-%m-%dT%H:%M:%S.") + f"{utc.microsecond // 1000:03d}Z"


def size_of(file: Path) -> int:
    """0 for what is gone by now: whoever reads it will say so."""
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


def _files_or_exit(path: Path) -> list[Path]:
    """The journal's files in a folder, oldest first; or the file itself."""
    if path.is_dir():
        plain = set(path.glob("usage-*.jsonl"))
        # `gzip` removes the plain file only when the other is whole: where both are, one is half-written.
        gzipped = [file for file in path.glob("usage-*.jsonl.gz") if file.with_suffix("") not in plain]
        if plain or gzipped:
            return sorted((*plain, *gzipped), key=day_and_number)
        typer.echo(f"no usage log in {path}; {_CURE}", err=True)
        raise typer.Exit(1)
    if path.is_file():
        return [path]
    typer.echo(f"no usage log at {path}; {_CURE}", err=True)
    raise typer.Exit(1)
