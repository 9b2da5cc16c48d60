"""What a team is charged for a bill: its price list applied to what Google charges.

`prices.py` asks once a record. The order is fixed, so that a team can follow it: a flat price per image, else one per
request, else the factor. What costs us nothing because nothing ran costs the team nothing. The results of a batch are
many requests, nobody knows how many: no price for one is theirs.
"""

from collections.abc import Mapping
from decimal import Decimal
from fnmatch import fnmatchcase

from proxy.gemini.charges import Bill
from proxy.gemini.exact import ZERO, multiply
from proxy.gemini.price_list import TeamPrices


class TeamPriceBook:
    """The price lists of one file."""

    def __init__(self, lists: Mapping[str, TeamPrices]) -> None:
        self._lists = lists
        self._requests: dict[tuple[str, str], Decimal | None] = {}  # by list and model

    def price(self, name: str, bill: Bill, model: str | None, *, is_batch: bool = False) -> tuple[Decimal | None, str]:
        """The price and its currency. `model`: by its name in the price file; None where nothing was billed.

        The price is None when there is no such list any more: nobody knows what the team had agreed to.
        """
        prices = self._lists.get(name)
        if prices is None:
            return None, "USD"
        if model is None:
            return ZERO, prices.currency
        if bill.images and bill.image_size in prices.images:
            return multiply(prices.images[bill.image_size], bill.images), prices.currency
        request = None if is_batch else self._request(name, prices, model)
        if request is not None:
            return request, prices.currency
        price = multiply(Decimal(bill.total), prices.factor)
        return (price if prices.rate is None else multiply(price, prices.rate.per_usd)), prices.currency

    def _request(self, name: str, prices: TeamPrices, model: str) -> Decimal | None:
        if not prices.requests:
            return None
        key = (name, model)
        if key not in self._requests:
            flat = (price for pattern, price in prices.requests.items() if fnmatchcase(model, pattern))
            self._requests[key] = next(flat, None)
        return self._requests[key]
