"""Names of exchanges: in the order of time, and never twice."""

import os

from hypothesis import given
from hypothesis import strategies as st

from proxy.wire.ids import new_id


def test_ids_sort_by_time_and_do_not_repeat() -> None:
    first = [new_id(1_700_000_000.0) for _ in range(1000)]
    assert len(set(first)) == 1000
    assert max(first) < new_id(1_700_000_000.001)
    assert {len(one) for one in first} == {28}


@given(st.lists(st.integers(0, 10**13)))
def test_an_id_begins_with_its_milliseconds(moments: list[int]) -> None:
    for moment in moments:
        assert new_id(moment / 1000)[:12] == f"{int(moment / 1000 * 1000):012x}"


def test_a_forked_process_says_other_ids() -> None:
    new_id(1.0)
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        os.write(writing, new_id(1.0).encode())
        os._exit(0)
    os.waitpid(child, 0)
    theirs = os.read(reading, 100).decode()
    os.close(reading)
    os.close(writing)
    assert len(theirs) == 28
    assert theirs not in [new_id(1.0) for _ in range(600)], "more than are drawn at once"
