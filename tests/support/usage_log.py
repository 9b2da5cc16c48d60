"""Usage records and files of them, as the journal leaves them, for tests of what reads the log."""

import gzip
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from proxy import AttemptRecord, ChargeLine, Outcome, Pricing, Usage, UsageRecord, UsageState

ROUTES = """
[[upstreams.u.endpoints]]
name = "a"
url = "https://a.example"
credential = { api_key = "env:WEIR_TEST_KEY_NOT_SET" }

[[routes]]
name = "all"
match = "/**"
upstream = "u"
"""


def make_record(id: str = "r1", **fields: Any) -> UsageRecord:
    """A 1K image of gemini-3-pro-image with its thoughts: the first worked example, 0.1385."""
    facts: dict[str, Any] = {
        "time": "2026-11-10T12:00:00.000Z",
        "id": id,
        "route": "all",
        "team": "studio",
        "subject": "ada",
        "key_id": "k1",
        "operation": "generateContent",
        "api": "gemini",
        "location": None,
        "model": "gemini-3-pro-image",
        "method": "POST",
        "path": "/v1beta/models/gemini-3-pro-image:generateContent",
        "endpoint": "a",
        "region": "global",
        "attempts": [AttemptRecord(endpoint="a", region="global", started_ms=0.1, status=200, sent=True)],
        "outcome": Outcome.COMPLETED,
        "status": 200,
        "reason": None,
        "first_byte_ms": 9.0,
        "total_ms": 10.0,
        "request_bytes": 100,
        "response_bytes": 200,
        "usage_state": UsageState.FINAL,
        "usage": Usage(
            input_tokens=14,
            output_tokens=1283,
            thought_tokens=174,
            total_tokens=1471,
            output_by_modality={"image": 1120},
            images=1,
            tier="standard",
        ),
        "tier": "standard",
        "image_size": "1K",
        "pricing": Pricing.PRICED,
        "cost": "0.138472",
        "cost_currency": "USD",
        "price": "0.138472",
        "price_currency": "USD",
        "prices": "2026-11-01.0123abcd",
        "charges": (
            ChargeLine("input_text", 14, "2", "0.000028"),
            ChargeLine("output_image", 1120, "120", "0.1344"),
            ChargeLine("output_text", 163, "12", "0.001956"),
            ChargeLine("thoughts", 174, "12", "0.002088"),
        ),
    }
    return UsageRecord(**(facts | fields))


def unpriced(id: str = "u1", **fields: Any) -> UsageRecord:
    """One of a model that no price is known for."""
    nothing = dict.fromkeys(("cost", "cost_currency", "price", "price_currency", "tier", "image_size"))
    facts: dict[str, Any] = {"model": "gemini-9-x", "pricing": Pricing.UNPRICED, "charges": (), **nothing}
    return make_record(id, **(facts | fields))


def lines(records: Iterable[UsageRecord]) -> bytes:
    return b"".join(msgspec.json.encode(record) + b"\n" for record in records)


def write_log(file: Path, *records: UsageRecord) -> Path:
    """A file of the journal, gzipped if its name says so."""
    file.parent.mkdir(parents=True, exist_ok=True)
    data = lines(records)
    file.write_bytes(gzip.compress(data) if file.suffix == ".gz" else data)
    return file
