"""The ledger: every request as the simulator saw it, and how its answer ended.

Tests compare it with what a caller sent; a person reads it at `GET /_simulator/ledger`. It holds what it received,
credentials included: that is its purpose, and why the simulator must never be given a real key.
Refuses to grow without bound: the oldest entries fall out, and long bodies keep only size and digest.
"""

from collections import deque
from collections.abc import Mapping
from typing import Any

import msgspec

BODY_KEPT_BYTES = 64 << 10
ENTRIES_KEPT = 10_000


class Entry(msgspec.Struct, kw_only=True):
    """One request. Filled in as it goes on: an entry without a status is still waiting for its head.

    Attributes:
        received_at: seconds since 1970.
        headers: name and value as received, in order; obs-text as latin-1.
        body: the bytes when under 64 KiB; base64 in JSON.
        body_complete: False when the caller left while sending.
        usage: what a reader of the bytes sent knows; `billed` is what the answer as a whole used.
        complete: True when the last byte was handed to the kernel, False when the answer broke off, None before.
    """

    number: int
    received_at: float
    method: str
    target: str
    headers: list[tuple[str, str]]
    body_bytes: int = 0
    body_sha256: str = ""
    body: bytes | None = None
    body_complete: bool = False
    key: str | None = None
    model: str = ""
    fault: str = ""
    status: int | None = None
    usage: Mapping[str, Any] | None = None
    billed: Mapping[str, Any] | None = None
    sent_bytes: int = 0
    complete: bool | None = None

    def header(self, name: str) -> str | None:
        """The first value of a header, by its name in any case."""
        return next((value for seen, value in self.headers if seen.lower() == name.lower()), None)


Ledger = deque[Entry]


def new_ledger() -> Ledger:
    return deque(maxlen=ENTRIES_KEPT)
