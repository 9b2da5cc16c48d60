"""Arithmetic that never rounds, for amounts of money.

`rate_card.py` and `team_prices.py` calculate with decimals. A figure of the price file has 12 digits before the point
and 20 after it at most (the file is refused otherwise), a count 16. The longest product is a count, a rate, a tier's
multiplier, a region's, a team's factor and a currency's rate: 16 + 5 x 32 digits, and 6 for the million, which `EXACT`
holds. There is no division here, and there must be none.

`charges.py` multiplies rates by counts all day: as whole numbers of the rate's last decimal, which takes a tenth of the
time.
"""

from decimal import Context, Decimal
from typing import Final

EXACT = Context(prec=240, traps=[])
MOST_AMOUNT = 10**12
MOST_DECIMALS = 20
MOST_COUNT: Final = 1 << 53  # as `scalars.count`: more tokens than that were never counted
MILLIONTH = Decimal("0.000001")
ZERO = Decimal(0)
# Of ten: as many as a rate may have decimals, which are a figure's, two multipliers', and the million's.
POWERS: Final[list[int]] = [10**power for power in range(3 * MOST_DECIMALS + 7)]

multiply: Final = EXACT.multiply
_SMALL: Final[list[str]] = ["0." + "0" * zeros for zeros in range(len(POWERS))]  # how they begin


def is_price(amount: Decimal) -> bool:
    """Zero or more, and short enough to be multiplied without rounding."""
    if not amount.is_finite() or not 0 <= amount < MOST_AMOUNT:
        return False
    return decimals_of(amount) <= MOST_DECIMALS


def decimals_of(amount: Decimal) -> int:
    """How many digits a finite amount has after its point."""
    exponent = amount.as_tuple().exponent
    assert isinstance(exponent, int)  # it is finite
    return max(-exponent, 0)


def in_units(amount: Decimal, decimals: int) -> int:
    """An amount that has no more decimals, as a whole number of the last."""
    return int(EXACT.scaleb(amount, decimals))


def text_of(units: int, decimals: int) -> str:
    """What `in_units` counts, as `fixed` writes it."""
    while decimals and units % 10 == 0:
        units //= 10
        decimals -= 1
    digits = str(units)
    if not decimals:
        return digits
    whole = len(digits) - decimals
    return f"{digits[:whole]}.{digits[whole:]}" if whole > 0 else _SMALL[-whole] + digits
