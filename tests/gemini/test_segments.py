"""The name under which what is read again is charged once."""

import pytest

from proxy.gemini.segments import path_segments, resource_name


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("/v1beta/batches/b", "batches/b"),
        ("/v1/batches/b?key=k", "batches/b"),
        ("//v1beta/%62atches/b", "batches/b"),
        ("/v1beta/batches/b/operations/o", "batches/b"),
        ("/v1beta/files/f:download?alt=media", "files/f"),
        ("/download/v1beta/files/f:download?alt=media", "files/f"),
        ("/v1beta/openai/files/f/content", "files/f"),
        ("/v1beta/openai/files/f", "files/f"),
        ("/v1beta/environments/e/files/a/b:download", "environments/e/files/a/b"),
        ("/v1beta", None),
        ("", None),
        ("/v1beta/files/%zz", None),
    ],
)
def test_one_resource_has_one_name(target: str, name: str | None) -> None:
    assert resource_name(target) == name


def test_segments_are_what_google_sees() -> None:
    assert path_segments("//v1beta/a%2Fb/c:d?e/f") == ["v1beta", "a", "b", "c:d"]
    assert path_segments("/v1beta/../c") == []
