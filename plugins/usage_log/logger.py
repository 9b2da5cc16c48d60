"""The usage log's structlog logger: a chain of its own, apart from the service log's.

`UsageLog` writes records to it; the wrapped logger is the `Writer`, which takes finished lines. To add to every
record, add a processor before `arguments`. Nothing here does I/O: a record is rendered at once, so that nobody changes
it later. An opening is no record yet: it is rendered the same, and goes past structlog.
"""

from functools import lru_cache
from typing import Any, Protocol

import msgspec
import structlog
from structlog.typing import EventDict, WrappedLogger

from proxy import UsageRecord, hide_credentials

_encoder = msgspec.json.Encoder(enc_hook=str)  # a plugin's label may be anything; its record must not be lost for it


class Lines(Protocol):
    """Where rendered lines go, each with the id of its exchange."""

    def write(self, id: str, line: bytes) -> None:
        """The record of an exchange that has ended."""


class RecordLogger(structlog.BoundLoggerBase):
    """structlog's machinery with one verb. It does not block, and does not fail for what a record holds."""

    def write(self, record: UsageRecord) -> None:
        # As `_proxy_to_logger` has it, for this one verb: nothing is looked up by name.
        try:
            arguments, named = self._process_event("write", None, {"record": record})
        except structlog.DropEvent:
            return
        self._logger.write(*arguments, **named)


def record_logger(lines: Lines) -> RecordLogger:
    """A logger over `lines`."""
    return RecordLogger(lines, (arguments,), {})


def arguments(_: WrappedLogger, __: str, event: EventDict) -> tuple[tuple[str, bytes], dict[str, Any]]:
    """What structlog calls the verb with: id and line."""
    record: UsageRecord = event["record"]
    return (record.id, line_of(record)), {}


def line_of(record: UsageRecord) -> bytes:
    """The record as a line, without what somebody may have pasted where it does not belong.

    Looks where a credential may be: in a path, a model's name or a label. The whole line would take three times as
    long, and all the rest is ours.
    """
    record.path = _hidden(record.path)
    if record.model is not None:
        record.model = _hidden(record.model)
    if record.labels:
        record.labels = {name: hide_credentials(str(text)) for name, text in record.labels.items()}
    return render(record)


_hidden = lru_cache(maxsize=256)(hide_credentials)  # few paths and models make most exchanges


def render(record: UsageRecord) -> bytes:
    try:
        return _encoder.encode(record) + b"\n"
    except UnicodeEncodeError:
        # JSON and headers can carry lone surrogates, UTF-8 cannot. A record must not be lost for it.
        return _encoder.encode(_encodable(msgspec.to_builtins(record, str_keys=True, enc_hook=str))) + b"\n"


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_encodable(key): _encodable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_encodable(item) for item in value]
    return value
