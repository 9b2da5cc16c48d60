"""The shapes of credentials are hidden wherever they stand, and no text makes the looking slow."""

from collections.abc import Callable
from time import process_time

import pytest

from proxy import hide_credentials
from proxy.log import scrub_text

# 64 KB of each were seconds, or would be, for a pattern that reads a run of characters once for every start in it.
HOSTILE = [
    *("eyJ", "eyJ-", "eyJ.", "\\neyJ", "%3DeyJ", "eyJaaaa."),
    *("AIza", "AQ.", "ya29.", "1//", "GOCSPX-", "weir_", "weir_-"),
    *("-----BEGIN ", "-----BEGIN PRIVATE KEY-----", "-----END ", "PRIVATE KEY", "-"),
    *("%26", "%3F", "%26a", "?a", "&a", "&", "%3D", "%26%3D", "a%26", "key", "key=", "token%3D"),
    *("secret", "secret ", "secret:", "secret: ", "x-api-key='", "apikey: b'", "password\\", "cookie", "cookie: "),
    *("authorization", 'authorization: "', "bearer", "bearer ", "bearer/", "auth_tokens/", "a://", "a://:", " ", ":"),
]
SECRETS = {
    "google": "AIza" + "SyD-planted_planted",
    "auth key": "AQ." + "Ab8RN6planted",
    "access token": "ya29." + "a0planted",
    "refresh token": "1//" + "0gplanted-planted_planted",
    "client secret": "GOCSPX-" + "planted-planted",
    "team key": "weir_abcdef01_" + "planted-planted",
    "jwt": "eyJhbGciOiJSUzI1NiJ9." + "eyJzdWIiOiJwbGFudGVkIn0" + ".planted-signature",
    "private key": "-----BEGIN RSA PRIVATE KEY-----\nplanted\n-----END RSA PRIVATE KEY-----",
}


@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS)
@pytest.mark.parametrize("around", ["{}", "/v1beta/{}/models", "x={}", "\\n{}\\n", "%3D{}", "session-{}"])
def test_a_shape_is_hidden_wherever_it_stands(secret: str, around: str) -> None:
    hidden = hide_credentials(around.format(secret))

    assert "planted" not in hidden
    assert "eyJzdWIi" not in hidden
    assert "***" in hidden


@pytest.mark.parametrize(
    "text",
    [
        "/v1beta/models/gemini-2.5-flash:generateContent",
        "weir_exchanges_in_flight 3",
        "AQ. or AIza or eyJ, or a key named abcdef01",
        "https://host/eyJustAWord/and.more",
    ],
)
def test_plain_text_stays(text: str) -> None:
    assert hide_credentials(text) == text


@pytest.mark.parametrize("scrub", [hide_credentials, scrub_text])
@pytest.mark.parametrize("piece", HOSTILE)
@pytest.mark.parametrize("tail", ["", "\x00", " "])
def test_no_text_takes_long(scrub: Callable[[str], str], piece: str, tail: str) -> None:
    text = piece * (65_536 // len(piece)) + tail
    began = process_time()
    scrub(text)
    assert process_time() - began < 0.2


@pytest.mark.parametrize("head", ["secret", "cookie:", "bearer", "a://", "?", "eyJ", "authorization: "])
@pytest.mark.parametrize("run", [" ", ":", "a", "%", "-"])
def test_a_long_run_after_the_beginning_of_a_secret_takes_not_long(head: str, run: str) -> None:
    for text in (head + run * 65_536, (head + run * 1000) * 64):
        began = process_time()
        scrub_text(text)
        assert process_time() - began < 0.2
