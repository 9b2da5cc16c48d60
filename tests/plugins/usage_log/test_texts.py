"""Moments and lengths as a record writes them, against the slow way to say them."""

from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugins.usage_log.texts import number, rfc3339, tenths, to_ms


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


lengths = st.one_of(
    st.floats(),
    st.floats(0, 1e6),
    st.integers(0, 1 << 60).map(lambda tenths: tenths / 10),
    st.floats(0, 1e6).map(to_ms),
    st.sampled_from([0.0, 0.05, 0.1, 99.9, 999.9, 1000.0, 1e12, 1e16, float("inf")]),
)


@given(lengths.filter(lambda ms: str(ms) != "-0.0"))  # no clock of ours tells such a length
def test_tenths_are_written_as_json_has_them(ms: float) -> None:
    found = tenths(ms)
    if found >= 0:
        assert f"{found // 10}.{found % 10}" == msgspec.json.encode(ms).decode()


@given(st.floats(0, 1e6))
def test_what_is_rounded_is_whole_tenths(seconds: float) -> None:
    assert tenths(to_ms(seconds)) == round(to_ms(seconds) * 10)


@given(st.one_of(st.integers(), st.integers(-2, 1001)))
def test_a_number_is_written_as_json_has_it(value: int) -> None:
    assert number(value) == str(value)
