"""What one model costs in one tier: the price file compiled to what `charges.py` multiplies by.

`prices.py` makes a card the first time a record needs it. Here it is decided what holds where the file is silent: a
tier without a price of its own takes the standard one times its multiplier, a long request the short one's. A
meter that is priced nowhere stays None: whoever uses it is unpriced.
"""

from decimal import Decimal
from typing import Final, Literal, final

from proxy.gemini.exact import MILLIONTH, decimals_of, in_units, multiply
from proxy.gemini.price_list import ONE, Model, PriceList, Rates
from proxy.price import fixed

Tier = Literal["standard", "batch", "flex", "priority", "prepaid"]
MEDIA: Final = (
    "image",
    "audio",
    "video",
)  # what may have a rate of its own; a document is text, whatever is new is too


@final
class Rate:
    """Of one meter, with the tier's and the region's multipliers applied.

    Attributes:
        text: as a record says it: tokens by the million.
        units, decimals: of one token, image, second or query: so many of so small an amount of USD.
    """

    __slots__ = ("decimals", "meter", "text", "units")

    def __init__(self, meter: str, per_unit: Decimal, text: str) -> None:
        self.meter: Final = meter
        self.text: Final = text
        self.decimals: Final = decimals_of(per_unit)
        self.units: Final = in_units(per_unit, self.decimals)


@final
class RateCard:
    """Rates of one model, tier, length and region.

    Attributes:
        inputs, cached, outputs: by modality, of what has a price of its own.
        images: by size, in the place of the tokens of an image.
    """

    __slots__ = ("cached", "image_tokens", "images", "inputs", "makes_images", "outputs", "thoughts", "tool")

    def __init__(
        self,
        *,
        inputs: dict[str, Rate],
        cached: dict[str, Rate],
        outputs: dict[str, Rate],
        tool: Rate | None,
        thoughts: Rate | None,
        images: dict[str, Rate],
        image_tokens: dict[str, int],
        makes_images: bool,
    ) -> None:
        self.inputs: Final = inputs
        self.cached: Final = cached
        self.outputs: Final = outputs
        self.tool: Final = tool
        self.thoughts: Final = thoughts
        self.images: Final = images
        self.image_tokens: Final = image_tokens
        self.makes_images: Final = makes_images


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
