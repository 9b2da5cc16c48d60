"""The line the usage log holds of an exchange, and how it gets its price.

The product of the gateway: its field names are a published interface (`docs/usage-record.schema.json`), changed
only together with `SCHEMA_VERSION`. The `usage_log` plugin writes it, `weir usage` reads it.
"""

from typing import Protocol

import msgspec

from proxy.price import Charge, ChargeLine, Pricing, fixed
from proxy.usage import AttemptRecord, Outcome, Usage, UsageState

SCHEMA_VERSION = 1


class UsageRecord(msgspec.Struct, kw_only=True):
    """One line of the usage log: who, what, where, how it ended, what it used, what it costs.

    What it costs follows from the rest and from the price file of version `prices`, so that any record can be
    priced again. Amounts are decimals in fixed-point notation.
    """

    schema: int = SCHEMA_VERSION
    time: str  # RFC 3339, UTC: when the request head had arrived
    id: str
    route: str | None
    team: str | None
    subject: str | None
    key_id: str | None
    operation: str
    api: str  # gemini, vertex, openai, interactions, live, unknown
    location: str | None  # of a Vertex path, such as europe-west4
    model: str | None
    method: str
    path: str  # without the query, which may carry credentials
    endpoint: str | None  # the one whose answer was relayed
    region: str | None
    attempts: list[AttemptRecord]
    outcome: Outcome
    status: int | None  # sent to the caller; None when it left before a head went out
    reason: str | None  # of a refusal or a failure
    first_byte_ms: float | None
    total_ms: float
    request_bytes: int
    response_bytes: int
    usage_state: UsageState
    usage: Usage | None
    estimate: Usage | None = None  # from the request, where the answer's counts are missing or partial
    asked_image_size: str | None = None
    once: str | None = None  # charged once under this name, however often it is read: the results of a batch
    tier: str | None = None  # the one served: standard, batch, flex, priority, prepaid
    image_size: str | None = None  # of the images in the answer
    pricing: Pricing = Pricing.UNPRICED
    cost: str | None = None  # what Google charges us
    cost_currency: str | None = None
    price: str | None = None  # what the team is charged
    price_currency: str | None = None
    price_list: str | None = None  # the team's, by name; null: what Google charges
    prices: str | None = None  # the version of the price file
    charges: tuple[ChargeLine, ...] = ()
    labels: dict[str, str] = {}


class Prices(Protocol):
    """The price file in force. The same object for as long as the process lives; a reload changes its content."""

    def charge(self, record: UsageRecord) -> Charge:
        """What a record costs, by its own fields alone: `price_list` and all before it. Pure; never raises."""


def put_charge(record: UsageRecord, charge: Charge) -> None:
    """Write a charge into a record, over whatever amounts it has."""
    record.tier = charge.tier
    record.image_size = charge.image_size
    record.pricing = charge.pricing
    cost, price = charge.cost, charge.price
    record.cost = None if cost is None else fixed(cost)
    record.cost_currency = None if cost is None else charge.cost_currency
    record.price = record.cost if price is cost else None if price is None else fixed(price)
    record.price_currency = None if price is None else charge.price_currency
    record.price_list = charge.price_list
    record.prices = charge.prices
    record.charges = charge.lines
