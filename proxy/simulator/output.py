"""How a generated answer is dressed: which surface, which tier, enums as names or numbers, fields left out.

`generate.py` asks for an Output once a call. The rules are the system parameters of Gemini fact 1.8 and the two
flavours of usageMetadata of facts 4.1 and 4.2.
Refuses nothing: an unknown field mask leaves an empty object, as Google's would leave an error.
"""

import re
import secrets
from collections.abc import Mapping
from typing import Any

import msgspec

from proxy.simulator.asked import Generation
from proxy.simulator.call import Call
from proxy.simulator.usage import Prompt, Spent, gemini_usage, vertex_usage

_TIERS = frozenset({"standard", "flex", "priority"})
# The numbers of google.ai.generativelanguage; a reason that is younger than its recorded list stays a name.
_NUMBERS: dict[str, dict[str, int]] = {
    "finishReason": {
        "STOP": 1, "MAX_TOKENS": 2, "SAFETY": 3, "RECITATION": 4, "OTHER": 5, "LANGUAGE": 6, "BLOCKLIST": 7,
        "PROHIBITED_CONTENT": 8, "SPII": 9, "MALFORMED_FUNCTION_CALL": 10, "IMAGE_SAFETY": 11,
    },
    "modality": {"TEXT": 1, "IMAGE": 2, "VIDEO": 3, "AUDIO": 4, "DOCUMENT": 5},
    "blockReason": {"SAFETY": 1, "OTHER": 2, "BLOCKLIST": 3, "PROHIBITED_CONTENT": 4, "IMAGE_SAFETY": 5},
}  # fmt: skip


class Output(msgspec.Struct, frozen=True):
    vertex: bool
    tier: str | None
    traffic: str
    response_id: str
    integers: bool
    pretty: bool
    fields: frozenset[str]

    def usage(self, prompt: Prompt, spent: Spent) -> dict[str, Any]:
        if self.vertex:
            return vertex_usage(prompt, spent, self.traffic)
        return gemini_usage(prompt, spent, self.tier or "standard")

    def running_usage(self, prompt: Prompt, spent: Spent) -> dict[str, Any]:
        """Mid-stream: running totals on the Gemini API, an empty object on Vertex (Gemini fact 4.2)."""
        return {} if self.vertex else self.usage(prompt, spent)

    def enum(self, field: str, name: str) -> str | int:
        return _NUMBERS[field].get(name, name) if self.integers else name

    def numbered(self, used: Mapping[str, Any]) -> dict[str, Any]:
        """usageMetadata with its modalities as the caller wants its enums."""
        if not self.integers:
            return dict(used)
        return {
            name: [item | {"modality": self.enum("modality", item["modality"])} for item in value]
            if isinstance(value, list)
            else value
            for name, value in used.items()
        }

    def pick(self, response: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in response.items() if not self.fields or name in self.fields}


def shape(call: Call, asked: Generation) -> Output:
    vertex = call.path.vertex
    tier = asked.service_tier.lower()
    return Output(
        vertex=vertex,
        tier=None if vertex else tier if tier in _TIERS else "standard",
        traffic=_traffic(call),
        response_id=secrets.token_urlsafe(16),
        integers="enum-encoding=int" in call.query.get("$alt", call.query.get("alt", "")),
        pretty=call.query.get("prettyPrint", call.query.get("$prettyPrint")) != "false",
        fields=_mask(call),
    )


def _traffic(call: Call) -> str:
    """Vertex reads the tier from headers only, and serves the named tier on `global` only (Gemini fact 6.3)."""
    if call.headers.get("x-vertex-ai-llm-request-type") == "dedicated":
        return "PROVISIONED_THROUGHPUT"
    segments = call.path.segments
    location = segments[3] if segments[:1] == ("projects",) and len(segments) > 3 else "global"
    shared = call.headers.get("x-vertex-ai-llm-shared-request-type", "")
    if location == "global" and shared in {"priority", "flex"}:
        return f"ON_DEMAND_{shared.upper()}"
    return "ON_DEMAND"


def _mask(call: Call) -> frozenset[str]:
    """The first name of every path in `fields`: `candidates(content),usageMetadata` keeps two of them."""
    mask = call.query.get("fields") or call.query.get("$fields") or call.headers.get("x-goog-fieldmask") or ""
    flat = re.sub(r"\([^()]*\)", "", mask)
    names = (re.split(r"[/.]", field.strip())[0] for field in flat.split(","))
    camel = (re.sub(r"_([a-z])", lambda match: match[1].upper(), name) for name in names)
    return frozenset(name for name in camel if name and name != "*")
