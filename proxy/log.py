"""The service log: structlog set up once, for our own events and for those of stdlib logging (aiohttp, asyncio).

`app.py` and the commands call `configure` before anything else logs. Every event, message and rendered
traceback passes `scrub`, which hides credentials: a log is read by more people than may know a key. The usage
log is another logger with files of its own (`plugins/usage_log`); nothing of it passes here.
"""

import logging
import re
import sys
from collections.abc import Mapping
from typing import Any

import msgspec
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from proxy.scrub import BEGIN, HIDDEN, hide_credentials

_DEEPEST = 6  # values nested deeper are shown as their scrubbed repr

_NAMES = (
    r"authorization|proxy-authorization|x-goog-api-key|x-api-key|api[_-]?key|(?:set-)?cookie"
    r"|(?:access|refresh|id|oauth|auth|session)[_-]?token|client[_-]?secret|private[_-]?key|password|passwd|secret"
)
# By place, where a secret needs no shape. Each keeps its first group and hides the rest. The text is a
# stranger's: what repeats stops where another match could begin, so that no character is read twice.
_PLACES = (
    # Any value in a query, however its name is spelled (`k%65y` is `key` to Google), but the harmless `alt`.
    # A name ends at an escaped separator.
    re.compile(
        r"((?:[?&]|%3F|%26)(?:[\w$.~-]|%(?!26|3D|3F))++(?:=|%3D))"
        r"(?!(?:sse|json|media|proto)(?:[&\s\"']|\Z))[^&\s\"'<>]+",
        re.IGNORECASE,
    ),
    re.compile(rf"({BEGIN}(?:key|token)(?:=|%3D))[^&\s\"'<>,;)\]}}]+", re.IGNORECASE),
    # A header or a field as text, JSON or repr: to the closing quote where there is one, else to the end of the
    # line for headers that hold several words.
    re.compile(rf"((?:{_NAMES})\\?[\"']?\s*[:=,]\s*b?\\?[\"'])[^\"']+", re.IGNORECASE),
    re.compile(r"((?:authorization|cookie)\s*[:=]\s*)[^\"'\s][^\r\n\"']*", re.IGNORECASE),
    re.compile(rf"((?:{_NAMES})\s*[:=]\s*)[^\s\"',;&)\]}}]+", re.IGNORECASE),
    re.compile(rf"({BEGIN}(?:bearer|auth_tokens/)\s*)[\w.~+/=-]{{6,}}", re.IGNORECASE),
    # RFC 3986 section 3.2.1: user information, as in valkey://:password@host
    re.compile(r"(\w://)[^/\s@\"']+(?=@)"),
)
_SECRET_FIELD = re.compile(rf"(?:{_NAMES})", re.IGNORECASE)


def configure(level: str = "info", json: bool | None = None) -> None:
    """Set up structlog and the root logger, on standard error. May be called again.

    `json` None: JSON lines, unless standard error is a terminal, which gets the coloured console.
    """
    threshold = logging.getLevelNamesMapping()[level.upper()]
    as_json = not sys.stderr.isatty() if json is None else json
    before: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    after: list[Processor] = [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        structlog.processors.StackInfoRenderer(),
        # Plain text here and not in the renderer: rich tracebacks would show locals, past the scrubbing.
        structlog.processors.format_exc_info,
        scrub,
        structlog.processors.JSONRenderer(serializer=_to_json)
        if as_json
        else structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),
    ]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=before, processors=after))
    root = logging.getLogger()
    for old in root.handlers[:]:
        if isinstance(old.formatter, structlog.stdlib.ProcessorFormatter):
            root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(threshold)
    structlog.configure(
        processors=[*before, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.stdlib.LoggerFactory(),
    )


def scrub(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """A structlog processor: hide credentials in every key and value of an event."""
    return {scrub_text(str(name)): _scrubbed(name, value, 0) for name, value in event.items()}


def scrub_text(text: str) -> str:
    """The text with everything that looks like a credential, or stands where one stands, hidden."""
    text = hide_credentials(text)
    for place in _PLACES:
        text = place.sub(rf"\1{HIDDEN}", text)
    # Undecodable header bytes travel as lone surrogates, which no stream can encode.
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def _scrubbed(name: object, value: Any, depth: int) -> Any:
    if value is not None and _names_a_secret(name):
        return HIDDEN
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, bytes | bytearray):
        value = value.decode("utf-8", "backslashreplace")
    if depth < _DEEPEST and isinstance(value, Mapping):
        return {scrub_text(str(key)): _scrubbed(key, item, depth + 1) for key, item in value.items()}
    if depth < _DEEPEST and isinstance(value, list | tuple | set | frozenset):
        items = list(value)
        is_field = len(items) == 2 and _names_a_secret(items[0])  # a header, as (name, value)
        return [_scrubbed(items[0] if is_field and item is items[1] else None, item, depth + 1) for item in items]
    return scrub_text(value if isinstance(value, str) else repr(value))


def _names_a_secret(name: object) -> bool:
    if isinstance(name, bytes):
        name = name.decode("latin-1")
    return isinstance(name, str) and _SECRET_FIELD.fullmatch(name) is not None


def _to_json(event: EventDict, **_: Any) -> str:
    first = {name: event.pop(name) for name in ("timestamp", "level", "event", "logger") if name in event}
    return msgspec.json.encode({**first, **event}).decode()
