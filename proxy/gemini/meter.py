"""Reads what an answer used from a copy of its bytes as they pass.

The wire makes one with `meter_for` at each response head, feeds it every piece and asks for the sum at the
end. It holds at most one document of the answer, and of a large one the skeleton only. It never raises, and
says no number that does not follow from the answer's own: what it cannot read is state `none` or `partial`.
"""

from collections.abc import Callable
from functools import partial
from typing import Final, Protocol, final

from proxy.gemini.backlog import STEP_BYTES, Backlog
from proxy.gemini.framings import DIRECT_BYTES, Elements, Events, Framing, Lines, One, Read
from proxy.gemini.inflate import BadCoding, Inflate, small_gzip
from proxy.gemini.inlined import Inlined
from proxy.gemini.media_types import TEXT_TYPES, media_of
from proxy.gemini.plain import read_plain
from proxy.gemini.results import Results
from proxy.gemini.segments import resource_name
from proxy.gemini.usage_fields import Reading
from proxy.head import ResponseHead
from proxy.operation import Operation
from proxy.usage import Usage, UsageState

# Nobody says what a results file has.
_FILE_TYPES: Final = TEXT_TYPES | {"application/octet-stream", "application/x-ndjson"}

# Reading these runs no model, but shows what one has used since.
_BATCHES: Final = frozenset({"batches.get", "operations.get"})
_FILES: Final = frozenset({"files.download", "files.content"})
_INTERACTIONS: Final = frozenset({"interactions.get", "interactions.poll", "interactions.stream"})


# What answers with one document in Google's own shape, by the path. On whose surface it is asked does not matter.
_UNARY: Final = frozenset({"generateContent", "embedContent", "batchEmbedContents"})
_NATIVE: Final = frozenset({"gemini", "vertex"})
_GZIP: Final = "gzip"  # in which Google answers whoever accepts it

_FINAL: Final = UsageState.FINAL
_PARTIAL: Final = UsageState.PARTIAL
_NONE: Final = UsageState.NONE


class _Read(Protocol):
    """What the documents said: a `Reading`, or `Results`."""

    complete: bool

    @property
    def error(self) -> str | None: ...

    @property
    def once(self) -> str | None: ...

    @property
    def unfinished(self) -> bool: ...

    def read(self, document: bytes | None) -> None: ...

    def usage(self, tier: str | None) -> Usage | None: ...


_Framer = Callable[[bytes, Read], Framing | None]


class Meter:
    """One answer's meter.

    Attributes:
        once: the name under which the usage is charged once, however often it is read; known when it is finished. With
            no usage yet, it comes when the same is read again.
    """

    __slots__ = ("_backlog", "_frame", "_framing", "_reading", "_tier", "once")

    def __init__(
        self,
        reading: _Read | None,
        frame: _Framer | None = None,
        *,
        inflate: Inflate | None = None,
        tier: str | None = None,
        once: str | None = None,
    ) -> None:
        """`reading` None: the answer is not metered. `frame` picks the framing by the first bytes."""
        self.once = once
        self._reading = reading
        self._frame = frame
        self._framing: Framing | None = None
        self._backlog = None if inflate is None else Backlog(inflate)
        self._tier = tier

    @property
    def error_in_stream(self) -> str | None:
        """Code and status of an error that came inside a 200, such as "503 UNAVAILABLE"."""
        return self._reading.error if self._reading else None

    @property
    def behind(self) -> bool:
        """There is more to inflate of what was fed than is done at once: call `catch_up` in a while.

        What is fed meanwhile waits its turn, and is held until then.
        """
        return self._backlog is not None and self._backlog.waits

    def feed(self, data: bytes) -> None:
        if self._reading is None:
            return
        backlog = self._backlog
        if backlog is None:
            self._feed(data)
            return
        was_behind = backlog.waits
        backlog.add(data)
        if not was_behind:
            self.catch_up()

    def catch_up(self) -> None:
        """Read the next `STEP_BYTES` of what was fed."""
        backlog = self._backlog
        if backlog is None:
            return
        until = backlog.inflated_bytes + STEP_BYTES
        try:
            while self._reading is not None and backlog.inflated_bytes < until:
                piece = backlog.take()
                if piece is None:
                    return
                self._feed(piece)
        except BadCoding:  # the relay goes on; what was read until here is all that counts: there is no way back in
            if self._reading is not None:
                self._reading.complete = False
        if self._reading is None:
            backlog.give_up()

    def finish(self, complete: bool) -> tuple[Usage | None, UsageState]:
        """`complete`: the answer came to its proper end. Usage is None exactly when the state is `none`."""
        while self.behind:
            self.catch_up()
        if self._framing is not None:
            self._framing.finish()
        reading = self._reading
        if reading is None:
            return None, _NONE
        self.once = reading.once
        usage = reading.usage(self._tier)
        if usage is None:
            return None, _NONE
        is_final = complete and reading.complete and reading.error is None and not reading.unfinished
        return usage, _FINAL if is_final else _PARTIAL

    def _feed(self, data: bytes) -> None:
        if self._framing is None:
            data = data.lstrip(b" \t\r\n")
            if not data or self._reading is None or self._frame is None:
                return
            self._framing = self._frame(data, self._reading.read)
            if self._framing is None:
                self._reading = None
                return
        self._framing.feed(data)


