"""What one answer used: every shape of Gemini fact 4 read into one `Usage`.

The meter hands each document of an answer to a `Reading` and asks it for the sum at the end. Documents are decoded
by shape from the top, so that a "usageMetadata" which a model wrote into its text is text. `usage_counts.py` knows
the counts' names; here is what stands beside them: images, reasons, searches, tier, errors.
"""

from typing import Any, final

from proxy.gemini.answers import (
    ABSENT,
    Candidate,
    Compatible,
    Prediction,
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
from proxy.gemini.plain import Plain, read_plain
from proxy.gemini.scalars import block_reason, count, finish_reason, word
from proxy.gemini.usage_counts import Counts
from proxy.operation import Operation
from proxy.usage import Usage

# Bodies of these are the model publisher's own: Google's fields are not in them.
_PUBLISHERS_OWN = frozenset({"rawPredict", "streamRawPredict", "invoke"})

_IN_PROGRESS = frozenset({"in_progress", "queued"})  # of an interaction that is read again later
_MOST_QUERIES = 1000  # of one answer that are told apart
_MOST_CANDIDATES = 64  # that are told apart; the largest candidateCount has 8


@final
class Reading:
    """Everything read of one answer so far.

    Attributes:
        complete: False once a document could not be read, whose counts may be newer than what we have.
        error: of an error inside a 200, its code and status.
    """

    __slots__ = (
        "_compatible",
        "_counts",
        "_finish",
        "_id",
        "_in_progress",
        "_interaction",
        "_listed_images",
        "_model",
        "_native",
        "_plain",
        "_queries",
        "_seen",
        "_seen_images",
        "_stops",
        "_tier",
        "_vertex",
        "complete",
        "error",
    )

    def __init__(self, operation: Operation) -> None:
        unknown = operation.name == "unknown"  # may answer in either way
        self._compatible = operation.api in {"openai", "interactions"} or operation.name in _PUBLISHERS_OWN or unknown
        self._native = unknown or not self._compatible
        # As long as every document was: what is not is rarely alone. A session's counts are spelled otherwise.
        self._plain = not self._compatible and operation.api != "live"
        self._vertex = operation.api == "vertex"
        self._interaction = operation.api == "interactions"
        self._stops = operation.name == "streamGenerateContent"  # and says why
        self._counts = Counts(openai=operation.api == "openai" and not unknown)
        self._seen: set[int] = set()  # candidates
        self._finish: dict[int, str] = {}  # by candidate: the last reason said
        self._queries: set[tuple[int, str]] | None = None  # by candidate: chunks may repeat them and may add to them
        self._seen_images = 0  # each in a chunk of its own, or all in one answer: they add up
        # In the list that an Interaction ends with: the truth. An image may come in several deltas before.
        self._listed_images: int | None = None
        self._in_progress = False
        self._tier: str | None = None
        self._model: str | None = None
        self.complete = True
        self.error: str | None = None
        self._id: str | None = None

    @property
    def counted(self) -> bool:
        """Any count was sent, and what it counts has ended."""
        return self._counts.said and not self._in_progress

    @property
    def unfinished(self) -> bool:
        """A stream that has not said why the model stopped: it broke off inside Google, its counts are early ones."""
        return self._stops and (not self._finish or not self._seen <= self._finish.keys())

    @property
    def once(self) -> str | None:
        """An interaction may run in the background, and be read as often as one likes: whoever reads it first pays."""
        return f"interactions/{self._id}" if self._interaction and self._id else None

    def read(self, document: bytes | None) -> None:
        """One document, or None for one too large to read. Never raises."""
        if document is None:
            self.complete = False
            return
        if self._plain:
            answer = read_plain(document)
            if answer is not None:
                self._read_plain(answer)
                return
            self._plain = False
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
        self.complete = self.complete and not self._counts.odd

    def usage(self, tier: str | None) -> Usage | None:
        """The counts under our names, None when there are none. `tier` is a header's word, which wins."""
        if not self.counted:
            return None
        counts: Any = self._counts.tokens()
        details: Any = self._counts.details
        return Usage(
            **counts,
            **details,
            images=self._seen_images if self._listed_images is None else self._listed_images,
            search_queries=self._counts.searches or len(self._queries or ()),
            finish_reasons=tuple(self._finish[index] for index in sorted(self._finish)),
            tier=tier or self._tier or self._counts.tier,
            model_version=self._model,
            response_id=self._id,
        )

    def _read_plain(self, answer: Plain) -> None:
        self._counts.read_plain(answer)
        self._model = answer.model or self._model
        self._id = answer.response_id or self._id
        for at, candidate in enumerate(answer.seen):
            self._seen.add(candidate)
            reason = answer.reasons[at]
            if reason is not None:
                self._finish[candidate] = reason
        self._seen_images += answer.images

    def _read_native(self, document: bytes) -> None:
        answer = decode_native(document)
        self._read_error(answer.error)
        self._counts.read(answer.usage_metadata)
        self._model = word(answer.model_version) or self._model
        self._id = word(answer.response_id) or self._id
        if answer.candidates is not ABSENT:
            for candidate in decode_candidates(answer.candidates) or ():
                self._read_candidate(candidate)
        feedback = answer.prompt_feedback
        blocked = block_reason(feedback.get("blockReason"), vertex=self._vertex) if isinstance(feedback, dict) else None
        if blocked is not None:  # a 200 without candidates (Gemini fact 4.1)
            self._finish.setdefault(0, f"BLOCKED_{blocked}")
        if answer.token_count is not None:  # an embedding of a batch has no more than this
            self._counts.read({"promptTokenCount": answer.token_count})
        if answer.predictions is not ABSENT:
            for prediction in decode_predictions(answer.predictions) or ():
                self._read_prediction(prediction)

    def _read_candidate(self, candidate: Candidate) -> None:
        index = candidate.index if isinstance(candidate.index, int) and 0 <= candidate.index < _MOST_CANDIDATES else 0
        self._seen.add(index)
        reason = finish_reason(candidate.finish_reason, vertex=self._vertex)
        if reason is not None:
            self._finish[index] = reason
        if candidate.grounding_metadata is not None:
            self.read_queries(candidate.grounding_metadata.web_search_queries, index)
        for part in (candidate.content and candidate.content.parts) or ():
            blob = part.inline_data or part.file_data
            # A draft among the thoughts is no image of the answer, and not billed as one.
            if blob and _is_image(blob.mime_type) and part.thought is not True:
                self._seen_images += 1

    def read_queries(self, queries: list[Any] | None, index: int = 0) -> None:
        if queries:
            self._queries = self._queries or set()
            if len(self._queries) < _MOST_QUERIES:
                self._queries.update((index, query) for query in map(str, queries))

    def _read_prediction(self, prediction: Prediction) -> None:
        """Imagen sends no usage: its images are the count, be it none. Older embeddings count in each prediction."""
        if prediction.bytes_base64_encoded or prediction.gcs_uri:
            self._counts.said = True
            self._seen_images += 1 if prediction.mime_type is None or _is_image(prediction.mime_type) else 0
        elif prediction.rai_filtered_reason:
            self._counts.said = True
        embeddings = prediction.embeddings
        statistics = embeddings.get("statistics") if isinstance(embeddings, dict) else None
        tokens = count(statistics.get("token_count")) if isinstance(statistics, dict) else None
        if tokens is not None:
            self._counts.add("input_tokens", tokens)

    def _read_compatible(self, document: bytes, *, nested: bool = False) -> None:
        answer = decode_compatible(document)
        self._read_error(answer.error)
        self._counts.read(answer.usage)
        self._tier = word(answer.service_tier) or self._tier
        self._model = word(answer.model) or self._model
        self._id = word(answer.id) or self._id
        if answer.status is not None:
            self._in_progress = answer.status in _IN_PROGRESS
        self._read_output(answer)
        for raw in () if nested else (answer.interaction, answer.response, answer.message):
            # `message` is text in an error event: only an object has counts.
            if raw is not ABSENT and bytes(raw).startswith(b"{"):
                self._read_compatible(bytes(raw), nested=True)

    def _read_output(self, answer: Compatible) -> None:
        if answer.choices is not ABSENT:
            for choice in decode_choices(answer.choices) or ():
                if choice.finish_reason and isinstance(choice.index, int) and 0 <= choice.index < _MOST_CANDIDATES:
                    self._finish[choice.index] = word(choice.finish_reason) or "UNKNOWN"
        if answer.data is not ABSENT:
            images = [image for image in decode_images(answer.data) or () if image.b64_json or image.url]
            self._seen_images += len(images)
            self._counts.said = self._counts.said or bool(images)
        delta = decode_delta(answer.delta) if answer.delta is not ABSENT else None
        if delta is not None and delta.type == "image":
            self._seen_images += 1
        reason = word(answer.stop_reason) or (delta and word(delta.stop_reason))  # a partner's
        if reason:
            self._finish[0] = reason
        steps = [
            step for raw in (answer.steps, answer.outputs) if raw is not ABSENT for step in decode_steps(raw) or ()
        ]
        if steps:  # an Interaction that has only begun has an empty list
            self._listed_images = sum(_images_of(step) for step in steps)

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
