"""What goes up is made anew for another credential and another host, and for nothing else."""

from proxy.head import Headers, RequestHead
from proxy.wire.upstream_head import KeptHead, upstream_head

FIELDS = [(b"Host", b"weir"), (b"x-goog-api-key", b"theirs"), (b"A", b"1"), (b"Content-Length", b"3")]
HEAD = RequestHead("POST", "/v1/x?key=theirs&a=b", Headers(FIELDS), "127.0.0.1")
KEY = (b"x-goog-api-key", b"ours")


def test_it_has_our_credential_and_the_endpoints_host() -> None:
    made = upstream_head(HEAD, KEY, None)
    assert made.lines("h:1") == b"POST /v1/x?a=b HTTP/1.1\r\nHost: h:1\r\nx-goog-api-key: ours\r\nA: 1"
    assert made.lines("i") == made.lines("h:1").replace(b"h:1", b"i")
    assert made.lines("h:1") == upstream_head(HEAD, KEY, None).lines("h:1")
    assert not made._lines  # nobody will want them again, and the attempt holds it while it waits


def test_what_is_kept_is_for_one_credential() -> None:
    kept = KeptHead()
    first = upstream_head(HEAD, KEY, kept)
    assert upstream_head(HEAD, (b"x-goog-api-key", b"ours"), kept) is first
    assert first.lines("h") is first.lines("h")
    other = upstream_head(HEAD, (b"x-goog-api-key", b"another"), kept)
    assert other.fields == [(b"x-goog-api-key", b"another"), (b"A", b"1")]
    assert upstream_head(HEAD, None, kept).fields == [(b"A", b"1")]
    assert upstream_head(HEAD, KEY, kept).fields == first.fields
    assert upstream_head(HEAD, KEY, None) is not upstream_head(HEAD, KEY, None)
