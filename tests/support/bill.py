"""Records to be priced, and the price file that comes with the gateway."""

import tempfile
from pathlib import Path
from typing import Any

from proxy import AttemptRecord, Outcome, UsageRecord, UsageState
from proxy.config.prices import read_prices
from proxy.gemini.price_list import PriceList
from proxy.gemini.prices import PriceBook

PRICE_FILE = Path(__file__).parents[2] / "config" / "prices.toml"


def make_attempt(status: int | None = 200, *, error: str | None = None, sent: bool = True) -> AttemptRecord:
    return AttemptRecord(endpoint="a", region="global", started_ms=0.0, status=status, error=error, sent=sent)


def make_record(**fields: Any) -> UsageRecord:
    """Of a completed generateContent, with everything that no price depends on filled in."""
    facts: dict[str, Any] = {
        "time": "2026-11-21T10:00:00.000Z",
        "id": "x-1",
        "route": "gemini",
        "team": "studio",
        "subject": "ada",
        "key_id": "k1",
        "operation": "generateContent",
        "api": "gemini",
        "location": None,
        "model": "gemini-2.5-flash",
        "method": "POST",
        "path": "/v1beta/models/gemini-2.5-flash:generateContent",
        "endpoint": "a",
        "region": "global",
        "attempts": [make_attempt()],
        "outcome": Outcome.COMPLETED,
        "status": 200,
        "reason": None,
        "first_byte_ms": 250.0,
        "total_ms": 1250.0,
        "request_bytes": 400,
        "response_bytes": 2000,
        "usage_state": UsageState.FINAL if fields.get("usage") is not None else UsageState.NONE,
        "usage": None,
    }
    return UsageRecord(**(facts | fields))


def make_book(*more: str) -> PriceBook:
    """The file that comes with the gateway, and these tables."""
    return PriceBook(bound("\n".join((PRICE_FILE.read_text(), *more))), "test")


def bound(text: str) -> PriceList:
    """A price file's text as the gateway reads it."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "prices.toml"
        file.write_text(text)
        return read_prices(file, PriceList).prices
