"""What a call is to Gemini: its operation, from method and path, and its intent, from the body too.

`gemini/paths.py` makes the one, `gemini/intent.py` the other; plugins and the engine decide by them.
"""

from typing import Final, final

from proxy.fact import Fact

_OPERATION: Final = (
    *("name", "api", "model", "model_in_body", "streams", "generates", "account_bound", "location", "billed_by_body"),
)
_INTENT: Final = (
    *("model", "stream", "input_tokens", "input_images", "max_output_tokens", "candidate_count", "thinking_budget"),
    *("wants_images", "image_size", "image_count", "video_seconds", "video_resolution", "service_tier"),
)


@final
class Operation(Fact):
    """What a method and path mean to Gemini; made by `gemini/paths.py`. A fact: it does not change.

    Attributes:
        name: Google's verb where there is one (`generateContent`, `files.get`), else `unknown`.
        api: gemini, vertex, openai, interactions, live, unknown.
        model: from the path; None when the body names it.
        streams: the path asks for a streamed answer.
        generates: runs a model: metered, and a matter for token quotas.
        account_bound: names something that one account owns (file, cache, batch): no failover.
        location: of a Vertex path: projects/P/locations/LOCATION.
        billed_by_body: its body says what its bill needs: the model, an image's size, a video's length.
    """

    __slots__ = (
        "account_bound",
        "api",
        "billed_by_body",
        "generates",
        "location",
        "model",
        "model_in_body",
        "name",
        "streams",
    )

    def __init__(
        self,
        name: str,
        api: str = "unknown",
        model: str | None = None,
        model_in_body: bool = False,
        streams: bool = False,
        generates: bool = False,
        account_bound: bool = False,
        location: str | None = None,
        billed_by_body: bool = False,
    ) -> None:
        self.name: Final = name
        self.api: Final = api
        self.model: Final = model
        self.model_in_body: Final = model_in_body
        self.streams: Final = streams
        self.generates: Final = generates
        self.account_bound: Final = account_bound
        self.location: Final = location
        self.billed_by_body: Final = billed_by_body

    def on(self, model: str | None, *, generates: bool) -> "Operation":
        """The same of that model."""
        return Operation(
            self.name,
            api=self.api,
            model=model,
            model_in_body=self.model_in_body,
            streams=self.streams,
            generates=generates,
            account_bound=self.account_bound,
            location=self.location,
            billed_by_body=self.billed_by_body,
        )

    def names(self) -> tuple[str, ...]:
        return _OPERATION


UNKNOWN: Final = Operation("unknown")


@final
class Intent(Fact):
    """What a request asks for, read from path and body by `gemini/intent.py`. None: not said. A fact, too.

    Attributes:
        input_tokens: an estimate, for reservations only.
        max_output_tokens: per candidate.
        image_size: "512", "1K", "2K", "4K".
        image_count: asked for; 0 when no image is.
        video_seconds: of all videos together.
        video_resolution: "720p", "1080p", "4k".
    """

    __slots__ = (
        "candidate_count",
        "image_count",
        "image_size",
        "input_images",
        "input_tokens",
        "max_output_tokens",
        "model",
        "service_tier",
        "stream",
        "thinking_budget",
        "video_resolution",
        "video_seconds",
        "wants_images",
    )

    def __init__(
        self,
        *,
        model: str | None = None,
        stream: bool = False,
        input_tokens: int = 0,
        input_images: int = 0,
        max_output_tokens: int | None = None,
        candidate_count: int = 1,
        thinking_budget: int | None = None,
        wants_images: bool = False,
        image_size: str | None = None,
        image_count: int = 0,
        video_seconds: int = 0,
        video_resolution: str | None = None,
        service_tier: str | None = None,
    ) -> None:
        self.model: Final = model
        self.stream: Final = stream
        self.input_tokens: Final = input_tokens
        self.input_images: Final = input_images
        self.max_output_tokens: Final = max_output_tokens
        self.candidate_count: Final = candidate_count
        self.thinking_budget: Final = thinking_budget
        self.wants_images: Final = wants_images
        self.image_size: Final = image_size
        self.image_count: Final = image_count
        self.video_seconds: Final = video_seconds
        self.video_resolution: Final = video_resolution
        self.service_tier: Final = service_tier

    def names(self) -> tuple[str, ...]:
        return _INTENT
