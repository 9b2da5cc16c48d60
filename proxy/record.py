"""The line the usage log holds of an exchange.

The product of the gateway: its field names are a published interface (`docs/usage-record.schema.json`), changed
only together with `SCHEMA_VERSION`. The `usage_log` plugin writes it, `price.py` puts amounts into it, `weir usage`
reads it. Nothing in it refers to itself, so the collector is not told (`gc=False`).
"""

from enum import StrEnum

import msgspec

from proxy.usage import AttemptRecord, Outcome, Usage, UsageState

SCHEMA_VERSION = 1


class Pricing(StrEnum):
    """What an amount rests on."""

    PRICED = "priced"  # the answer's own counts, read to their end; or it is known to be free
    ESTIMATED = "estimated"  # partial counts, or what the request asked for
    UNPRICED = "unpriced"  # no price is known for it, or nothing to count: the amount is null, never zero


class ChargeLine(msgspec.Struct, frozen=True, gc=False):
    """One position of a bill. Amounts are decimals in fixed-point notation, so that no reader rounds them."""

    meter: str  # input_text, cached_text, output_text, output_image, images, search_queries, video_seconds, ...
    quantity: int  # tokens, images, queries, seconds
    rate: str  # for one million tokens, or for one of anything else; multipliers of tier and region applied
    cost: str


class UsageRecord(msgspec.Struct, kw_only=True, gc=False):
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
