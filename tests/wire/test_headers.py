"""Which fields cross, with what spelling, and where the credential goes."""

import pytest

from proxy.wire.headers import BadHeader, declared_length, decode, end_to_end, request_fields

Fields = list[tuple[bytes, bytes]]


def test_order_case_and_repeats_are_kept() -> None:
    fields: Fields = [(b"X-B", b"1"), (b"a", b"2"), (b"X-B", b"3"), (b"Cookie", b"")]
    assert end_to_end(fields) == fields


@pytest.mark.parametrize(
    "name",
    [
        b"Connection",
        b"Keep-Alive",
        b"Proxy-Connection",
        b"Proxy-Authorization",
        b"Proxy-Authenticate",
        b"TE",
        b"Trailer",
        b"Transfer-Encoding",
        b"Upgrade",
    ],
)
def test_hop_by_hop_fields_stop_here(name: bytes) -> None:
    assert end_to_end([(name, b"x"), (b"A", b"1")]) == [(b"A", b"1")]


def test_what_connection_names_stops_here_too() -> None:
    fields = [
        (b"connection", b"close, X-Hop"),
        (b"Connection", b"x-other"),
        (b"x-hop", b"1"),
        (b"X-Other", b"2"),
        (b"X", b"3"),
    ]
    assert end_to_end(fields) == [(b"X", b"3")]


@pytest.mark.parametrize("name", [b"Content-Length", b"Host", b"Authorization", b"Content-Type"])
def test_connection_cannot_take_away_what_matters(name: bytes) -> None:
    """A caller could else have the gateway drop its own framing or authorisation."""
    assert (name, b"x") in end_to_end([(b"Connection", name), (name, b"x")])


def test_the_credential_takes_the_place_of_the_callers() -> None:
    fields = [(b"A", b"1"), (b"X-Goog-Api-Key", b"team"), (b"B", b"2"), (b"authorization", b"Bearer team")]
    assert request_fields(fields, (b"x-goog-api-key", b"ours")) == [
        (b"A", b"1"),
        (b"x-goog-api-key", b"ours"),
        (b"B", b"2"),
    ]


def test_the_credential_goes_last_where_the_caller_had_none_in_its_headers() -> None:
    assert request_fields([(b"A", b"1")], (b"x-goog-api-key", b"ours")) == [(b"A", b"1"), (b"x-goog-api-key", b"ours")]


def test_no_credential_still_takes_the_callers_away() -> None:
    assert request_fields([(b"Authorization", b"Bearer team")], None) == []


def test_what_a_request_connection_names_stops_here_and_our_credential_does_not() -> None:
    fields = [(b"Connection", b"x-goog-api-key, x-hop"), (b"X-Goog-Api-Key", b"team"), (b"X-Hop", b"1"), (b"A", b"2")]
    assert request_fields(fields, (b"x-goog-api-key", b"ours")) == [(b"x-goog-api-key", b"ours"), (b"A", b"2")]


def test_repeats_get_one_spelling() -> None:
    """aiohttp's client keeps only the last of two fields whose names differ in case."""
    assert list(decode([(b"X-B", b"1"), (b"x-b", b"3")]).items()) == [("X-B", "1"), ("X-B", "3")]


def test_utf8_survives_and_other_bytes_are_refused() -> None:
    assert decode([(b"X", "grüß".encode())])["X"] == "grüß"
    with pytest.raises(BadHeader, match="the header X is not UTF-8"):
        decode([(b"X", b"\xe9\xff")])


@pytest.mark.parametrize("byte", [0, 1, 10, 13, 31, 127])
def test_control_characters_are_refused_but_tab(byte: int) -> None:
    with pytest.raises(BadHeader, match="the header X holds control characters"):
        decode([(b"X", b"a" + bytes([byte]))])
    assert decode([(b"X", b"a\tb")])["X"] == "a\tb"


def test_a_length_may_have_any_number_of_zeros() -> None:
    """llhttp lets them pass; `int` alone takes 4,300 digits."""
    assert declared_length(b"12") == 12
    assert declared_length(b"0" * 5000 + b"12") == 12
    assert declared_length(b"0" * 5000) == 0
