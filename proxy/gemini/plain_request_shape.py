"""The shape of a plain request: the fields that `plain_request.py` decodes of it, each of one type only.

Nothing is passed over: what has another name, or another type, is no plain request. So whatever text is in one is in a
field here. Fields stand as in Google's own examples, for msgspec looks for each where the one before was found;
`plain_request.py` takes them by that order too. Nothing here lives longer than the reading of one request: the
collector need not know of it.
"""

import msgspec


class PlainText(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    text: str | None = None


class PlainTurn(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    role: str | None = None
    parts: list[PlainText] | None = None


class PlainThinking(msgspec.Struct, gc=False, forbid_unknown_fields=True, rename="camel"):
    thinking_level: str | None = None
    thinking_budget: int | None = None
    include_thoughts: bool | None = None


class PlainConfig(msgspec.Struct, gc=False, forbid_unknown_fields=True, rename="camel"):
    """Of what is said here in words, nothing is asked for but text."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: float | None = None
    candidate_count: int | None = None
    max_output_tokens: int | None = None
    thinking_config: PlainThinking | None = None
    response_mime_type: str | None = None
    stop_sequences: list[str] | None = None


class PlainSafety(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    category: str | None = None
    threshold: str | None = None


class PlainRequest(msgspec.Struct, gc=False, forbid_unknown_fields=True, rename="camel"):
    contents: list[PlainTurn] | None = None
    generation_config: PlainConfig | None = None
    safety_settings: list[PlainSafety] | None = None
    system_instruction: PlainTurn | None = None
