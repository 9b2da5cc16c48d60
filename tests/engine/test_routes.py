"""Which pattern takes which path, and that no path slips out of its route."""

import pytest

from proxy.engine.routes import AmbiguousPath, path_matcher, resolved


@pytest.mark.parametrize(
    ("pattern", "path", "fits"),
    [
        ("/**", "/", True),
        ("/**", "/anything/at%2Fall/../x//y", True),
        ("/v1beta/**", "/v1beta/models/x:generateContent", True),
        ("/v1beta/**", "/v1beta", True),
        ("/v1beta/**", "/v1beta2/models", False),
        ("/v1beta/**", "/v1/models", False),
        ("/*/models", "/v1/models", True),
        ("/*/models", "/v1/x/models", False),
        ("/*/models/gemini-2.5-*:generateContent", "/v1/models/gemini-2.5-pro:generateContent", True),
        ("/*/models/gemini-2.5-*:generateContent", "/v1/models/gemini-2x5-pro:generateContent", False),
        ("/a.b", "/axb", False),
        ("/v1beta/models/**", "/v1beta/models/x/../y:generateContent", True),
        ("/v1/models", "//v1/models", True),
    ],
)
def test_patterns(pattern: str, path: str, fits: bool) -> None:
    assert path_matcher(pattern)(path) is fits


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("/v1beta/models/**", "/v1beta/models/../files/secret"),
        ("/v1beta/models/**", "/v1beta/models/%2e%2e/files/secret"),
        ("/v1beta/models/*", "/v1beta/models/a%2Fb"),
        ("/v1beta/models/gemini-3-pro*", "/v1beta/models/gemini%2D3-pro:generateContent"),
        ("/v1beta/models/gemini-3-pro*", "/v1beta//models/gemini-3-pro:generateContent"),
    ],
)
def test_a_path_that_fits_in_one_reading_only_is_nobodys(pattern: str, path: str) -> None:
    """It must not slip through to a laxer route further down."""
    with pytest.raises(AmbiguousPath):
        path_matcher(pattern)(path)


@pytest.mark.parametrize(
    ("path", "means"),
    [("/a/b", "/a/b"), ("/a/../b", "/b"), ("/a/%2e%2E/b/", "/b/"), ("//a///b", "/a/b"), ("/../..", "/"), ("/", "/")],
)
def test_what_a_path_means(path: str, means: str) -> None:
    assert resolved(path) == means
