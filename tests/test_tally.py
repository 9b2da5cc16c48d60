"""Plain numbers for `/metrics`: which bucket a time falls into, and sums of money that are exact."""

from bisect import bisect_left
from decimal import Context, Decimal

from hypothesis import given
from hypothesis import strategies as st

from proxy import Charge, Pricing, fixed
from proxy.tally import BUCKETS, Tally, Times, whole

EXACT = Context(prec=300)
AMOUNTS = st.decimals(min_value=0, max_value=10**12, allow_nan=False, allow_infinity=False, places=None)


@given(st.lists(st.one_of(st.floats(0.0, 400.0), st.sampled_from(BUCKETS))))
def test_a_time_falls_into_the_first_bucket_that_holds_it(times: list[float]) -> None:
    tallied = Times()
    counts, sum_ = [0] * (len(BUCKETS) + 1), 0.0
    for seconds in times:
        tallied.add(seconds)
        counts[bisect_left(BUCKETS, seconds)] += 1
        sum_ += seconds
    assert tallied.counts == counts
    assert tallied.seconds == sum_


@given(AMOUNTS)
def test_an_amount_is_a_whole_number_of_its_last_decimal(amount: Decimal) -> None:
    units, decimals = whole(fixed(amount))
    assert Decimal(units).scaleb(-decimals, EXACT) == amount


@given(st.lists(st.tuples(AMOUNTS | st.none(), AMOUNTS | st.none(), st.booleans(), st.sampled_from(["USD", "EUR"]))))
def test_sums_are_those_of_decimals(amounts: list[tuple[Decimal | None, Decimal | None, bool, str]]) -> None:
    tally = Tally()
    costs: dict[str, Decimal] = {}
    prices: dict[str, Decimal] = {}
    for cost, other, same, currency in amounts:
        text = None if cost is None else fixed(cost)
        price = text if same else other
        charge = Charge(pricing=Pricing.PRICED, cost=text, price=price, price_currency=currency)
        tally.add_charge(charge)
        if charge.cost:
            costs["USD"] = EXACT.add(costs.get("USD", Decimal(0)), charge.cost)
        if charge.price:
            prices[currency] = EXACT.add(prices.get(currency, Decimal(0)), charge.price)
    assert {currency: sum_.amount for currency, sum_ in tally.costs.items()} == costs
    assert {currency: sum_.amount for currency, sum_ in tally.prices.items()} == prices
