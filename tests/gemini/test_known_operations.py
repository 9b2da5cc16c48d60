"""What is remembered of paths: calls of models, never what may be a secret, never more than a bound."""

import pytest

from proxy import Operation
from proxy.gemini.known_operations import keep_operation, known_operation
from proxy.gemini.paths import parse_operation

CALL = "/v1beta/models/gemini-2.5-flash:generateContent"
RUN = Operation("generateContent", generates=True)


def test_a_call_is_found_again_whatever_its_query() -> None:
    first = parse_operation("POST", f"{CALL}?key=planted")

    assert known_operation("POST", CALL) is first
    assert parse_operation("POST", f"{CALL}?alt=sse") is first
    assert parse_operation("GET", CALL) == first


@pytest.mark.parametrize(
    "path",
    [
        "/v1beta/files/f1",
        "/v1beta/models/m:countTokens",
        "/v1beta/models/m:anyVerbOfTomorrow",
        "/v1beta/models/m:generateContent&key=planted",
        "/v1beta/models/m:generateContent%3Fkey",
        "/v1beta/models/AIza" + "SyD-planted_planted_planted_plant1:generateContent",
        "/v1beta/models/" + "m" * 256 + ":generateContent",
        "no path",
    ],
)
def test_the_rest_is_not_kept(path: str) -> None:
    assert parse_operation("POST", path) == parse_operation("POST", path)
    assert known_operation("POST", path) is None


def test_their_number_is_bounded() -> None:
    for number in range(3000):
        keep_operation("POST", f"/v1beta/models/m{number}:generateContent", RUN)

    kept = [known_operation("POST", f"/v1beta/models/m{number}:generateContent") for number in range(3000)]
    assert 0 < len([operation for operation in kept if operation is not None]) <= 1024
    assert kept[-1] is RUN
