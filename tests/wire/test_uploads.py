"""The address of an upload: it becomes ours, is good wherever the secret is until it expires, and for nothing else."""

from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy import Continuation, Operation, Principal, Refusal
from proxy.gemini.paths import parse_operation
from proxy.wire.seal import Seal
from proxy.wire.uploads import Uploads
from tests.support import ManualClock, make_endpoint, make_exchange
from tests.support.wire import make_request

SEAL = "a secret that two gateways share, long enough"
FILES = "/upload/v1beta/files"
GOOGLE = f"https://generativelanguage.googleapis.com{FILES}?upload_id=AbC_-1&upload_protocol=resumable"
ASKS = Principal("ada", "studio", "k1")


def uploads(clock: ManualClock | None = None, *, public_url: str | None = None, seal: str = SEAL) -> Uploads:
    return Uploads(Seal(seal), clock or ManualClock(), life_seconds=60, public_url=public_url)


def rewritten(
    address: str = GOOGLE,
    *,
    by: Uploads | None = None,
    target: str = FILES,
    continuation: Continuation | None = None,
    operation: Operation | None = None,
    name: str = "X-Goog-Upload-URL",
) -> str:
    """What an answer's address becomes for a caller that says `Host: weir.example:81`."""
    exchange = make_exchange(target=target, operation=operation or parse_operation("POST", target))
    exchange.endpoint, exchange.principal, exchange.continuation = make_endpoint("a"), ASKS, continuation
    fields = [(b"Before", b"1"), (name.encode(), address.encode()), (b"After", b"2")]
    before, (spelt, ours), after = (by or uploads()).rewrite(fields, exchange, make_request(target=target))
    assert (before, spelt, after) == (fields[0], name.encode(), fields[2])
    return ours.decode()


def target_of(address: str) -> str:
    parts = urlsplit(address)
    return f"{parts.path}?{parts.query}"


@pytest.mark.parametrize("name", ["X-Goog-Upload-URL", "x-goog-upload-url", "x-goog-upload-control-url"])
def test_path_and_query_are_googles_and_the_rest_is_ours(name: str) -> None:
    address = rewritten(name=name)
    stem = f"http://weir.example:81{FILES}?upload_id=AbC_-1&upload_protocol=resumable&weir_upload="
    assert address.startswith(stem)
    assert not {"studio", "ada"} & set(address.split("="))
    target, found = uploads().open(target_of(address))
    assert target == f"{FILES}?upload_id=AbC_-1&upload_protocol=resumable"
    assert isinstance(found, Continuation)
    assert (found.endpoint, found.principal) == ("a", ASKS)


@pytest.mark.parametrize(
    "path",
    [
        FILES,
        "/resumable/upload/v1beta/files",
        "//upload/v1beta/files",
        "/upload/v1beta/fileSearchStores/s:uploadToFileSearchStore",
        "/upload/v1beta/environments/e/files/a/b.txt",
        "/upload/v1/projects/p/locations/l/publishers/anthropic/files",
    ],
)
def test_every_kind_of_upload(path: str) -> None:
    address = rewritten(f"https://generativelanguage.googleapis.com{path}?upload_id=1", target=path)
    assert address.startswith(f"http://weir.example:81{path}?upload_id=1&weir_upload=")


@pytest.mark.parametrize("public_url", ["https://gw.example/gemini", "https://gw.example/gemini/"])
def test_a_public_url_goes_before_hosts_and_keeps_its_path(public_url: str) -> None:
    assert rewritten(by=uploads(public_url=public_url)).startswith(f"https://gw.example/gemini{FILES}?upload_id=")


def test_an_address_without_a_query_gets_one() -> None:
    address = rewritten(f"https://google.example{FILES}")
    assert address.startswith(f"http://weir.example:81{FILES}?weir_upload=")
    assert isinstance(uploads().open(target_of(address))[1], Continuation)


@pytest.mark.parametrize("target", ["/v1beta/files/f", "/v1beta/models/gemini-2.5-flash:generateContent", "/unknown"])
def test_the_answers_of_everything_else_stay(target: str) -> None:
    assert rewritten(target=target) == GOOGLE


@pytest.mark.parametrize("address", ["", "/upload/v1beta/files?upload_id=1", "ftp://google.example/upload", "https://"])
def test_what_is_no_address_stays(address: str) -> None:
    assert rewritten(address) == address


def test_it_expires() -> None:
    clock = ManualClock()
    target = target_of(rewritten(by=uploads(clock)))
    clock.now += 59
    assert isinstance(uploads(clock).open(target)[1], Continuation)
    clock.now += 1
    found = uploads(clock).open(target)[1]
    assert isinstance(found, Refusal)
    assert (found.code, found.reason) == (404, "UPLOAD_ADDRESS_EXPIRED")


def test_handed_out_again_it_lives_no_longer() -> None:
    clock = ManualClock()
    first = uploads(clock).open(target_of(rewritten(by=uploads(clock))))[1]
    assert isinstance(first, Continuation)
    clock.now += 50
    again = uploads(clock).open(target_of(rewritten(by=uploads(clock), continuation=first)))[1]
    assert isinstance(again, Continuation)
    assert again.until == first.until


def changed(target: str) -> list[str]:
    """The same seal on something else, or not one seal."""
    seal = target.partition("weir_upload=")[2]
    return [
        target.replace("AbC_-1", "AbC_-2"),
        target.replace("/files", "/file"),
        target.replace("upload_protocol=resumable&", ""),
        target + "&upload_id=2",
        target + "&alt=json",
        target + f"&weir_upload={seal}",
        target.replace(seal, ""),
        target.replace(seal, seal[:-1]),
        f"/v1beta/models/gemini-2.5-flash:generateContent?weir_upload={seal}",
    ]


@pytest.mark.parametrize("number", range(9))
def test_it_serves_for_nothing_else(number: int) -> None:
    target, found = uploads().open(changed(target_of(rewritten()))[number])
    assert isinstance(found, Refusal)
    assert (found.code, found.reason) == (403, "UPLOAD_ADDRESS_INVALID")
    assert "weir_upload" not in target, "it goes nowhere"


def test_another_secret_opens_nothing() -> None:
    assert isinstance(uploads(seal=SEAL + "!").open(target_of(rewritten()))[1], Refusal)


@pytest.mark.parametrize("change", [("AbC_-1", "AbC%5F%2D1"), ("&weir", "&key=k&weir"), ("?", "?key=k&")])
def test_another_spelling_and_a_credential_do_not_matter(change: tuple[str, str]) -> None:
    assert isinstance(uploads().open(target_of(rewritten()).replace(*change))[1], Continuation)


@given(target=st.text(st.sampled_from("/?&=aweir_upload%20")))
def test_any_other_target_is_left_alone(target: str) -> None:
    found = uploads().open(target)
    if "weir_upload=" not in target:
        assert found == (target, None)
    else:
        assert not isinstance(found[1], Continuation)
