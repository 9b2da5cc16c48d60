"""The line of an exchange that ended as nearly all do: one attempt, an answer read to its end, text that has a price.

The ledger asks for it; what had another end is written by its record. Either way it is the same line, to the last byte:
this one is put together of what its form knows, of what differs, and of the answer's counts, which msgspec renders. Who
adds a field to `UsageRecord` adds it here; the tests hold the two ways against each other.
"""

from typing import Any, Final

import msgspec

from plugins.usage_log.parts import Sums, encode
from plugins.usage_log.record import Form
from plugins.usage_log.texts import number, rfc3339, tenths, to_ms
from proxy import SCHEMA_VERSION, Charge, Exchange, Outcome, UsageState

_COMPLETED: Final = Outcome.COMPLETED
_FINAL: Final = UsageState.FINAL
_fields: Final = msgspec.structs.astuple

_BEGIN: Final = f'{{"schema":{SCHEMA_VERSION},"time":"'


def is_ordinary(form: Form, exchange: Exchange) -> bool:
    """Whether nothing is to be said of it that few have; its charge aside."""
    intent = exchange.intent_read
    return (
        form.is_kept
        and exchange.outcome is _COMPLETED
        and exchange.usage_state is _FINAL
        and exchange.usage is not None
        and exchange.reason is None
        and exchange.once is None
        and len(exchange.attempts) == 1
        and not exchange.labels
        and (intent is None or intent.image_size is None)
    )


def ending_of(form: Form, exchange: Exchange, now_monotonic: float, charge: Charge) -> bytes | None:
    """The line of an ordinary one. None: something in it is not as usual after all."""
    endpoint, first_byte, status, started = exchange.endpoint, exchange.first_byte, exchange.status, exchange.started
    cost, price = charge.cost_text, charge.price_text
    if endpoint is None or first_byte is None or status is None or cost is None or price is None or charge.image_size:
        return None
    name: str
    region: str
    answered: int | None
    began_ms: float
    ended_ms: float | None
    tried: tuple[Any, ...] = _fields(exchange.attempts[0])
    name, region, began_ms, ended_ms, answered, error, was_sent = tried
    if error is not None or was_sent is not True or ended_ms is None or answered is None:
        return None
    if name != endpoint.name or region != endpoint.region:
        return None
    began, ended = tenths(began_ms), tenths(ended_ms)
    first, total = tenths(to_ms(first_byte - started)), tenths(to_ms(now_monotonic - started))
    if began < 0 or ended < 0 or first < 0 or total < 0:
        return None
    sums = form.sums
    if sums is None or not sums.fit(charge):
        sums = form.sums = Sums(charge)
    try:
        usage, lines = encode(exchange.usage).decode(), encode(charge.lines).decode()
    except UnicodeEncodeError:  # an answer's word that UTF-8 cannot carry
        return None
    return (
        f'{_BEGIN}{rfc3339(exchange.received_at)}","id":"{exchange.id}",{form.who},{form.place(endpoint).ending}'
        f'{number(began // 10)}.{number(began % 10)},"ended_ms":{number(ended // 10)}.{number(ended % 10)},'
        f'"status":{number(answered)},"error":null,"sent":true}}],"outcome":"completed","status":{number(status)},'
        f'"reason":null,"first_byte_ms":{number(first // 10)}.{number(first % 10)},'
        f'"total_ms":{number(total // 10)}.{number(total % 10)},'
        f'"request_bytes":{number(exchange.request_bytes)},"response_bytes":{number(exchange.response_bytes)},'
        f'"usage_state":"final","usage":{usage},"estimate":null,"asked_image_size":null,"once":null,'
        f'{sums.before}{cost}{sums.between}{price}{sums.after}{lines},"labels":{{}}}}\n'
    ).encode()
