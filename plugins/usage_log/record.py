"""From an exchange to its record in the usage log, as far as it has come; without its charge.

Most of a record is the same for all calls of one caller to one path: it is filled in once, in a `Form`, which the
ledger finds again for each exchange. Decides no field (those are the contract's) and reads no clock.
"""

from typing import Final, final

import msgspec
from msgspec.structs import replace

from plugins.usage_log.parts import Place, Sums
from plugins.usage_log.texts import labels_of, model_of, path_of, rfc3339, to_ms
from proxy import (
    Endpoint,
    Exchange,
    Operation,
    Outcome,
    Team,
    Teams,
    Terms,
    Usage,
    UsageRecord,
    UsageState,
    hide_credentials,
)

BYTES_PER_TEXT_TOKEN: Final = 4

_MOST_PLACES: Final = 32  # more than a pool has; those of before a reload go with them
_FINAL: Final = UsageState.FINAL
# What the calls of one form do not share.
_OWN: Final = ("time", "id", "attempts", "total_ms", "request_bytes", "estimate", "asked_image_size", "labels")

_FIELDS: Final = UsageRecord.__struct_fields__
_WHO: Final = _FIELDS[_FIELDS.index("id") + 1 : _FIELDS.index("endpoint")]

# What no exchange has at its beginning.
_BLANK: Final = UsageRecord(
    time="",
    id="",
    route=None,
    team=None,
    subject=None,
    key_id=None,
    operation="",
    api="",
    location=None,
    model=None,
    method="",
    path="",
    endpoint=None,
    region=None,
    attempts=[],
    outcome=Outcome.LOST,
    status=None,
    reason=None,
    first_byte_ms=None,
    total_ms=0.0,
    request_bytes=0,
    response_bytes=0,
    usage_state=UsageState.NONE,
    usage=None,
)


def record_of(exchange: Exchange, now_monotonic: float, teams: Teams) -> UsageRecord:
    """The record of an exchange as it is at that moment of the services' monotonic clock; without its charge."""
    return Form(exchange, path_of(exchange.request.target), teams).fill(exchange, now_monotonic)


