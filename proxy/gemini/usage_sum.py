"""Usage added up: the turns of a session, the responses of a batch.

`live.py` and `results.py` call `add`. What is a number adds up; what is a word is the last one said. It knows no
field of Google's.
"""

from typing import Any

import msgspec

from proxy.usage import Usage

_NUMBERS = (
    *("input_tokens", "cached_tokens", "tool_tokens", "output_tokens", "thought_tokens", "total_tokens"),
    *("images", "search_queries"),
)
_DETAILS = ("input_by_modality", "cached_by_modality", "tool_by_modality", "output_by_modality")
_MOST_REASONS = 32  # kept, each once: a batch may have a hundred thousand
_NOTHING = Usage()


def add(before: Usage | None, more: Usage) -> Usage:
    if before is None:
        before = _NOTHING
    sums: dict[str, Any] = {name: getattr(before, name) + getattr(more, name) for name in _NUMBERS}
    for name in _DETAILS:
        so_far, found = getattr(before, name), getattr(more, name)
        if found:
            so_far = {each: so_far.get(each, 0) + found.get(each, 0) for each in so_far | found}
        sums[name] = so_far
    reasons = dict.fromkeys((*before.finish_reasons, *more.finish_reasons))
    return msgspec.structs.replace(
        before,
        **sums,
        finish_reasons=tuple(reasons)[:_MOST_REASONS],
        tier=more.tier or before.tier,
        model_version=more.model_version or before.model_version,
        response_id=more.response_id or before.response_id,
    )
