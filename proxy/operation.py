"""What a call is to Gemini: its operation, from method and path, and its intent, from the body too.

`gemini/paths.py` makes the one, `gemini/intent.py` the other; plugins and the engine decide by them.
"""

import msgspec


class Operation(msgspec.Struct, frozen=True):
    """What a method and path mean to Gemini; made by `gemini/paths.py`.

    `name` is Google's verb where there is one (`generateContent`, `files.get`), else `unknown`.
    """

    name: str
    api: str = "unknown"  # gemini, vertex, openai, interactions, live, unknown
    model: str | None = None  # from the path; None when the body names it
    model_in_body: bool = False
    streams: bool = False  # the path asks for a streamed answer
    generates: bool = False  # runs a model: metered, and a matter for token quotas
    account_bound: bool = False  # names something that one account owns (file, cache, batch): no failover
    location: str | None = None  # of a Vertex path: projects/P/locations/LOCATION
    billed_by_body: bool = False  # its body says what its bill needs: the model, an image's size, a video's length


UNKNOWN = Operation("unknown")


class Intent(msgspec.Struct, frozen=True, kw_only=True):
    """What a request asks for, read from path and body by `gemini/intent.py`. None: not said."""

    model: str | None = None
    stream: bool = False
    input_tokens: int = 0  # an estimate, for reservations only
    input_images: int = 0
    max_output_tokens: int | None = None  # per candidate
    candidate_count: int = 1
    thinking_budget: int | None = None
    wants_images: bool = False
    image_size: str | None = None  # "512", "1K", "2K", "4K"
    image_count: int = 0  # asked for; 0 when no image is
    video_seconds: int = 0  # of all videos together
    video_resolution: str | None = None  # "720p", "1080p", "4k"
    service_tier: str | None = None
