"""The longest amounts that a price file can lead to are still exact."""

from decimal import Context, Decimal, Inexact

import pytest

from proxy.gemini.exact import EXACT, MILLIONTH, MOST_AMOUNT, MOST_COUNT, is_price, multiply, plus


def test_the_longest_product_and_sum_are_exact() -> None:
    longest = plus(Decimal(MOST_AMOUNT - 1), Decimal("0.99999999999999999999"))
    least = Decimal("0.00000000000000000001")
    assert is_price(longest)
    assert is_price(least)

    def product(figure: Decimal, figures: int) -> Decimal:
        amount = multiply(MILLIONTH, figure)
        for _ in range(figures - 1):
            amount = multiply(amount, figure)
        return amount

    EXACT.clear_flags()
    price = multiply(product(longest, 5), MOST_COUNT)
    cost = plus(multiply(product(longest, 3), MOST_COUNT), product(least, 3))

    assert not EXACT.flags[Inexact]
    wide = Context(prec=2000)
    assert wide.subtract(cost, product(least, 3)) == multiply(product(longest, 3), MOST_COUNT)
    assert len(price.as_tuple().digits) < EXACT.prec


@pytest.mark.parametrize("amount", ["-1", "NaN", "Infinity", "-Infinity", "1e12", "1e400", "1e-21", "-0.1"])
def test_what_is_no_price(amount: str) -> None:
    assert not is_price(Decimal(amount))
