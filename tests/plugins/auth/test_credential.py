"""Where a credential may be, and what two of them mean."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugins.auth.credential import Credential, Problem, find, recognise
from plugins.auth.keys import digest
from proxy import Headers, RequestHead

PATH = "/v1beta/models/gemini-2.5-flash:generateContent"


def found(*headers: tuple[str, str], query: str = "") -> Credential | Problem:
    target = PATH + (f"?{query}" if query else "")
    raw = [(name.encode(), value.encode("utf-8", "surrogateescape")) for name, value in headers]
    return find(RequestHead("POST", target, Headers(raw), "127.0.0.1"))


@pytest.mark.parametrize(
    ("headers", "query"),
    [
        ([("x-goog-api-key", "k")], ""),
        ([("X-Goog-Api-Key", "k")], ""),
        ([("Authorization", "Bearer k")], ""),
        ([("Authorization", "bearer   k ")], ""),
        ([], "key=k"),
        ([], "alt=sse&key=k"),
        ([], "k%65y=%6b"),
        ([], "$key=k"),
        ([], "access_token=k"),
        ([], "oauth_token=k"),
        ([("x-goog-api-key", "k"), ("Authorization", "Bearer k")], ""),  # gemini-cli with bearer sends both
        ([("x-goog-api-key", "k"), ("x-goog-api-key", "k")], "key=k"),
        ([("x-goog-api-key", ""), ("Authorization", "Bearer k")], "key="),
    ],
)
def test_one_credential_wherever_it_is(headers: list[tuple[str, str]], query: str) -> None:
    assert found(*headers, query=query) == Credential("k")


@pytest.mark.parametrize(
    ("headers", "query"),
    [
        ([("x-goog-api-key", "a"), ("Authorization", "Bearer b")], ""),
        ([("x-goog-api-key", "a")], "key=b"),
        ([("x-goog-api-key", "a"), ("x-goog-api-key", "b")], ""),
        ([("Authorization", "Bearer a"), ("Authorization", "Bearer b")], ""),
        ([], "key=a&key=b"),
        ([], "key=a&access_token=b"),
        ([], "key=a&k%65y=b"),
    ],
)
def test_different_ones_are_never_first_wins(headers: list[tuple[str, str]], query: str) -> None:
    assert found(*headers, query=query) is Problem.SEVERAL


@pytest.mark.parametrize("query", ["", "key=", "keys=k", "alt=sse;key=k", "KEY=k", "&&=&"])
def test_none(query: str) -> None:
    assert found(("authorization", ""), ("x-goog-api-key", ""), query=query) is Problem.NONE


@pytest.mark.parametrize("value", ["Basic a2V5", "Token auth_tokens/abc", "k", "Bearerk k"])
def test_another_scheme_is_refused_even_beside_a_good_key(value: str) -> None:
    assert found(("x-goog-api-key", "k"), ("authorization", value)) is Problem.SCHEME


@pytest.mark.parametrize(
    ("value", "is_token"),
    [
        ("a.b.c", True),
        ("a.b.", True),  # unsigned, and it must fail as a token
        ("a.b", False),
        ("a.b.c.d.e", False),  # encrypted (JWE)
        ("weir_0011aabb_Zm9v-_", False),
        ("a.b c.d", False),
        ("a.b.c\n", False),
    ],
)
def test_what_looks_like_a_token(value: str, is_token: bool) -> None:
    assert Credential(value).is_token is is_token


def test_bytes_that_are_no_text_are_still_a_credential() -> None:
    assert found(("x-goog-api-key", "k\udcff")) == Credential("k\udcff")


VALUES = st.sampled_from([b"", b"k", b"other", b"Bearer k", b"bearer a.b.c", b"Basic k", b"\xff"])
NAMES = st.lists(st.sampled_from([b"x-goog-api-key", b"Authorization", b"authorization", b"Accept"]), max_size=4)
TARGETS = st.sampled_from([PATH, PATH, PATH + "?key=k", PATH + "?alt=sse", PATH + "?k%65y=other"])


@given(NAMES, st.data())
def test_a_head_like_the_one_before_shows_what_it_would_if_it_were_looked_through(
    names: list[bytes], data: st.DataObject
) -> None:
    headers = Headers([(name, data.draw(VALUES)) for name in (*names, b"Content-Length")])
    for _ in range(4):
        again = RequestHead("POST", data.draw(TARGETS), headers, "127.0.0.1")
        assert recognise(again) == find(again)
        place, value = data.draw(st.integers(0, len(names))), data.draw(VALUES)
        before, headers = headers, headers.with_values([place], [value])
        headers.share_notes(before)


def test_it_is_the_same_credential_and_its_hash_is_made_once() -> None:
    headers = Headers([(b"authorization", b"Bearer a.b.c"), (b"content-length", b"5")])
    first = recognise(RequestHead("POST", PATH, headers, "127.0.0.1"))
    assert isinstance(first, Credential)
    assert first.digest == hashlib.sha256(b"a.b.c").hexdigest()
    longer = headers.with_values([1], [b"17"])
    longer.share_notes(headers)
    for again in (headers, longer):
        credential = recognise(RequestHead("POST", PATH, again, "127.0.0.1"))
        assert credential is first
    other = recognise(RequestHead("POST", PATH, Headers(headers.raw), "127.0.0.1"))  # of another connection
    assert other == first
    assert other is not first


@given(
    st.sampled_from([b"authorization", b"x-goog-api-key"]),
    st.sampled_from([b"", b"Bearer ", b"bearer \t ", b"\xc2\xa0Bearer ", b"Bearer a.b"]),
    st.text("aB.\u00e9\u00a0 ", max_size=9).map(str.encode) | st.binary(max_size=9),
    st.sampled_from([b"", b" ", b"\xc2\xa0"]),
)
def test_what_it_shares_with_its_field_is_what_was_found(
    name: bytes, before: bytes, value: bytes, behind: bytes
) -> None:
    request = RequestHead("POST", PATH, Headers([(name, before + value + behind)]), "127.0.0.1")
    copied, shared = find(request), recognise(request)
    assert copied == shared
    if isinstance(copied, Credential) and isinstance(shared, Credential):
        for credential in (copied, shared):
            assert digest(credential.value) == credential.digest == digest(copied.value)
            assert credential.has_dot is ("." in copied.value)
            assert hash(credential) == hash(copied)


def test_it_never_shows_itself() -> None:
    assert "hunter2" not in repr(Credential("hunter2"))
