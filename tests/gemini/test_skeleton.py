"""The skeleton against a full parser: the same document, its long strings and runs of numbers shortened."""

import base64
import json
import re
from itertools import cycle
from time import process_time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.gemini.skeleton import LIMIT, PREFIX, REQUEST_BYTES, Skeleton, original_bytes

MAX = 1 << 20


def skeleton(text: bytes, size: int | None = None, max_bytes: int = MAX) -> bytes:
    scanner = Skeleton(max_bytes)
    step = size or max(len(text), 1)
    for at in range(0, len(text), step):
        scanner.feed(text[at : at + step])
    return scanner.finish()


def shortened(value: Any) -> Any:
    """What the skeleton of json.dumps(value, ensure_ascii=False) must parse to."""
    if isinstance(value, str):
        raw = json.dumps(value, ensure_ascii=False)[1:-1].encode()
        if len(raw) <= LIMIT:
            return value
        prefix = raw[:PREFIX].partition(b"\\")[0].decode("utf-8", "ignore")
        return f"{prefix}…{len(raw)}"
    if isinstance(value, list):
        kept: list[Any] = []
        for item in value:
            number = isinstance(item, int | float) and not isinstance(item, bool)
            before = kept and isinstance(kept[-1], int | float) and not isinstance(kept[-1], bool)
            if not (number and before):
                kept.append(shortened(item))
        return kept
    if isinstance(value, dict):
        return {shortened(key): shortened(item) for key, item in value.items()}
    return value


text = st.text(alphabet=st.sampled_from('ab"\\/\n\té€😀 {}[],:0'), max_size=12)
strings = st.one_of(text, st.builds(lambda part, times: part * times, text, st.integers(20, 80)))
numbers = st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False))
documents = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, strings),
    lambda inner: st.one_of(st.lists(inner, max_size=5), st.dictionaries(strings, inner, max_size=4)),
    max_leaves=15,
)


@given(documents, st.sampled_from([None, 2]))
def test_whole_and_byte_by_byte(document: Any, indent: int | None) -> None:
    raw = json.dumps(document, ensure_ascii=False, indent=indent).encode()
    whole = skeleton(raw)
    assert json.loads(whole) == shortened(document)
    assert skeleton(raw, 1) == whole


@given(documents, st.lists(st.integers(0, 60), min_size=1, max_size=8).filter(any))
def test_random_splits(document: Any, sizes: list[int]) -> None:
    raw = json.dumps(document, ensure_ascii=False).encode()
    scanner = Skeleton(MAX)
    at, turn = 0, cycle(sizes)
    while at < len(raw):
        step = next(turn)
        scanner.feed(raw[at : at + step])
        at += step
    assert scanner.finish() == skeleton(raw)


def test_every_split_of_one_document_with_every_trap() -> None:
    document = {
        "text": '\\"' * 200,
        "ends in backslashes": "x" * LIMIT + "\\\\",
        "at the limit": "y" * LIMIT,
        "over the limit": "z" * (LIMIT + 1),
        "cut in a character": "€" * LIMIT,
        "values": [0.5, -1e-7, 3, "a", 1, 2, [4, 5], 6],
    }
    raw = json.dumps(document, ensure_ascii=False).encode()
    whole = skeleton(raw)
    assert json.loads(whole) == shortened(document)
    for at in range(len(raw)):
        scanner = Skeleton(MAX)
        scanner.feed(raw[:at])
        scanner.feed(raw[at:])
        assert scanner.finish() == whole


def test_a_long_run_of_numbers_folds_as_it_comes() -> None:
    raw = json.dumps({"embeddings": [{"values": [n / 7 for n in range(3000)]}] * 20, "n": 1}, indent=2).encode()
    scanner = Skeleton(8192)
    for at in range(0, len(raw), 1000):
        scanner.feed(raw[at : at + 1000])
    assert json.loads(scanner.finish()) == {"embeddings": [{"values": [0.0]}] * 20, "n": 1}
    assert not scanner.truncated


def test_an_image_costs_a_few_bytes() -> None:
    data = base64.b64encode(bytes(range(256)) * 12_000)
    raw = b'{"inlineData": {"mimeType": "image/png", "data": "' + data + b'"}}'
    small = skeleton(raw, 65_536)
    assert len(small) < 150
    kept = json.loads(small)["inlineData"]["data"]
    assert kept == f"{data[:PREFIX].decode()}…{len(data)}"
    assert original_bytes(kept) == len(data)


@pytest.mark.parametrize(
    "raw",
    [
        b'["a",' * 100_000,
        b"[" * 1_000_000,
        b"[1," + b"1" * 1_000_000,
        b"{}," * 300_000,
        b'{"k":"' + b'","k":"' * 100_000,
        b"[" + b"-" * 1_000_000,
    ],
)
@pytest.mark.parametrize("size", [None, 4096])
def test_hostile_text_stays_bounded(raw: bytes, size: int | None) -> None:
    scanner = Skeleton(max_bytes=10_000)
    step = size or len(raw)
    for at in range(0, len(raw), step):
        scanner.feed(raw[at : at + step])
    kept = scanner.finish()
    assert len(kept) <= 2 * 10_000 + step  # what is out, and what waits between two strings
    assert scanner.truncated or len(kept) <= 10_000


def test_backslashes_without_end_are_counted_across_pieces() -> None:
    run = b"\\" * 100_001
    for size in (1000, 1001, 65_536):
        assert json.loads(skeleton(b'["' + run + b'"x", "y"]', size))[1] == "y"


@pytest.mark.parametrize(
    ("string", "length"),
    [
        ("", 0),
        ("abc", 3),
        ("€", 3),
        ("\ud800", 3),
        ("abc…12", 8),  # no longer than a string that is kept: so it is one
        ("abc…1000", 1000),
        ("abc…1000 ", 11),
    ],
)
def test_original_bytes(string: str, length: int) -> None:
    assert original_bytes(string) == length


@given(st.binary(max_size=300))
def test_never_raises(data: bytes) -> None:
    assert len(skeleton(data)) <= len(data) + 2 * len(re.findall(rb'"', data)) + 1


@pytest.mark.parametrize(
    "piece", [b"1", b"1.", b"-", b"1-", b"1e", b"1,-", b"1,", b"{},", b'"', b'\\"', b"\\", b'"",', b"true,"]
)
@pytest.mark.parametrize("prefix", [b"[", b"[1,", b'{"a":', b'{"a":"'])
def test_no_text_takes_long(prefix: bytes, piece: bytes) -> None:
    """100 KB of digits took a minute: a run of them was tried from each of its digits."""
    text = prefix + piece * (REQUEST_BYTES // len(piece))
    began = process_time()
    skeleton(text, size=65_536, max_bytes=REQUEST_BYTES)
    assert process_time() - began < 1.0
