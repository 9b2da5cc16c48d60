"""What is sealed opens with the same secret, for the same thing, unchanged; everything else is Broken."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.wire.seal import Broken, Seal

SECRET = "the gateway's own secret, long enough"
SEAL = Seal(SECRET)
URL_SAFE = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


@given(facts=st.binary(max_size=300), bound_to=st.binary(max_size=100))
def test_it_opens_what_it_closed(facts: bytes, bound_to: bytes) -> None:
    text = SEAL.close(facts, bound_to=bound_to)
    assert set(text) <= set(URL_SAFE)
    assert SEAL.open(text, bound_to=bound_to) == facts
    assert Seal(SECRET).open(text, bound_to=bound_to) == facts, "another process, the same secret"


@given(at=st.integers(min_value=0), put=st.sampled_from(URL_SAFE))
def test_any_changed_letter_breaks_it(at: int, put: str) -> None:
    text = SEAL.close(b"team studio", bound_to=b"/upload")
    at %= len(text)
    if text[at] == put:
        put = URL_SAFE[(URL_SAFE.index(put) + 1) % len(URL_SAFE)]
    with pytest.raises(Broken):
        SEAL.open(text[:at] + put + text[at + 1 :], bound_to=b"/upload")


@given(junk=st.text(max_size=80))
def test_anything_else_is_broken(junk: str) -> None:
    with pytest.raises(Broken):
        SEAL.open(junk, bound_to=b"")


def test_cut_or_lengthened_it_is_broken() -> None:
    text = SEAL.close(b"", bound_to=b"")
    for other in [text[:end] for end in range(len(text))] + [
        text + "A",
        text + "=",
        text + "==",
        text + "\n",
        "A" + text,
    ]:
        with pytest.raises(Broken):
            SEAL.open(other, bound_to=b"")


@given(other=st.binary(max_size=60))
def test_it_opens_for_nothing_else(other: bytes) -> None:
    text = SEAL.close(b"facts", bound_to=b"/upload?upload_id=1")
    if other != b"/upload?upload_id=1":
        with pytest.raises(Broken):
            SEAL.open(text, bound_to=other)


def test_another_secret_opens_nothing() -> None:
    with pytest.raises(Broken):
        Seal(SECRET + "!").open(SEAL.close(b"facts", bound_to=b""), bound_to=b"")


def test_nothing_can_be_read_and_nothing_repeats() -> None:
    one, other = (SEAL.close(b"team studio", bound_to=b"") for _ in range(2))
    assert one != other
    assert "studio" not in one
    assert SECRET not in repr(SEAL)
