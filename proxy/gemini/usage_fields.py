"""Which field of an answer means which count: every shape of Gemini fact 4 read into one `Usage`.

The meter hands each document of an answer to a `Reading` and asks it for the sum at the end. To teach a new
spelling, add it to a table. Documents are decoded by shape from the top, so that a "usageMetadata" which a
model wrote into its text is text. It refuses to guess: a count that nobody sent stays unsaid.
"""

from typing import Any

from proxy.gemini.answers import (
    ABSENT,
    Candidate,
    Typed,
    decode_candidates,
    decode_choices,
    decode_compatible,
    decode_delta,
    decode_images,
    decode_native,
    decode_predictions,
    decode_steps,
)
from proxy.gemini.scalars import by_modality, count, word
from proxy.operation import Operation
from proxy.usage import Usage

# Google's field -> ours. Native, then Interactions, then OpenAI (whose output is total less prompt, below).
_COUNTS = {
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
}
_DETAILS = {
    "promptTokensDetails": "input_by_modality",
    "promptTokenDetails": "input_by_modality",  # embeddings spell it so (Gemini fact 4.4)
    "cacheTokensDetails": "cached_by_modality",
    "candidatesTokensDetails": "output_by_modality",
    "responseTokensDetails": "output_by_modality",
    "input_tokens_by_modality": "input_by_modality",
    "cached_tokens_by_modality": "cached_by_modality",
    "output_tokens_by_modality": "output_by_modality",
}
_TIERS = ("serviceTier", "trafficType", "service_tier")

# Under `$alt=json;enum-encoding=int` enums are numbers (Gemini fact 1.8).
_FINISH_REASONS = (
    *("FINISH_REASON_UNSPECIFIED", "STOP", "MAX_TOKENS", "SAFETY", "RECITATION", "OTHER", "LANGUAGE", "BLOCKLIST"),
    *("PROHIBITED_CONTENT", "SPII", "MALFORMED_FUNCTION_CALL", "IMAGE_SAFETY", "UNEXPECTED_TOOL_CALL"),
)

# Bodies of these are the model publisher's own: Google's fields are not in them.
_PUBLISHERS_OWN = frozenset({"rawPredict", "streamRawPredict", "invoke"})


