"""`weir usage tail`: the usage log as a person wants to read it, while the gateway writes it.

Reads the journal's files and nothing else: no gateway needs to run, and none is asked. It polls, four times a
second: the folder need not exist yet, network file systems send no events, and a busy gateway would wake a
watcher twenty times a second anyway. It never writes.
"""

import os
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from datetime import datetime
from fnmatch import fnmatchcase
from itertools import groupby, islice
from pathlib import Path
from typing import Annotated, BinaryIO

import msgspec
import typer
from rich.console import Console
from rich.text import Text

from proxy.usage import AttemptRecord, Outcome, UsageRecord, UsageState

POLL_SECONDS = 0.25
_BLOCK_BYTES = 1 << 16

OUTCOME_STYLES = {
    Outcome.COMPLETED: "green",
    Outcome.REFUSED: "yellow",
    Outcome.UPSTREAM_FAILED: "bold red",
    Outcome.UPSTREAM_BROKE: "red",
    Outcome.CLIENT_GONE: "magenta",
    Outcome.LOST: "bold red reverse",
}

usage = typer.Typer(help="Read the usage log.", no_args_is_help=True)


@usage.callback()
def _group() -> None:
    """Without it typer would make `tail` the whole command."""


@usage.command()
def tail(
    config: Annotated[Path, typer.Option("-c", "--config", help="The routes file.")] = Path("config/routes.toml"),
    team: Annotated[str | None, typer.Option(help="Only this team's exchanges.")] = None,
    model: Annotated[str | None, typer.Option(help="Only models that match this shell pattern.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The lines as they are in the file.")] = False,
    lines: Annotated[int, typer.Option("-n", "--lines", min=0, help="How many past exchanges to begin with.")] = 10,
    follow: Annotated[bool, typer.Option("--follow/--no-follow", help="Wait for more until Ctrl-C.")] = True,
) -> None:
    """Show the last exchanges, then each new one as it ends, across days and files."""
    try:
        folder = usage_folder(config)
    except (OSError, ValueError) as error:
        typer.echo(f"{config}: {error.strerror if isinstance(error, OSError) else error}", err=True)
        raise typer.Exit(1) from error
    wants = Filter(team, model)
    show = _show_raw if as_json else Readable().show
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


def usage_folder(config: Path) -> Path:
    """Where the routes file has the usage log put. Raises OSError, or ValueError for a file that is broken."""
    document = tomllib.loads(config.read_text(encoding="utf-8"))
    plugins, server = document.get("plugins", {}), document.get("server", {})
    if not (
        isinstance(server, dict) and isinstance(plugins, dict) and all(isinstance(t, dict) for t in plugins.values())
    ):
        raise ValueError("[server], [plugins] and each plugin must be tables")
    for name, table in plugins.items():
        if table.get("use", name) == "usage_log" and "path" in table:
            return config.parent / str(table["path"])
    return config.parent / str(server.get("state", "var")) / "usage"


class Filter(msgspec.Struct, frozen=True):
    """Which lines to show."""

    team: str | None
    model: str | None  # a shell pattern

    def __call__(self, line: bytes) -> bool:
        record = _decode(line)
        if record is None:
            return True  # shown as a complaint: hiding what cannot be read would hide money
        if self.team is not None and record.team != self.team:
            return False
        return self.model is None or fnmatchcase(record.model or "", self.model)


class Place(msgspec.Struct):
    """How far a file has been read, always to the end of a line; and which file it was."""

    inode: int
    offset: int


