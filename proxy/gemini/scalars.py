"""Counts, words and modalities as Google's JSON may hold them.

`usage_fields.py` reads answers with it, `request_fields.py` requests. Each gives None for what is not one: a field of
an odd type must not hide those beside it.
"""

from typing import Any, Final

MAX_COUNT: Final = 1 << 53  # beyond it a JSON number is not exact, and a count not true
_MAX_DIGITS: Final = 16
MAX_WORD: Final = 256  # characters of a name from an answer that goes into a record

UNSPECIFIED: Final = "_UNSPECIFIED"  # ends every name that says nothing

# Under `$alt=json;enum-encoding=int` enums are numbers (Gemini fact 1.8); the older Python client always asks so.
_MODALITIES: Final = (
    "text",
    "text",
    "image",
    "video",
    "audio",
    "document",
)  # 0, unspecified, means text (Gemini fact 4.1)
# The two surfaces number their reasons apart from "OTHER" on: as in the published protos of each.
_FINISH_REASONS: Final = (
    *("FINISH_REASON_UNSPECIFIED", "STOP", "MAX_TOKENS", "SAFETY", "RECITATION", "OTHER", "LANGUAGE", "BLOCKLIST"),
    *("PROHIBITED_CONTENT", "SPII", "MALFORMED_FUNCTION_CALL", "IMAGE_SAFETY", "UNEXPECTED_TOOL_CALL"),
    *("TOO_MANY_TOOL_CALLS", "IMAGE_PROHIBITED_CONTENT", "IMAGE_OTHER", "NO_IMAGE", "IMAGE_RECITATION"),
)
_VERTEX_FINISH_REASONS: Final = (
    *("FINISH_REASON_UNSPECIFIED", "STOP", "MAX_TOKENS", "SAFETY", "RECITATION", "OTHER", "BLOCKLIST"),
    *("PROHIBITED_CONTENT", "SPII", "MALFORMED_FUNCTION_CALL", "MODEL_ARMOR"),
)
_BLOCK_REASONS: Final = (
    "BLOCK_REASON_UNSPECIFIED",
    "SAFETY",
    "OTHER",
    "BLOCKLIST",
    "PROHIBITED_CONTENT",
    "IMAGE_SAFETY",
)
_VERTEX_BLOCK_REASONS: Final = (*_BLOCK_REASONS[:5], "MODEL_ARMOR")


def count(value: Any, most: int = MAX_COUNT) -> int | None:
    """A number, a whole float or a text of digits (proto writes 64-bit integers so), from 0 to below `most`."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= _MAX_DIGITS:
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < most else None


def word(value: Any) -> str | None:
    """A name or a number of an enum, as a bounded text."""
    if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
        return str(value)[:MAX_WORD] or None
    return None


def finish_reason(value: Any, *, vertex: bool) -> str | None:
    """Why a candidate ended, by name where the number is known; None: it has not."""
    return _named(value, _VERTEX_FINISH_REASONS if vertex else _FINISH_REASONS)


def block_reason(value: Any, *, vertex: bool) -> str | None:
    """Why a prompt was not answered at all; None: it was."""
    return _named(value, _VERTEX_BLOCK_REASONS if vertex else _BLOCK_REASONS)


def _named(value: Any, names: tuple[str, ...]) -> str | None:
    name = names[value] if isinstance(value, int) and 0 <= value < len(names) else word(value)
    return None if name is None or name.endswith(UNSPECIFIED) else name


def by_modality(details: Any) -> dict[str, int]:
    found: dict[str, int] = {}
    for detail in details if isinstance(details, list) else ():
        if not isinstance(detail, dict):
            continue
        modality = detail.get("modality", 0)
        tokens = count(detail.get("tokenCount", detail.get("tokens", 0)))
        name = modality_name(modality)
        if tokens is not None:
            found[name] = found.get(name, 0) + tokens  # one modality may come in several entries
    return found


def modality_name(modality: Any) -> str:
    """Google's name or number of a modality under ours; what is new is called as Google calls it."""
    if isinstance(modality, int) and 0 <= modality < len(_MODALITIES):
        modality = _MODALITIES[modality]
    name = (word(modality) or "text").lower().removeprefix("modality_")
    return "text" if name == "unspecified" else name
