"""A caller's credential never goes up in the query, and nothing else of the target changes."""

from urllib.parse import unquote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.gemini.credentials import CREDENTIAL_PARAMETERS, without_credentials


@pytest.mark.parametrize(
    ("target", "without"),
    [
        ("/a", "/a"),
        ("/a?", "/a?"),  # nothing of ours in it: not a byte changes
        ("/a?key=s", "/a"),
        ("/a?key", "/a"),
        ("/a?key=", "/a"),
        ("/a?key=s&", "/a"),
        ("/a?alt=sse&key=s", "/a?alt=sse"),
        ("/a?key=s&alt=sse", "/a?alt=sse"),
        ("/a?x=&key=s&&x=%41&x=a+b", "/a?x=&&x=%41&x=a+b"),
        ("/a?k%65y=s&b", "/a?b"),
        ("/a?access_token=1&oauth_token=2&key=3&key=4&keys=5", "/a?keys=5"),
        ("/a?b=key=s&c=?key=1", "/a?b=key=s&c=?key=1"),
        ("/a?Key=s", "/a?Key=s"),
        ("/a?$key=s&%24access_token=t&b=1", "/a?b=1"),
    ],
)
def test_without_credentials(target: str, without: str) -> None:
    assert without_credentials(target) == without


@given(st.lists(st.tuples(st.sampled_from(["key", "%6bey", "alt", "", "oauth_token"]), st.text("ab=%41?", max_size=4))))
def test_what_is_left_holds_no_credential(fields: list[tuple[str, str]]) -> None:
    query = "&".join(f"{name}={value}" for name, value in fields)
    target = without_credentials(f"/p?{query}")
    names = {unquote_plus(field.partition("=")[0]) for field in target.partition("?")[2].split("&")}
    assert not names & CREDENTIAL_PARAMETERS
    kept = [f"{name}={value}" for name, value in fields if name not in {"%6bey", *CREDENTIAL_PARAMETERS}]
    assert target.removeprefix("/p").removeprefix("?") == "&".join(kept)
