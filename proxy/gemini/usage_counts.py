"""Which field of a usage object means which count, in every spelling of Gemini fact 4.

`usage_fields.py` hands over each usage object of an answer; the last value of a field wins, since every chunk of a
stream repeats running totals (Gemini fact 4.2). To teach a new spelling, add it to a table. It refuses to guess: a
count that nobody sent stays unsaid.
"""

from typing import Any, Final, final

from proxy.gemini.plain import Plain
from proxy.gemini.scalars import by_modality, count, word

# Google's field -> ours. Native, then Interactions, then OpenAI, whose output is total less prompt (below).
_COUNTS: Final[dict[str, str]] = {
    "promptTokenCount": "input_tokens",
    "cachedContentTokenCount": "cached_tokens",
    "toolUsePromptTokenCount": "tool_tokens",
    "candidatesTokenCount": "output_tokens",
    "responseTokenCount": "output_tokens",  # Live spells it so (Gemini fact 4.4)
    "thoughtsTokenCount": "thought_tokens",
    "totalTokenCount": "total_tokens",
    "total_input_tokens": "input_tokens",
    "total_cached_tokens": "cached_tokens",
    "total_tool_use_tokens": "tool_tokens",
    "total_output_tokens": "output_tokens",
    "total_thought_tokens": "thought_tokens",
    "total_tokens": "total_tokens",
    "prompt_tokens": "input_tokens",
    "completion_tokens": "output_tokens",
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "cache_read_input_tokens": "cached_tokens",
}
_DETAILS: Final[dict[str, str]] = {
    "promptTokensDetails": "input_by_modality",
    "promptTokenDetails": "input_by_modality",  # embeddings spell it so (Gemini fact 4.4)
    "cacheTokensDetails": "cached_by_modality",
    "toolUsePromptTokensDetails": "tool_by_modality",
    "candidatesTokensDetails": "output_by_modality",
    "responseTokensDetails": "output_by_modality",
    "input_tokens_by_modality": "input_by_modality",
    "cached_tokens_by_modality": "cached_by_modality",
    "tool_use_tokens_by_modality": "tool_by_modality",
    "output_tokens_by_modality": "output_by_modality",
}
_TIERS: Final = ("serviceTier", "trafficType", "service_tier")
# A partner's input_tokens leave these out, where Google's prompt holds what was cached (Gemini fact 4.1).
_BESIDE_INPUT: Final = ("cache_read_input_tokens", "cache_creation_input_tokens")
_RARE: Final = frozenset({"prompt_tokens_details", "input_tokens_details", "grounding_tool_count"})
_PARTS: Final = ("input_tokens", "tool_tokens", "output_tokens", "thought_tokens")


@final
class Counts:
    """The counts of one answer so far.

    Attributes:
        said: whether any was sent.
        odd: whether one was no count, such as a negative number: what it would have said is missing.
        details: tokens by modality, under the names of `Usage`.
        searches: what an interaction says of its searches; None where it says nothing.
    """

    __slots__ = ("_beside_input", "_openai", "_tokens", "details", "odd", "said", "searches", "tier")

    def __init__(self, *, openai: bool) -> None:
        self.said = False
        self.odd = False
        self.details: dict[str, dict[str, int]] = {}
        self.searches: int | None = None
        self.tier: str | None = None
        self._tokens: dict[str, int] = {}
        self._beside_input: dict[str, int] = {}
        self._openai = openai

    def read(self, usage: Any) -> None:
        if not isinstance(usage, dict):
            return
        for field, value in usage.items():
            ours = _COUNTS.get(field)
            if ours is not None:
                tokens = count(value)
                if tokens is not None:
                    self.said = True
                    self._tokens[ours] = tokens
                elif value is not None:
                    self.odd = True
            elif field in _DETAILS:
                details = by_modality(value)
                if details:
                    self.details[_DETAILS[field]] = details
            elif field in _TIERS:
                self.tier = word(value) or self.tier
            elif field in _RARE:
                self._read_rare(field, value)
            if field in _BESIDE_INPUT:
                self._beside_input[field] = count(value) or 0
        self._openai = self._openai or "completion_tokens" in usage

    def read_plain(self, usage: Plain) -> None:
        """As `read`, of counts that are typed already."""
        tokens = self._tokens
        if usage.given is not None:
            tokens["input_tokens"] = usage.given
        if usage.output is not None:
            tokens["output_tokens"] = usage.output
        if usage.cached is not None:
            tokens["cached_tokens"] = usage.cached
        if usage.tool is not None:
            tokens["tool_tokens"] = usage.tool
        if usage.total is not None:
            tokens["total_tokens"] = usage.total
        if usage.thought is not None:
            tokens["thought_tokens"] = usage.thought
        self.said = self.said or bool(tokens)
        details = self.details
        if usage.given_by is not None:
            details["input_by_modality"] = usage.given_by
        if usage.output_by is not None:
            details["output_by_modality"] = usage.output_by
        if usage.cached_by is not None:
            details["cached_by_modality"] = usage.cached_by
        if usage.tool_by is not None:
            details["tool_by_modality"] = usage.tool_by
        self.tier = usage.tier or self.tier

    def add(self, ours: str, tokens: int) -> None:
        """To what was counted so far: for answers whose counts stand in each of their parts."""
        self.said = True
        self._tokens[ours] = self._tokens.get(ours, 0) + tokens

    def tokens(self) -> dict[str, int]:
        """Under the names of `Usage`, as far as anything was said, and the total."""
        tokens = self._tokens.copy()
        if self._beside_input:
            tokens["input_tokens"] = tokens.get("input_tokens", 0) + sum(self._beside_input.values())
        if "total_tokens" not in tokens:
            tokens["total_tokens"] = sum(tokens.get(part, 0) for part in _PARTS)
        elif self._openai:
            # OpenAI's completion_tokens may leave thinking out, its total does not (Gemini fact 4.4).
            beyond_input = tokens["total_tokens"] - tokens.get("input_tokens", 0)
            tokens["output_tokens"] = max(beyond_input, tokens.get("output_tokens", 0))
        return tokens

    def _read_rare(self, field: str, value: Any) -> None:
        if isinstance(value, dict):
            tokens = count(value.get("cached_tokens"))
            if tokens is not None:
                self._tokens["cached_tokens"] = tokens
        elif isinstance(value, list):
            self.searches = sum(
                count(tool.get("count")) or 0
                for tool in value
                if isinstance(tool, dict) and tool.get("type", "google_search") == "google_search"
            )
