"""Header fields are found whatever their case, and none is lost for being repeated or undecodable."""

from hypothesis import given
from hypothesis import strategies as st

from proxy import Headers

NAMES = st.sampled_from([b"a", b"A", b"Host", b"HOST", b"x-goog-api-key", b"X-Goog-Api-Key"])
FIELDS = st.lists(st.tuples(NAMES, st.binary(max_size=3)), max_size=8)


@given(FIELDS, st.booleans())
def test_every_field_of_a_name_in_order_and_the_first_of_them(fields: list[tuple[bytes, bytes]], as_list: bool) -> None:
    headers = Headers(fields if as_list else tuple(fields))
    for name in ("a", "A", "host", "Host", "x-goog-api-key", "absent"):
        wanted = [value for key, value in fields if key.lower() == name.lower().encode()]
        found = headers.get_all(name)
        assert [value.encode("utf-8", "surrogateescape") for value in found] == wanted
        assert headers.get(name) == (found[0] if found else None)
    assert list(headers.raw) == fields


@given(FIELDS)
def test_what_is_looked_up_before_and_after_the_index_was_made_is_the_same(fields: list[tuple[bytes, bytes]]) -> None:
    scanned, indexed = Headers(fields), Headers(fields)
    assert indexed.first == {name.lower(): value for name, value in reversed(fields)}
    for name in ("A", "Host", "x-goog-api-key", "absent"):
        assert scanned.get(name) == indexed.get(name)
        assert scanned.get_all(name) == indexed.get_all(name)


@given(FIELDS, st.booleans())
def test_another_value_changes_nothing_else(fields: list[tuple[bytes, bytes]], indexed: bool) -> None:
    before = Headers([(b"Date", b"now"), *fields, (b"Content-Length", b"5")])
    if indexed:
        assert before.first
    after = before.with_values([0, len(fields) + 1], [b"then", b"17"])
    assert after.raw == [(b"Date", b"then"), *fields, (b"Content-Length", b"17")]
    assert after.first == Headers(after.raw).first
    assert (before.raw[-1], before.get("content-length")) == ((b"Content-Length", b"5"), "5")


def test_notes_are_shared_where_that_is_said_and_nowhere_else() -> None:
    before = Headers([(b"Content-Length", b"5")])
    after = before.with_values([0], [b"17"])
    after.share_notes(before)
    after.notes["who"] = "me"
    assert before.notes == {"who": "me"}
    assert before.with_values([0], [b"17"]).notes == {}
    assert Headers(before.raw).notes == {}
