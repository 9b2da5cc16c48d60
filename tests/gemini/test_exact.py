"""The longest amounts that a price file can lead to are still exact."""

from decimal import Context, Decimal, Inexact

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy import fixed
from proxy.gemini.exact import (
    EXACT,
    MILLIONTH,
    MOST_AMOUNT,
    MOST_COUNT,
    decimals_of,
    in_units,
    is_price,
    multiply,
    text_of,
)

plus = EXACT.add


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


amounts = (
    st.decimals(0, MOST_AMOUNT - 1, places=20) | st.decimals(0, 100, places=3) | st.integers(0, 10**9).map(Decimal)
)


@given(amounts, st.integers(0, MOST_COUNT), st.integers(0, 6))
def test_whole_numbers_say_what_decimals_say(amount: Decimal, count: int, more: int) -> None:
    decimals = decimals_of(amount) + more
    units = in_units(amount, decimals)

    assert text_of(units, decimals) == fixed(amount)
    assert text_of(units * count, decimals) == fixed(multiply(amount, count))


@pytest.mark.parametrize("amount", ["0", "0E-7", "1E+3", "1200", "0.10", "1.00", "1E-66"])
def test_an_amount_in_units_is_the_amount(amount: str) -> None:
    decimal = Decimal(amount)
    assert text_of(in_units(decimal, decimals_of(decimal)), decimals_of(decimal)) == fixed(decimal)
