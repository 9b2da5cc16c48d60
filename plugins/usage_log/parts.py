"""Parts of lines that many calls share: rendered once, and kept by a `Form` of `record`.

`opening` and `ending` put them into their lines. What is here is JSON, by msgspec, of what the configuration says:
nothing that a caller sent.
"""

from typing import Final, final

import msgspec

from proxy import Charge, Endpoint, Pricing

encode: Final = msgspec.json.Encoder(enc_hook=str).encode


@final
class Place:
    """Where a call went.

    Attributes:
        opening: the endpoint, in the second place of a brief opening's list, before its id.
        ending: the endpoint and its one attempt, until the number of when that began.
    """

    __slots__ = ("ending", "endpoint", "opening")

    def __init__(self, endpoint: Endpoint) -> None:
        where = encode({"endpoint": endpoint.name, "region": endpoint.region})
        fields = where[1:-1].decode()
        self.endpoint: Final = endpoint  # compared by identity
        self.opening: Final = where + b',"'
        self.ending: Final = f'{fields},"attempts":[{{{fields},"started_ms":'


@final
class Sums:
    """What two charges have in common that differ in their lines and their amounts alone.

    Attributes:
        before, between, after: JSON in front of the cost, between it and the price, and from there to the lines.
    """

    __slots__ = (
        "_cost_currency",
        "_price_currency",
        "_price_list",
        "_prices",
        "_pricing",
        "_tier",
        "after",
        "before",
        "between",
    )

    def __init__(self, charge: Charge) -> None:
        """Of a charge with amounts, and without an image."""
        self._tier: Final = charge.tier
        self._pricing: Final[Pricing] = charge.pricing
        self._cost_currency: Final = charge.cost_currency
        self._price_currency: Final = charge.price_currency
        self._price_list: Final = charge.price_list
        self._prices: Final = charge.prices
        tier, pricing = _text(charge.tier), _text(charge.pricing)
        self.before: Final = f'"tier":{tier},"image_size":null,"pricing":{pricing},"cost":"'
        self.between: Final = f'","cost_currency":{_text(charge.cost_currency)},"price":"'
        currency, price_list, prices = _text(charge.price_currency), _text(charge.price_list), _text(charge.prices)
        self.after: Final = f'","price_currency":{currency},"price_list":{price_list},"prices":{prices},"charges":'

    def fit(self, charge: Charge) -> bool:
        return (
            self._pricing is charge.pricing
            and self._tier == charge.tier
            and self._prices == charge.prices
            and self._price_list == charge.price_list
            and self._cost_currency == charge.cost_currency
            and self._price_currency == charge.price_currency
        )


def _text(word: str | None) -> str:
    return encode(word).decode()
