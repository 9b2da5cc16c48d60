"""The usage log's structlog logger: a chain of its own, apart from the service log's.

The ledger writes records to it; the wrapped logger is the `Writer`, which takes finished lines. To add to every
record, give `record_logger` a processor. Nothing here does I/O: a record is rendered at once, so that nobody changes
it later. An opening is no record yet, and an ordinary `ending` none any more: they go past structlog, the latter where
no processor waits for records.
"""

from typing import Any, Final, Protocol

import msgspec
import structlog
from structlog.typing import Processor

from proxy import UsageRecord, hide_credentials

# A plugin's label may be anything; its record must not be lost for it.
_encode_lines: Final = msgspec.json.Encoder(enc_hook=str).encode_lines

_MOST_HARMLESS: Final = 1024  # that are remembered: few paths and models make most exchanges
_harmless: Final[set[str]] = set()


class Lines(Protocol):
    """Where rendered lines go, each with the id of its exchange."""

    def write(self, id: str, line: bytes) -> None:
        """The record of an exchange that has ended."""


class RecordLogger(structlog.BoundLoggerBase):
    """structlog's machinery with one verb. It does not block, and does not fail for what a record holds."""

    @property
    def is_bare(self) -> bool:
        """No processor waits to see a record: nothing is missed where its line was made without one."""
        return not self._processors

    def write(self, record: UsageRecord) -> None:
        # As `_proxy_to_logger` has it, for this one verb and without a context: nothing is looked up by name or copied.
        lines, chain = self._logger, self._processors
        if chain:
            event: Any = {"record": record}
            try:
                for processor in chain:
                    event = processor(lines, "write", event)
            except structlog.DropEvent:
                return
            record = event["record"]
        lines.write(record.id, line_of(record))


def record_logger(lines: Lines, *processors: Processor) -> RecordLogger:
    """A logger over `lines`. Each processor is given {"record": UsageRecord} and returns such a one, or drops it."""
    return RecordLogger(lines, processors, {})


def line_of(record: UsageRecord) -> bytes:
    """The record as a line, without what somebody may have pasted where it does not belong.

    Looks where a credential may be: in a path, a model's name or a label. The whole line would take three times as
    long, and all the rest is ours.
    """
    path, model = record.path, record.model
    if path not in _harmless:
        record.path = _hidden(path)
    if model is not None and model not in _harmless:
        record.model = _hidden(model)
    labels: Any = record.labels
    if labels:  # and what is in them may be of any type
        record.labels = {name: hide_credentials(str(text)) for name, text in labels.items()}
    return render(record)


def _hidden(text: str) -> str:
    hidden = hide_credentials(text)
    if len(_harmless) >= _MOST_HARMLESS:
        _harmless.clear()
    _harmless.add(hidden)
    return hidden


def render(record: UsageRecord) -> bytes:
    try:
        return _encode_lines([record])
    except UnicodeEncodeError:
        # JSON and headers can carry lone surrogates, UTF-8 cannot. A record must not be lost for it.
        return _encode_lines([_encodable(msgspec.to_builtins(record, str_keys=True, enc_hook=str))])


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_encodable(key): _encodable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_encodable(item) for item in value]
    return value
