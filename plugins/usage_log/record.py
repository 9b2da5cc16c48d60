"""From an exchange to its line in the usage log: one pure function.

`UsageLog` calls it when an exchange has ended. It decides no field (those are the contract's) and reads no
clock; it keeps the query out of the record, in whatever spelling the caller sent it, and cuts what a caller may
make as long as the wire allows: a record is a few KB, however many of them wait for a disk.
"""

import re
from datetime import UTC, datetime
from functools import lru_cache

from proxy import Exchange, Teams, Usage, UsageRecord, UsageState

# A query that a client escaped by mistake (`%3Fkey=…`), or began with `&`, is a query all the same: Google's
# paths hold neither, and keys were seen in both.
_QUERY_BEGINS = re.compile(r"&|%3[Ff]|%26")

# Characters. Google's longest paths have some 200, its model names 40; an endpoint's full name has 100.
_LONGEST_PATH = 512
_LONGEST_MODEL = 128
_LONGEST_LABEL = 256
_CUT = "…"

_BYTES_PER_TEXT_TOKEN = 4


def record_of(exchange: Exchange, ended_monotonic: float, teams: Teams) -> UsageRecord:
    """The record of an exchange that ended at that moment of the services' monotonic clock; without its charge."""
    request, principal, endpoint = exchange.request, exchange.principal, exchange.endpoint
    intent = exchange.intent_read
    return UsageRecord(
        time=_rfc3339(exchange.received_at),
        id=exchange.id,
        route=exchange.route,
        team=principal.team if principal else None,
        subject=principal.subject if principal else None,
        key_id=principal.key_id if principal else None,
        operation=exchange.operation.name,
        api=exchange.operation.api,
        location=exchange.operation.location,
        model=None if exchange.model is None else _short(exchange.model, _LONGEST_MODEL),
        method=request.method,
        path=_short(_path(request.target), _LONGEST_PATH),
        endpoint=endpoint.name if endpoint else None,
        region=endpoint.region if endpoint else None,
        attempts=exchange.attempts,
        outcome=exchange.outcome,
        status=exchange.status,
        reason=exchange.reason,
        first_byte_ms=None if exchange.first_byte is None else _ms(exchange.first_byte - exchange.started),
        total_ms=_ms(ended_monotonic - exchange.started),
        request_bytes=exchange.request_bytes,
        response_bytes=exchange.response_bytes,
        usage_state=exchange.usage_state,
        usage=exchange.usage,
        estimate=_estimate(exchange),
        asked_image_size=intent.image_size if intent else None,
        once=exchange.once,
        price_list=teams.price_list(principal.team if principal else None),
        labels={name: _short(str(text), _LONGEST_LABEL) for name, text in exchange.labels.items()},
    )


def _estimate(exchange: Exchange) -> Usage | None:
    """What the request asks for, where a model may have run for it and the answer's counts do not tell the whole."""
    if not exchange.operation.generates or exchange.usage_state is UsageState.FINAL:
        return None
    if all(attempt.status is not None and attempt.status >= 400 for attempt in exchange.attempts):
        return None  # refused, by us or by them
    intent = exchange.intent_read
    if intent is None:  # nobody had to read it; of a body full of images this is far too much, and known to be a guess
        return Usage(input_tokens=exchange.request_bytes // _BYTES_PER_TEXT_TOKEN)
    return Usage(
        input_tokens=intent.input_tokens or exchange.request_bytes // _BYTES_PER_TEXT_TOKEN,
        output_tokens=(intent.max_output_tokens or 0) * max(intent.candidate_count, 1),
        images=intent.image_count,
        video_seconds=intent.video_seconds,
        video_resolution=intent.video_resolution,
        tier=intent.service_tier,
    )


def _rfc3339(unix_seconds: float) -> str:
    milliseconds = int(unix_seconds * 1000)
    return f"{_to_the_second(milliseconds // 1000)}.{milliseconds % 1000:03d}Z"


@lru_cache(maxsize=16)  # the exchanges of one second share it
def _to_the_second(unix_seconds: int) -> str:
    return datetime.fromtimestamp(unix_seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)


def _path(target: str) -> str:
    """The target's path alone: no query, and of an absolute form (RFC 9112 section 3.2.2) no authority."""
    path = target.partition("?")[0]
    if "&" in path or "%" in path:
        path = _QUERY_BEGINS.split(path, maxsplit=1)[0]
    if "://" in path and not path.startswith("/"):
        return "/" + path.partition("://")[2].partition("/")[2]
    return path


def _short(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + _CUT