@final
class _Unary(Meter):
    """The meter of an answer that should be one native document.

    Nearly all come small and in one piece: that is kept as it is, and read at once when it is known to be all.
    """

    __slots__ = ("_is_zipped", "_operation", "_whole")

    def __init__(self, operation: Operation, tier: str | None, *, is_zipped: bool) -> None:
        super().__init__(None, _document, tier=tier)
        self._operation: Operation | None = operation  # None: it is read the long way
        self._whole: bytes | None = None
        self._is_zipped = is_zipped

    def feed(self, data: bytes) -> None:
        if self._operation is not None:
            if self._whole is None and len(data) <= DIRECT_BYTES:
                self._whole = data
                return
            self._read_on(self._operation)
        super().feed(data)

    def finish(self, complete: bool) -> tuple[Usage | None, UsageState]:
        operation = self._operation
        if operation is not None:
            whole = self._whole
            if whole is not None and self._is_zipped:
                whole = small_gzip(whole, DIRECT_BYTES)
            answer = None if whole is None else read_plain(whole)
            if answer is not None:
                usage = answer.usage(self._tier)
                return usage, _NONE if usage is None else _FINAL if complete else _PARTIAL
            self._read_on(operation)
        return super().finish(complete)

    def _read_on(self, operation: Operation) -> None:
        """The long way, from the beginning."""
        self._operation = None
        self._reading = Reading(operation)
        if self._is_zipped:
            self._backlog = Backlog(Inflate(_GZIP))
        if self._whole is not None:
            super().feed(self._whole)
            self._whole = None


def meter_for(operation: Operation, head: ResponseHead, target: str = "") -> Meter:
    """The meter of an answer, by what was asked (`target`: with which path) and how the answer begins.

    Unknown operations are metered like native ones: what Google adds tomorrow is not free for that.
    Errors cost nothing, and free or binary answers have no counts to read (Gemini facts 4.4 and 5).
    """
    headers = head.headers
    media = media_of(headers.value(b"content-type") or b"")
    coding = _text(headers.value(b"content-encoding"))
    tier = _text(headers.value(b"x-gemini-service-tier"))
    name = operation.name
    is_zipped = coding == _GZIP
    is_unary = name in _UNARY and operation.api in _NATIVE
    if is_unary and (is_zipped or not coding) and media.is_text and head.status < 300:
        return _Unary(operation, tier, is_zipped=is_zipped)
    known = media.is_text
    reading: _Read
    frame: _Framer
    if operation.generates or name == "unknown" or name in _INTERACTIONS:
        reading, frame = Reading(operation), _stream if media.type == "text/event-stream" else _document
        known = known or frame is _stream
    elif name in _BATCHES:
        reading = Results(operation, resource_name(target))
        frame = partial(_batch, read_batch=reading.read_batch)
    elif name in _FILES:
        reading, frame = Results(operation, resource_name(target)), _lines
        known = known or media.type in _FILE_TYPES
    else:
        return Meter(None)
    if not known or head.status >= 300:
        return Meter(None)
    # Results that cannot be read, in parts or in a coding that nobody has told us of, are not free for that: their
    # name is said, and no number.
    unread = Meter(None, once=resource_name(target) if name in _FILES else None)
    if isinstance(reading, Results) and head.status != 200:
        return unread
    try:
        inflate = Inflate(coding) if coding else None
    except KeyError:
        return unread
    return Meter(reading, frame, inflate=inflate, tier=tier)


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("utf-8", "surrogateescape")


def _document(data: bytes, read: Read) -> Framing:
    return Elements(read) if data.startswith(b"[") else One(read)


def _stream(data: bytes, read: Read) -> Framing:
    return Events(read)


def _batch(data: bytes, read: Read, *, read_batch: Read) -> Framing:
    return Inlined(read, read_batch)


def _lines(data: bytes, read: Read) -> Framing | None:
    """A downloaded file is anything: a film, mostly."""
    return Lines(read) if data.startswith(b"{") else None
