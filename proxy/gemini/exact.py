"""Decimal arithmetic that never rounds, for amounts of money.

`rate_card.py`, `charges.py` and `team_prices.py` calculate by it. A figure of the price file has 12 digits before the
point and 20 after it at most (the file is refused otherwise), a count 16. The longest product is a count, a rate, a
tier's multiplier, a region's, a team's factor and a currency's rate: 16 + 5 x 32 digits, and 6 for the million, which
`EXACT` holds. There is no division here, and there must be none.
"""

from decimal import Context, Decimal

EXACT = Context(prec=240, traps=[])
MOST_AMOUNT = 10**12
MOST_DECIMALS = 20
MOST_COUNT = 1 << 53  # as `scalars.count`: more tokens than that were never counted
MILLIONTH = Decimal("0.000001")
ZERO = Decimal(0)

multiply = EXACT.multiply
plus = EXACT.add


def is_price(amount: Decimal) -> bool:
    """Zero or more, and short enough to be multiplied without rounding."""
    if not amount.is_finite() or not 0 <= amount < MOST_AMOUNT:
        return False
    exponent = amount.as_tuple().exponent
    assert isinstance(exponent, int)  # it is finite
    return exponent >= -MOST_DECIMALS