class Files:
    """The journal's files. Only whole lines are handed out: the gateway may be in the middle of one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._places: dict[Path, Place] = {}

    @property
    def found(self) -> bool:
        """True once there is a file."""
        return bool(self._places)

    def last(self, count: int, wants: Callable[[bytes], bool]) -> list[bytes]:
        """The last wanted lines that there are now, oldest first. `new` goes on after them."""
        files = self._list()
        for file in files:
            with file.open("rb") as source:
                self._places[file] = Place(os.fstat(source.fileno()).st_ino, _end_of_lines(source))
        found: list[bytes] = []
        for _, of_a_day in groupby(reversed(files), key=lambda file: _day_and_number(file)[0]):
            if len(found) >= count:
                break
            per_file = [_last_lines(file, self._places[file].offset, count, wants) for file in of_a_day]
            lines = [line for lines in per_file for line in lines]
            if len(per_file) > 1:  # several workers wrote that day, each its own file
                lines.sort(key=_ended)
            found = lines + found
        return found[max(0, len(found) - count) :]

    def new(self) -> Iterator[bytes]:
        """The lines that came since the last call, file by file."""
        for file in self._list():
            try:
                source = file.open("rb")
            except FileNotFoundError:  # archived just now
                continue
            with source:
                status = os.fstat(source.fileno())
                place = self._places.get(file)
                if place is None or place.inode != status.st_ino:
                    place = self._places[file] = Place(status.st_ino, 0)
                # Shorter than what was read: the gateway took a half-written group back, and will write it again.
                place.offset = min(place.offset, status.st_size)
                source.seek(place.offset)
                for line in source:
                    if not line.endswith(b"\n"):
                        break
                    place.offset += len(line)
                    yield line

    def _list(self) -> list[Path]:
        """Oldest first."""
        return sorted(self._folder.glob("usage-*.jsonl"), key=_day_and_number)


def _day_and_number(file: Path) -> tuple[str, int]:
    """`usage-2026-01-31.2.jsonl` is the second file of its day."""
    day, _, number = file.stem.removeprefix("usage-").partition(".")
    return day, int(number) if number.isdecimal() else 1


def _end_of_lines(source: BinaryIO) -> int:
    end = source.seek(0, os.SEEK_END)
    while end:
        start = max(0, end - _BLOCK_BYTES)
        source.seek(start)
        newline = source.read(end - start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0


def _last_lines(file: Path, end: int, count: int, wants: Callable[[bytes], bool]) -> list[bytes]:
    return list(islice(filter(wants, _backwards(file, end)), count))[::-1]


def _backwards(file: Path, end: int) -> Iterator[bytes]:
    """The lines before `end`, last one first, reading no more of the file than is asked for."""
    with file.open("rb") as source:
        head = b""
        while end:
            start = max(0, end - _BLOCK_BYTES)
            source.seek(start)
            head, *lines = (source.read(end - start) + head).split(b"\n")
            yield from (line + b"\n" for line in reversed(lines) if line)
            end = start
        if head:
            yield head + b"\n"


def _decode(line: bytes) -> UsageRecord | None:
    try:
        return msgspec.json.decode(line, type=UsageRecord)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _ended(line: bytes) -> float:
    record = _decode(line)
    return 0.0 if record is None else datetime.fromisoformat(record.time).timestamp() + record.total_ms / 1000


def _show_raw(line: bytes) -> None:
    typer.echo(line, nl=False)


class Readable:
    """Shows a line of the log to a person; in colour only on a terminal."""

    def __init__(self) -> None:
        self._console = Console(highlight=False, soft_wrap=True)

    def show(self, line: bytes) -> None:
        record = _decode(line)
        if record is None:
            typer.echo(f"not a usage record: {_printable(line[:200].decode(errors='replace').rstrip())}", err=True)
            return
        with self._console.capture() as rendered:  # rich would end us with status 1 when a pipe closes
            self._console.print(text_of(record))
        typer.echo(rendered.get(), nl=False)


def text_of(record: UsageRecord) -> Text:
    """One exchange in one line: when, how it ended, who, what, where, how long, what it used."""
    style = OUTCOME_STYLES[record.outcome]
    parts = [
        (record.time[:19].replace("T", " ") + "Z", "dim"),
        (f"{record.outcome:<15} {record.status or '-':>3}", style),
        (f"{record.team or '-'}/{record.subject or '-'}", "cyan"),
        (f"{record.operation} {record.model or '-'}", "bold"),
        (
            f"{record.endpoint} ({record.region})" if record.endpoint else "no endpoint",
            "" if record.endpoint else "dim",
        ),
    ]
    if record.reason:
        parts.append((record.reason, style))
    if len(record.attempts) > 1:
        tries = ", ".join(f"{attempt.endpoint} {_result(attempt)}" for attempt in record.attempts)
        parts.append((f"{len(record.attempts)} attempts: {tries}", "yellow"))
    first = "-" if record.first_byte_ms is None else _duration(record.first_byte_ms)
    parts.append((f"first {first} total {_duration(record.total_ms)}", ""))
    parts.append((_used(record), "blue"))
    return Text("  ").join(Text(_printable(text), style) for text, style in parts if text)


def _used(record: UsageRecord) -> str:
    usage = record.usage
    if usage is None:
        return ""
    counts = {
        "in": usage.input_tokens,
        "cached": usage.cached_tokens,
        "out": usage.output_tokens,
        "thoughts": usage.thought_tokens,
        "images": usage.images,
    }
    text = " ".join(f"{name} {count}" for name, count in counts.items() if count)
    return text + " (partial)" if record.usage_state is UsageState.PARTIAL else text


def _result(attempt: AttemptRecord) -> str:
    return attempt.error or str(attempt.status or "unfinished")


def _duration(milliseconds: float) -> str:
    return f"{milliseconds:.0f}ms" if milliseconds < 1000 else f"{milliseconds / 1000:.1f}s"


def _printable(text: str) -> str:
    """A model's name or a path is a stranger's text; escape sequences in it must not reach the terminal."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
