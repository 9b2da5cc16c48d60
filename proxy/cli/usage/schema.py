"""`weir usage schema`: the JSON Schema of a line of the usage log, for who reads it with tools of their own.

Made from the record's own struct; `docs/usage-record.schema.json` is its output, and a test holds the two together.
"""

from typing import Any

import msgspec
import typer

from proxy.record import UsageRecord


def schema() -> None:
    """Print the JSON Schema (draft 2020-12) of a usage record."""
    typer.echo(msgspec.json.format(msgspec.json.encode(record_schema()), indent=2).decode())


def record_schema() -> dict[str, Any]:
    """A later version may add fields: what is not named is not forbidden."""
    (reference,), shapes = msgspec.json.schema_components([UsageRecord], ref_template="#/$defs/{name}")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "gemini-weir usage record",
        **reference,
        "$defs": shapes,
    }
