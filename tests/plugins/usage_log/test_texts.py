"""Moments and lengths as a record writes them, against the slow way to say them."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugins.usage_log.texts import rfc3339, to_ms


@given(st.lists(st.integers(0, 4_000_000_000_000), min_size=1, max_size=5))
def test_a_moment_is_written_to_the_millisecond(moments_ms: list[int]) -> None:
    for moment_ms in moments_ms:
        moment = (moment_ms + 0.5) / 1000
        text = rfc3339(moment)
        assert text == rfc3339(moment)
        assert text.endswith("Z")
        found = datetime.fromisoformat(text)
        assert found == datetime.fromtimestamp(moment_ms // 1000, UTC).replace(microsecond=moment_ms % 1000 * 1000)


@given(st.floats(0, 1e6))
def test_a_length_is_rounded_to_the_tenth_of_a_millisecond(seconds: float) -> None:
    assert to_ms(seconds) == pytest.approx(seconds * 1000, abs=0.050001)
    assert to_ms(seconds) * 10 == pytest.approx(round(to_ms(seconds) * 10))