class Reading:
    """Everything read of one answer so far.

    Attributes:
        counted: whether any count was sent.
        complete: False once a document could not be read, whose counts may be newer than what we have.
        error: of an error inside a 200, its code and status.
    """

    __slots__ = (
        "_compatible",
        "_counts",
        "_details",
        "_finish",
        "_id",
        "_listed_images",
        "_model",
        "_native",
        "_openai",
        "_queries",
        "_seen_images",
        "_tier",
        "complete",
        "counted",
        "error",
    )

    def __init__(self, operation: Operation) -> None:
        unknown = operation.name == "unknown"  # may answer in either way
        self._compatible = operation.api in {"openai", "interactions"} or operation.name in _PUBLISHERS_OWN or unknown
        self._native = unknown or not self._compatible
        self._openai = operation.api == "openai" and not unknown
        self._counts: dict[str, int] = {}
        self._details: dict[str, dict[str, int]] = {}
        self._finish: dict[int, str] = {}  # by candidate: the last one said
        self._queries: dict[int, int] = {}  # by candidate
        self._seen_images = 0  # each in a chunk of its own, or all in one answer: they add up
        # In the list that an Interaction ends with: the truth. An image may come in several deltas before.
        self._listed_images: int | None = None
        self._tier: str | None = None
        self._model: str | None = None
        self._id: str | None = None
        self.counted = False
        self.complete = True
        self.error: str | None = None

    def read(self, document: bytes | None) -> None:
        """One document, or None for one too large to read. Never raises."""
        if document is None:
            self.complete = False
            return
        document = document.strip()
        if not document or document == b"[DONE]":  # OpenAI's end of stream
            return
        try:
            if self._native:
                self._read_native(document)
            if self._compatible:
                self._read_compatible(document)
        except (ValueError, RecursionError):  # of msgspec, and of an integer too long to be written
            self.complete = False

    def usage(self, tier: str | None) -> Usage | None:
        """The counts under our names, None when there are none. `tier` is a header's word, which wins."""
        if not self.counted:
            return None
        tokens = {name: self._counts.get(name, 0) for name in _COUNTS.values()}
        total = self._counts.get("total_tokens")
        if total is None:
            parts = ("input_tokens", "tool_tokens", "output_tokens", "thought_tokens")
            total = sum(tokens[part] for part in parts)
        elif self._openai:
            # OpenAI's completion_tokens may leave thinking out, its total does not (Gemini fact 4.4).
            tokens["output_tokens"] = max(total - tokens["input_tokens"], 0)
        return Usage(
            input_tokens=tokens["input_tokens"],
            cached_tokens=tokens["cached_tokens"],
            tool_tokens=tokens["tool_tokens"],
            output_tokens=tokens["output_tokens"],
            thought_tokens=tokens["thought_tokens"],
            total_tokens=total,
            input_by_modality=self._details.get("input_by_modality", {}),
            cached_by_modality=self._details.get("cached_by_modality", {}),
            output_by_modality=self._details.get("output_by_modality", {}),
            images=self._seen_images if self._listed_images is None else self._listed_images,
            search_queries=sum(self._queries.values()),
            finish_reasons=tuple(self._finish[index] for index in sorted(self._finish)),
            tier=tier or self._tier,
            model_version=self._model,
            response_id=self._id,
        )

    def _read_native(self, document: bytes) -> None:
        answer = decode_native(document)
        self._read_error(answer.error)
        self._read_counts(answer.usage_metadata)
        self._model = word(answer.model_version) or self._model
        self._id = word(answer.response_id) or self._id
        if answer.candidates is not ABSENT:
            for candidate in decode_candidates(answer.candidates) or ():
                self._read_candidate(candidate)
        feedback = answer.prompt_feedback
        if isinstance(feedback, dict) and feedback.get("blockReason"):  # a 200 without candidates
            self._finish.setdefault(0, f"BLOCKED_{word(feedback['blockReason'])}")
        if answer.predictions is not ABSENT:
            self._read_predictions(decode_predictions(answer.predictions) or ())

    def _read_candidate(self, candidate: Candidate) -> None:
        index = candidate.index if isinstance(candidate.index, int) else 0
        reason = candidate.finish_reason
        if isinstance(reason, int) and 0 <= reason < len(_FINISH_REASONS):
            reason = _FINISH_REASONS[reason]
        if reason:
            self._finish[index] = word(reason) or "UNKNOWN"
        if candidate.grounding_metadata and candidate.grounding_metadata.web_search_queries:
            self._queries[index] = len(candidate.grounding_metadata.web_search_queries)
        for part in (candidate.content and candidate.content.parts) or ():
            blob = part.inline_data or part.file_data
            # A draft among the thoughts is no image of the answer, and not billed as one.
            if blob and _is_image(blob.mime_type) and part.thought is not True:
                self._seen_images += 1

    def _read_predictions(self, predictions: Any) -> None:
        """Imagen sends no usage: its images are the count. Older embeddings count in each prediction."""
        for prediction in predictions:
            if prediction.bytes_base64_encoded or prediction.gcs_uri:
                self.counted = True
                self._seen_images += 1 if _is_image(prediction.mime_type) else 0
            embeddings = prediction.embeddings
            statistics = embeddings.get("statistics") if isinstance(embeddings, dict) else None
            tokens = count(statistics.get("token_count")) if isinstance(statistics, dict) else None
            if tokens is not None:
                self.counted = True
                self._counts["input_tokens"] = self._counts.get("input_tokens", 0) + tokens

    def _read_compatible(self, document: bytes, *, nested: bool = False) -> None:
        answer = decode_compatible(document)
        self._read_error(answer.error)
        self._read_counts(answer.usage)
        self._tier = word(answer.service_tier) or self._tier
        self._model = word(answer.model) or self._model
        self._id = word(answer.id) or self._id
        if answer.choices is not ABSENT:
            for choice in decode_choices(answer.choices) or ():
                if choice.finish_reason and isinstance(choice.index, int):
                    self._finish[choice.index] = word(choice.finish_reason) or "UNKNOWN"
        if answer.data is not ABSENT:
            images = [image for image in decode_images(answer.data) or () if image.b64_json or image.url]
            self._seen_images += len(images)
            self.counted = self.counted or bool(images)
        if answer.delta is not ABSENT:
            delta = decode_delta(answer.delta)
            self._seen_images += 1 if delta and delta.type == "image" else 0
        steps = [
            step for raw in (answer.steps, answer.outputs) if raw is not ABSENT for step in decode_steps(raw) or ()
        ]
        if steps:  # an Interaction that has only begun has an empty list
            self._listed_images = sum(_images_of(step) for step in steps)
        for raw in () if nested else (answer.interaction, answer.response, answer.message):
            # `message` is text in an error event: only an object has counts.
            if raw is not ABSENT and bytes(raw).startswith(b"{"):
                self._read_compatible(bytes(raw), nested=True)

    def _read_counts(self, usage: Any) -> None:
        """Last value of each field wins: every chunk repeats running totals (Gemini fact 4.2)."""
        if not isinstance(usage, dict):
            return
        self._openai = self._openai or (self._native and "completion_tokens" in usage)
        for theirs, ours in _COUNTS.items():
            tokens = count(usage.get(theirs)) if theirs in usage else None
            if tokens is not None:
                self.counted = True
                self._counts[ours] = tokens
        for theirs, ours in _DETAILS.items():
            details = by_modality(usage.get(theirs)) if theirs in usage else {}
            if details:
                self._details[ours] = details
        for name in _TIERS:
            self._tier = word(usage.get(name)) or self._tier
        cached = usage.get("prompt_tokens_details") or usage.get("input_tokens_details")
        tokens = count(cached.get("cached_tokens")) if isinstance(cached, dict) else None
        if tokens is not None:
            self._counts["cached_tokens"] = tokens
        tools = usage.get("grounding_tool_count")
        for tool in tools if isinstance(tools, list) else ():
            if isinstance(tool, dict) and tool.get("type", "google_search") == "google_search":
                self._queries[0] = count(tool.get("count")) or 0

    def _read_error(self, error: Any) -> None:
        if isinstance(error, dict):
            words = (word(error.get("code")), word(error.get("status")))
            self.error = " ".join(word for word in words if word) or "unknown"


def _images_of(step: Typed) -> int:
    content = step.content if isinstance(step.content, list) else []
    kinds = [item.get("type") for item in content if isinstance(item, dict)]
    return kinds.count("image") if step.type == "model_output" else int(step.type == "image")


def _is_image(mime_type: Any) -> bool:
    return isinstance(mime_type, str) and mime_type.lower().startswith("image/")
