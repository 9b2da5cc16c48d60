"""What an exchange costs us and what its team pays: the result of a price list applied to a usage record.

`Services.prices` makes a `Charge` from a `UsageRecord`; the usage log writes it down with `put_charge`. Amounts are
exact decimals. Nothing here knows a price: those are data, in the price file.
"""

from decimal import Decimal
from typing import Final, Protocol, final

from proxy.record import ChargeLine, Pricing, UsageRecord
from proxy.usage import Usage


@final
class Charge:
    """Both sides of the bill. `lines` add up to `cost`.

    Attributes:
        tier: standard, batch, flex, priority, prepaid: the one served.
        image_size: of the images in the answer: "512", "1K", "2K", "4K".
        cost_text, price_text: the amounts as a record has them, in fixed-point notation.
        price_list: the team's, by name; None: what Google charges.
        prices: the version of the price file; None: there is none.
    """

    __slots__ = (
        "_cost",
        "_price",
        "cost_currency",
        "cost_text",
        "image_size",
        "lines",
        "price_currency",
        "price_list",
        "price_text",
        "prices",
        "pricing",
        "tier",
    )

    def __init__(
        self,
        *,
        pricing: Pricing,
        tier: str | None = None,
        image_size: str | None = None,
        cost: Decimal | str | None = None,
        cost_currency: str = "USD",
        price: Decimal | str | None = None,
        price_currency: str = "USD",
        price_list: str | None = None,
        prices: str | None = None,
        lines: tuple[ChargeLine, ...] = (),
    ) -> None:
        """An amount that is given as text is in fixed-point notation already."""
        self.pricing: Final = pricing
        self.tier: Final = tier
        self.image_size: Final = image_size
        self.cost_text: Final = cost if cost is None or isinstance(cost, str) else fixed(cost)
        self.cost_currency: Final = cost_currency
        self.price_text: Final = price if price is None or isinstance(price, str) else fixed(price)
        self.price_currency: Final = price_currency
        self.price_list: Final = price_list
        self.prices: Final = prices
        self.lines: Final = lines
        self._cost: Decimal | None = None
        self._price: Decimal | None = None

    @property
    def cost(self) -> Decimal | None:
        """What Google charges us; None when unpriced."""
        if self._cost is None and self.cost_text is not None:
            self._cost = Decimal(self.cost_text)
        return self._cost

    @property
    def price(self) -> Decimal | None:
        """What the team is charged."""
        if self._price is None and self.price_text is not None:
            self._price = self.cost if self.price_text is self.cost_text else Decimal(self.price_text)
        return self._price

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Charge) and self._facts() == other._facts()

    def __hash__(self) -> int:
        return hash(self._facts())

    def __repr__(self) -> str:
        return f"Charge{self._facts()}"

    def _facts(self) -> tuple[object, ...]:
        return (
            *(self.pricing, self.tier, self.image_size, self.cost_text, self.cost_currency),
            *(self.price_text, self.price_currency, self.price_list, self.prices, self.lines),
        )


class Prices(Protocol):
    """The price file in force. The same object for as long as the process lives; a reload changes its content."""

    def charge(self, record: UsageRecord) -> Charge:
        """What a record costs, by its own fields alone: `price_list` and all before it. Pure; never raises."""

    def terms(self, record: UsageRecord) -> "Terms":
        """What calls cost that differ from this one in what they used, and in nothing else that a price depends on."""


class Terms(Protocol):
    """The prices of calls that are alike: for who has many of them, and makes no record to learn what each costs."""

    def charge(self, usage: Usage) -> Charge | None:
        """As `Prices.charge` by the prices of now, of a record with these counts, read to their end.

        None: it is no ordinary one, and has to be priced by its record.
        """


def put_charge(record: UsageRecord, charge: Charge) -> None:
    """Write a charge into a record, over whatever amounts it has."""
    cost, price = charge.cost_text, charge.price_text
    record.tier = charge.tier
    record.image_size = charge.image_size
    record.pricing = charge.pricing
    record.cost = cost
    record.cost_currency = None if cost is None else charge.cost_currency
    record.price = price
    record.price_currency = None if price is None else charge.price_currency
    record.price_list = charge.price_list
    record.prices = charge.prices
    record.charges = charge.lines


def fixed(amount: Decimal) -> str:
    """An amount as text: no exponent, no zeros at its end."""
    text = str(amount)
    if "E" in text:  # of what is very small or very large; `format` alone takes four times as long
        text = format(amount, "f")
    if "." in text:
        return text if text[-1] not in "0." else text.rstrip("0").rstrip(".")
    return text