@final
class Form:
    """Who calls what, and by which prices: settled before anything is sent.

    Attributes:
        is_kept: it comes again and again, and its texts are fit to be written as they are.
        blank: a record without what an exchange adds.
        text: of a form that is kept, what it knows, as JSON in the first place of a list that is still open.
        who: likewise, as the fields of a line between its id and its endpoint.
        sums: of the last charge that `ending` has written.
        terms: the prices of its calls, once the ledger has asked for them.
    """

    __slots__ = (
        "_is_model_in_path",
        "_lineage",
        "_method",
        "_model",
        "_places",
        "_route",
        "_team",
        "blank",
        "generates",
        "is_kept",
        "operation",
        "sums",
        "terms",
        "text",
        "who",
    )

    def __init__(self, exchange: Exchange, path: str, teams: Teams) -> None:
        operation, principal = exchange.operation, exchange.principal
        self.operation: Operation = operation
        self.generates: bool = operation.generates
        self._method: str = exchange.request.method
        self._route: str | None = exchange.route
        self._model: str | None = exchange.model
        self._is_model_in_path = operation.model is not None
        self._team: str = "" if principal is None else principal.team
        self._lineage: tuple[Team, ...] = teams.lineage(self._team)
        blank = replace(
            _BLANK,
            route=self._route,
            operation=operation.name,
            api=operation.api,
            location=operation.location,
            model=model_of(self._model),
            method=self._method,
            path=path,
        )
        if principal is not None:
            blank.team, blank.subject, blank.key_id = self._team, principal.subject, principal.key_id
            blank.price_list = teams.price_list(self._team)
        self.blank: Final[UsageRecord] = blank
        self.is_kept = False
        self.text = b""
        self.who = ""
        self.sums: Sums | None = None
        self.terms: Terms | None = None
        self._places: dict[str, Place] = {}

    def fits(self, exchange: Exchange) -> bool:
        """Whether it is the exchange's still, or of one with the same path and principal."""
        return (
            self.operation is exchange.operation
            and self._method == exchange.request.method
            and self._route == exchange.route
            and (self._is_model_in_path or self._model == exchange.model)  # a body may name it late
        )

    def is_of_today(self, teams: Teams) -> bool:
        """False after a reload: it makes new lineages, of equal teams too."""
        return self._lineage is teams.lineage(self._team)

    def prepare(self) -> bool:
        """For many exchanges; False where there will be none, or where a text must be mended each time."""
        path, model = self.blank.path, self._model
        if not self.generates or hide_credentials(path) != path:
            return False
        if model is not None and (model_of(model) != model or hide_credentials(model) != model):
            return False
        shared = {name: value for name, value in msgspec.to_builtins(self.blank).items() if name not in _OWN}
        try:
            self.text = b"[" + msgspec.json.encode(shared) + b","
            self.who = msgspec.json.encode({name: shared[name] for name in _WHO})[1:-1].decode()
        except UnicodeEncodeError:  # a name that JSON can carry and UTF-8 cannot
            return False
        self.is_kept = True
        return True

    def place(self, endpoint: Endpoint) -> Place:
        """Its parts of lines: a reload makes new endpoints, of other regions too."""
        place = self._places.get(endpoint.name)
        if place is None or place.endpoint is not endpoint:
            if len(self._places) == _MOST_PLACES:
                self._places.clear()
            place = self._places[endpoint.name] = Place(endpoint)
        return place

    def fill(self, exchange: Exchange, now_monotonic: float) -> UsageRecord:
        """The record of one of its exchanges, without its charge."""
        endpoint, first_byte, intent = exchange.endpoint, exchange.first_byte, exchange.intent_read
        size_bytes = exchange.request_bytes
        record = replace(
            self.blank,
            time=rfc3339(exchange.received_at),
            id=exchange.id,
            endpoint=None if endpoint is None else endpoint.name,
            region=None if endpoint is None else endpoint.region,
            attempts=exchange.attempts,
            outcome=exchange.outcome,
            status=exchange.status,
            first_byte_ms=None if first_byte is None else to_ms(first_byte - exchange.started),
            total_ms=to_ms(now_monotonic - exchange.started),
            request_bytes=size_bytes,
            response_bytes=exchange.response_bytes,
            usage_state=exchange.usage_state,
            usage=exchange.usage,
            labels=labels_of(exchange.labels),
        )
        # What few have: a name more to replace takes longer than to see that there is nothing.
        if exchange.reason is not None:
            record.reason = exchange.reason
        if exchange.once is not None:
            record.once = exchange.once
        if self.generates and exchange.usage_state is not _FINAL:
            record.estimate = _estimate(exchange, size_bytes)
        if intent is not None:
            image_size = intent.image_size
            if image_size is not None:
                record.asked_image_size = image_size
        return record


def _estimate(exchange: Exchange, size_bytes: int) -> Usage | None:
    """What the request asks for, where a model may have run for it: the answer's counts do not tell the whole."""
    if not _may_have_run(exchange):
        return None
    by_bytes = size_bytes // BYTES_PER_TEXT_TOKEN
    intent = exchange.intent_read
    if intent is None:  # nobody had to read it; of a body full of images this is far too much, and known to be a guess
        return Usage(input_tokens=by_bytes)
    return Usage(
        input_tokens=intent.input_tokens or by_bytes,
        output_tokens=(intent.max_output_tokens or 0) * max(intent.candidate_count, 1),
        images=intent.image_count,
        video_seconds=intent.video_seconds,
        video_resolution=intent.video_resolution,
        tier=intent.service_tier,
    )


def _may_have_run(exchange: Exchange) -> bool:
    """False where it was refused, by us or by them."""
    for attempt in exchange.attempts:  # noqa: SIM110  # `any` over a generator costs as much as all of a record's times
        if attempt.status is None or attempt.status < 400:
            return True
    return False
