"""Plain numbers for `/metrics`: which bucket a time falls into."""

from bisect import bisect_left

from hypothesis import given
from hypothesis import strategies as st

from proxy.tally import BUCKETS, Times


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
