"""The answer that nearly all are: text, perhaps an image, and counts in their usual spelling.

`usage_fields.py` tries it on each native document of an answer, `meter.py` on a small one that came whole: decoded in
one go, by the types of `plain_shape.py`, it takes a fifth of the time. Whatever is rarer (a block, a search, an error,
a number that comes as a text, a field that nobody knows) is refused as a whole, and then read the long way, which alone
decides what it means: a plain answer must say the same either way.
"""

from typing import Any, Final, final

import msgspec

from proxy.gemini.plain_shape import PlainCandidate, PlainContent, PlainCounts, PlainDetail, PlainDocument, PlainPart
from proxy.gemini.scalars import UNSPECIFIED, modality_name
from proxy.usage import Usage

_decode: Final = msgspec.json.Decoder(PlainDocument).decode
_fields: Final = msgspec.structs.astuple  # all fields of a struct, in the time of two
_NO_COUNTS: Final[tuple[Any, ...]] = (None,) * len(PlainCounts.__struct_fields__)


@final
class Plain:
    """What one plain answer says, as far as it says it.

    Attributes:
        given, output, cached, tool, total, thought: tokens.
        given_by, output_by, cached_by, tool_by: tokens by modality.
        seen: the candidates that it holds a part of, as they come.
        reasons: why they have ended, beside them; None: they have not.
        images: in its parts.
        is_odd: it names two tiers; the one said last is it, and only the text knows which.
    """

    __slots__ = (
        "cached",
        "cached_by",
        "given",
        "given_by",
        "images",
        "is_odd",
        "model",
        "output",
        "output_by",
        "reasons",
        "response_id",
        "seen",
        "thought",
        "tier",
        "tool",
        "tool_by",
        "total",
    )

    def __init__(self, document: PlainDocument) -> None:
        candidates: list[PlainCandidate] | None
        given_by: list[PlainDetail] | None
        output_by: list[PlainDetail] | None
        cached_by: list[PlainDetail] | None
        tool_by: list[PlainDetail] | None
        candidates, counts, model, response_id, _, _, _, _ = _fields(document)
        given, output, cached, tool, total, given_by, cached_by, output_by, tool_by, thought, traffic, served = (
            _NO_COUNTS if counts is None else _fields(counts)
        )
        self.model: str | None = model
        self.response_id: str | None = response_id
        self.given: int | None = given
        self.output: int | None = output
        self.cached: int | None = cached
        self.tool: int | None = tool
        self.total: int | None = total
        self.thought: int | None = thought
        self.given_by = _tokens_by(given_by) if given_by else None
        self.output_by = _tokens_by(output_by) if output_by else None
        self.cached_by = _tokens_by(cached_by) if cached_by else None
        self.tool_by = _tokens_by(tool_by) if tool_by else None
        self.tier: str | None = served or traffic or None
        self.is_odd = served is not None and traffic is not None
        self.seen: list[int] = []
        self.reasons: list[str | None] = []
        self.images = 0
        if candidates is not None:
            self._read_candidates(candidates)

    def _read_candidates(self, candidates: list[PlainCandidate]) -> None:
        content: PlainContent | None
        parts: list[PlainPart] | None
        for candidate in candidates:
            content, reason, index, _ = _fields(candidate)
            self.seen.append(index)
            ended = isinstance(reason, str) and reason and not reason.endswith(UNSPECIFIED)
            self.reasons.append(reason if ended else None)
            parts = None if content is None else content.parts
            if parts is None:
                continue
            for part in parts:
                inline, stored, thought = _fields(part)
                blob = inline or stored
                # A draft among the thoughts is no image of the answer, and not billed as one.
                if blob is not None and thought is not True and _is_image(blob.mime_type):
                    self.images += 1

    def usage(self, tier: str | None) -> Usage | None:
        """What was used, if this is all; None where it counts nothing. `tier` is a header's word, which wins."""
        given, output, cached, tool, thought = self.given, self.output, self.cached, self.tool, self.thought
        total = self.total
        if total is None:
            if given is None and output is None and cached is None and tool is None and thought is None:
                return None
            total = (given or 0) + (tool or 0) + (output or 0) + (thought or 0)
        return Usage(
            input_tokens=given or 0,
            cached_tokens=cached or 0,
            tool_tokens=tool or 0,
            output_tokens=output or 0,
            thought_tokens=thought or 0,
            total_tokens=total,
            input_by_modality=self.given_by or {},
            cached_by_modality=self.cached_by or {},
            tool_by_modality=self.tool_by or {},
            output_by_modality=self.output_by or {},
            images=self.images,
            finish_reasons=self._finish_reasons(),
            tier=tier or self.tier,
            model_version=self.model or None,
            response_id=self.response_id or None,
        )

    def _finish_reasons(self) -> tuple[str, ...]:
        """By candidate; of one that comes twice, the last."""
        if len(self.seen) == 1:
            reason = self.reasons[0]
            return () if reason is None else (reason,)
        by_candidate = {at: reason for at, reason in zip(self.seen, self.reasons, strict=True) if reason is not None}
        return tuple(by_candidate[at] for at in sorted(by_candidate))


def read_plain(document: bytes) -> Plain | None:
    """None: it is another kind of answer, or none at all."""
    try:
        answer = Plain(_decode(document))
    except (ValueError, RecursionError):  # of msgspec
        return None
    return None if answer.is_odd else answer


def _tokens_by(details: list[PlainDetail]) -> dict[str, int]:
    found: dict[str, int] = {}
    for detail in details:
        modality: str
        modality, tokens = _fields(detail)
        name = "text" if modality == "TEXT" else modality_name(modality)
        before = found.get(name)
        found[name] = tokens if before is None else before + tokens  # one modality may come in several entries
    return found


def _is_image(mime_type: str | None) -> bool:
    return mime_type is not None and mime_type.lower().startswith("image/")
