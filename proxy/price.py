"""What an exchange costs us and what its team pays: the result of a price list applied to a usage record.

`Services.prices` makes a `Charge` from a `UsageRecord`; the usage log writes it down. Amounts are exact decimals.
Nothing here knows a price: those are data, in the price file.
"""

from decimal import Decimal
from enum import StrEnum

import msgspec


class Pricing(StrEnum):
    """What an amount rests on."""

    PRICED = "priced"  # the answer's own counts, read to their end; or it is known to be free
    ESTIMATED = "estimated"  # partial counts, or what the request asked for
    UNPRICED = "unpriced"  # no price is known for it, or nothing to count: the amount is null, never zero


class ChargeLine(msgspec.Struct, frozen=True):
    """One position of a bill. Amounts are decimals in fixed-point notation, so that no reader rounds them."""

    meter: str  # input_text, cached_text, output_text, output_image, images, search_queries, video_seconds, ...
    quantity: int  # tokens, images, queries, seconds
    rate: str  # for one million tokens, or for one of anything else; multipliers of tier and region applied
    cost: str


class Charge(msgspec.Struct, frozen=True, kw_only=True):
    """Both sides of the bill. `lines` add up to `cost`."""

    pricing: Pricing
    tier: str | None = None  # standard, batch, flex, priority, prepaid: the one served
    image_size: str | None = None  # of the images in the answer: "512", "1K", "2K", "4K"
    cost: Decimal | None = None  # what Google charges us; None when unpriced
    cost_currency: str = "USD"
    price: Decimal | None = None  # what the team is charged
    price_currency: str = "USD"
    price_list: str | None = None  # the team's, by name; None: what Google charges
    prices: str | None = None  # the version of the price file; None: there is none
    lines: tuple[ChargeLine, ...] = ()


def fixed(amount: Decimal) -> str:
    """An amount as text: no exponent, no zeros at its end."""
    text = str(amount)
    if "E" in text:  # of what is very small or very large; `format` alone takes four times as long
        text = format(amount, "f")
    if "." in text:
        return text if text[-1] not in "0." else text.rstrip("0").rstrip(".")
    return text
