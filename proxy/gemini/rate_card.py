"""What one model costs in one tier: the price file compiled to what `charges.py` multiplies by.

`prices.py` makes a card the first time a record needs it. Here it is decided what holds where the file is silent: a
tier without a price of its own takes the standard one times its multiplier, a long request the short one's. A
meter that is priced nowhere stays None: whoever uses it is unpriced.
"""

from decimal import Decimal
from typing import Literal

import msgspec

from proxy.gemini.exact import MILLIONTH, multiply
from proxy.gemini.price_list import ONE, Model, PriceList, Rates
from proxy.price import fixed

Tier = Literal["standard", "batch", "flex", "priority", "prepaid"]
MEDIA = ("image", "audio", "video")  # what may have a rate of its own; a document is text, whatever is new is too


class Rate(msgspec.Struct, frozen=True):
    """Of one meter, with the tier's and the region's multipliers applied."""

    meter: str
    per_unit: Decimal  # of one token, image, second or query
    text: str  # as a record says it: tokens by the million


class RateCard(msgspec.Struct, frozen=True, kw_only=True):
    """Rates of one model, tier, length and region. `inputs` and `outputs` hold what has a price of its own."""

    inputs: dict[str, Rate]  # by modality
    cached: dict[str, Rate]
    outputs: dict[str, Rate]
    tool: Rate | None
    thoughts: Rate | None
    images: dict[str, Rate]  # by size, in the place of the tokens of an image
    image_tokens: dict[str, int]
    makes_images: bool


def compile_card(prices: PriceList, model: Model, tier: Tier, *, is_long: bool, regional: bool) -> RateCard:
    """The card of a model with token prices."""
    uplift = model.vertex_regional_uplift if regional else ONE

    def rate(meter: str, of: str | None = None) -> Rate | None:
        amount = _per_million(prices, model, tier, of or meter, is_long=is_long)
        if amount is None:
            return None
        amount = multiply(amount, uplift)
        return Rate(meter, multiply(amount, MILLIONTH), fixed(amount))

    def by_modality(kind: str) -> dict[str, Rate]:
        found = {modality: rate(f"{kind}_{modality}") for modality in ("text", *MEDIA)}
        return {modality: priced for modality, priced in found.items() if priced is not None}

    own = getattr(model, tier, None)
    return RateCard(
        inputs=by_modality("input"),
        cached={
            modality: priced for modality in ("text", "audio") if (priced := rate(f"cached_{modality}")) is not None
        },
        outputs=by_modality("output"),
        tool=rate("tool_text", "input_text"),
        thoughts=rate("thoughts", "output_text"),
        images={size: each("images", multiply(amount, uplift)) for size, amount in own.images.items()} if own else {},
        image_tokens=model.image_tokens,
        makes_images=bool(model.image_tokens)
        or (model.standard is not None and model.standard.output_image is not None),
    )


def each(meter: str, amount: Decimal) -> Rate:
    """The rate of what is not counted by the million."""
    return Rate(meter, amount, fixed(amount))


def _per_million(prices: PriceList, model: Model, tier: Tier, meter: str, *, is_long: bool) -> Decimal | None:
    """The price of a meter; where the file does not say it, what follows from what it says."""

    def said(table: str) -> Decimal | None:
        rates: Rates | None = getattr(model, table, None)
        amount: Decimal | None = getattr(rates, meter, None)
        return amount

    multiplier: Decimal = getattr(prices.tiers, tier).multiplier
    if is_long:
        if (amount := said(f"{tier}_long")) is not None:
            return amount
        if (amount := said("standard_long")) is not None:
            return multiply(amount, multiplier)
    if (amount := said(tier)) is not None:
        return amount
    amount = said("standard")
    return None if amount is None else multiply(amount, multiplier)
