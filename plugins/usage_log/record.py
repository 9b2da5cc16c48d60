"""From an exchange to its line in the usage log, as far as it has come.

`UsageLog` makes a record where an attempt is about to be sent, and completes it when the exchange has ended. It decides
no field (those are the contract's) and reads no clock; it keeps the query out of the record, in whatever spelling the
caller sent it, and cuts what a caller may make as long as the wire allows: a record is a few KB, however many of them
wait for a disk.
"""

import re
from copy import copy
from datetime import UTC, datetime
from functools import lru_cache

from proxy import Exchange, Outcome, Teams, Usage, UsageRecord, UsageState

# A query that a client escaped by mistake (`%3Fkey=…`), or began with `&`, is a query all the same: Google's
# paths hold neither, and keys were seen in both.
_QUERY_BEGINS = re.compile(r"&|%3[Ff]|%26")

# Characters. Google's longest paths have some 200, its model names 40; an endpoint's full name has 100.
_LONGEST_PATH = 512
_LONGEST_MODEL = 128
_LONGEST_LABEL = 256
_CUT = "…"

_BYTES_PER_TEXT_TOKEN = 4
_FINAL = UsageState.FINAL
_MILLISECONDS = tuple(f".{number:03d}Z" for number in range(1000))


# What no exchange has at its beginning; copied, which takes a third of the time of naming each field.
_BLANK = UsageRecord(
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
    record = opening_of(exchange, now_monotonic, teams)
    bring_up_to_date(record, exchange, now_monotonic)
    return record


def opening_of(exchange: Exchange, now_monotonic: float, teams: Teams) -> UsageRecord:
    """The record of an exchange that no endpoint has answered: who calls what, and what it may cost."""
    record = copy(_BLANK)
    request, operation, principal = exchange.request, exchange.operation, exchange.principal
    record.time = _rfc3339(exchange.received_at)
    record.id = exchange.id
    record.route = exchange.route
    if principal is not None:
        record.team = team = principal.team
        record.subject = principal.subject
        record.key_id = principal.key_id
        record.price_list = teams.price_list(team)
    record.operation = operation.name
    record.api = operation.api
    record.location = operation.location
    record.method = request.method
    path = _path(request.target)
    record.path = path if len(path) <= _LONGEST_PATH else _cut(path, _LONGEST_PATH)
    record.attempts = exchange.attempts
    _put_asked(record, exchange, now_monotonic)
    return record


def bring_up_to_date(record: UsageRecord, exchange: Exchange, now_monotonic: float) -> None:
    """Write down what has come since the record was made.

    Who calls what, and by which prices, is settled before anything is sent.
    """
    endpoint, first_byte = exchange.endpoint, exchange.first_byte
    if endpoint is not None:
        record.endpoint = endpoint.name
        record.region = endpoint.region
    record.outcome = exchange.outcome
    record.status = exchange.status
    record.reason = exchange.reason
    record.first_byte_ms = None if first_byte is None else _ms(first_byte - exchange.started)
    record.response_bytes = exchange.response_bytes
    record.usage_state = exchange.usage_state
    record.usage = exchange.usage
    record.once = exchange.once
    _put_asked(record, exchange, now_monotonic)


def _put_asked(record: UsageRecord, exchange: Exchange, now_monotonic: float) -> None:
    """What is known of the request by now."""
    model, intent, labels = exchange.model, exchange.intent_read, exchange.labels
    record.model = model if model is None or len(model) <= _LONGEST_MODEL else _cut(model, _LONGEST_MODEL)
    record.total_ms = _ms(now_monotonic - exchange.started)
    record.request_bytes = size_bytes = exchange.request_bytes
    if exchange.usage_state is _FINAL or not exchange.operation.generates:
        record.estimate = None
    else:
        record.estimate = _estimate(exchange, size_bytes)
    if intent is not None:
        record.asked_image_size = intent.image_size
    record.labels = {name: _label(text) for name, text in labels.items()} if labels else {}


def _estimate(exchange: Exchange, size_bytes: int) -> Usage | None:
    """What the request asks for, where a model may have run for it: the answer's counts do not tell the whole."""
    if not _may_have_run(exchange):
        return None
    by_bytes = size_bytes // _BYTES_PER_TEXT_TOKEN
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


def _rfc3339(unix_seconds: float) -> str:
    seconds, milliseconds = divmod(int(unix_seconds * 1000), 1000)
    return _to_the_second(seconds) + _MILLISECONDS[milliseconds]


@lru_cache(maxsize=16)  # the exchanges of one second share it
def _to_the_second(unix_seconds: int) -> str:
    return datetime.fromtimestamp(unix_seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _ms(seconds: float) -> float:
    return round(seconds * 10_000) / 10  # a quarter of the time that `round` takes for digits


def _path(target: str) -> str:
    """The target's path alone: no query, and of an absolute form (RFC 9112 section 3.2.2) no authority."""
    path = target.partition("?")[0]
    if "&" in path or "%" in path:
        path = _QUERY_BEGINS.split(path, maxsplit=1)[0]
    if "://" in path and not path.startswith("/"):
        return "/" + path.partition("://")[2].partition("/")[2]
    return path


def _label(text: object) -> str:  # whatever a plugin has put there
    label = str(text)
    return label if len(label) <= _LONGEST_LABEL else _cut(label, _LONGEST_LABEL)


def _cut(text: str, longest: int) -> str:
    return text[: longest - 1] + _CUT
