"""What a body asks for: the values that `request_names.py` finds in a decoded skeleton, read into `Asked`.

`intent.py` calls `read_fields`. Where a body says a thing in several spellings, which one Google takes is not known:
the dearest counts. What it does not know stays unsaid.
"""

import re
from typing import Any, Final, final

from proxy.gemini.request_names import SAID
from proxy.gemini.scalars import count
from proxy.operation import Operation

# Which bound of the output a call reads: a native one takes no notice of an OpenAI field, nor of a bound said in one.
_NATIVE_OUTPUT: Final = ("output",)
_CHAT_OUTPUT: Final = ("chat_output",)
_PREDICT_OUTPUT: Final = ("predict_output",)
_OUTPUT_BY_NAME: Final[dict[str, tuple[str, ...]]] = {
    # partners' own formats
    **dict.fromkeys(("rawPredict", "streamRawPredict", "invoke"), ("chat_output", "bare_output")),
    **dict.fromkeys(("chat.completions", "completions"), _CHAT_OUTPUT),
    **dict.fromkeys(("predict", "directPredict", "serverStreamingPredict"), _PREDICT_OUTPUT),
    "generateText": ("bare_output",),
    "unknown": ("output", "chat_output", "bare_output", "predict_output"),
}
_COMPATIBLE_OUTPUT: Final = ("chat_output", "bare_output")

_SIZE_WORDS = {"FIVE_TWELVE": "512", "ONE_K": "1K", "TWO_K": "2K", "FOUR_K": "4K", "0.5K": "512"}
_PIXELS = re.compile(r"(\d{2,5})x(\d{2,5})")
# Upper bounds in pixels, with room for wide formats: 2K at 16:9 is 2752 x 1536 (Gemini fact 7).
_SIZE_BY_PIXELS = ((600_000, "512"), (2_100_000, "1K"), (8_500_000, "2K"))

_SIZES = ("512", "1K", "2K", "4K")  # by price; what is none of them is taken to be dearer

# Models that answer with an image unless told not to.
_IMAGE_MODEL = re.compile(r"-image\b|nano-banana|^imagen")
_MAKE_IMAGES: Final = frozenset({"images.generations", "images.edits"})
_MAKE_NONE: Final = ("embed", "batchembed", "asyncbatchembed", "count", "compute")  # how their names begin
_IMAGEN_DEFAULT_COUNT: Final = 4
BATCH: Final = "batchGenerateContent"  # its requests are one by one as others are alone
VIDEO_CALLS: Final = frozenset({"predictLongRunning", "videos"})
_VIDEO_DEFAULT_SECONDS: Final = 8  # Veo's own, and the longest that one call makes
_MOST_VIDEOS: Final = 4  # that one call makes
_RESOLUTIONS = ("720p", "1080p", "4k")  # by price
_LINES = ((720, "720p"), (1080, "1080p"))  # of the shorter side; beyond it is 4k
MOST_ASKED: Final = 1 << 31  # counts are int32 at Google

# What is remembered of calls that say nothing: a model's name is the caller's text.
_MOST_KEPT: Final = 1000
_LONGEST_KEPT: Final = 128  # characters; Google's have some 40


@final
class Asked:
    """What one body asks for; the fields are `Intent`'s. Never changed: calls that say nothing share theirs.

    Attributes:
        by_name: the body said nothing: all that is here follows from the call's name and its model's.
    """

    __slots__ = (
        "by_name",
        "candidate_count",
        "image_count",
        "image_size",
        "max_output_tokens",
        "service_tier",
        "thinking_budget",
        "video_resolution",
        "video_seconds",
        "wants_images",
    )

    def __init__(
        self,
        *,
        wants_images: bool,
        image_count: int,
        max_output_tokens: int | None = None,
        candidate_count: int = 1,
        thinking_budget: int | None = None,
        image_size: str | None = None,
        video_seconds: int = 0,
        video_resolution: str | None = None,
        service_tier: str | None = None,
        by_name: bool = False,
    ) -> None:
        self.max_output_tokens: Final = max_output_tokens
        self.candidate_count: Final = candidate_count
        self.thinking_budget: Final = thinking_budget
        self.wants_images: Final = wants_images
        self.image_size: Final = image_size
        self.image_count: Final = image_count
        self.video_seconds: Final = video_seconds
        self.video_resolution: Final = video_resolution
        self.service_tier: Final = service_tier
        self.by_name: Final = by_name


@final
class _Call:
    """What follows from a call's name and its model's, whatever its body says.

    Attributes:
        asked: all that there is to know where the body says nothing.
        outputs: the bounds of the output that it reads.
        body_decides: whether its body may ask for images, or for none.
        makes_text: by Google's own bound of the output, and nothing else unless its body asks for more.
    """

    __slots__ = ("asked", "body_decides", "is_video", "makes_text", "most_images", "outputs")

    def __init__(self, name: str, api: str, model: str | None) -> None:
        outputs = _OUTPUT_BY_NAME.get(name)
        if outputs is None:
            outputs = _COMPATIBLE_OUTPUT if api == "openai" else _NATIVE_OUTPUT
        self.outputs: Final = outputs
        self.most_images: Final = _IMAGEN_DEFAULT_COUNT if name == "predict" else 1  # where no number is said
        self.is_video: Final = name in VIDEO_CALLS
        if name in _MAKE_IMAGES:
            self.body_decides, wants_images = False, True
        elif name == "predict":
            self.body_decides, wants_images = False, bool(model and model.startswith("imagen"))
        elif name.lower().startswith(_MAKE_NONE):
            self.body_decides, wants_images = False, False
        else:
            self.body_decides, wants_images = True, bool(model and _IMAGE_MODEL.search(model))
        self.asked: Final = Asked(
            wants_images=wants_images,
            image_count=self.most_images if wants_images else 0,
            video_seconds=_VIDEO_DEFAULT_SECONDS if self.is_video else 0,
            by_name=True,
        )
        self.makes_text: Final = outputs == _NATIVE_OUTPUT and not (wants_images or self.is_video or name == BATCH)


_kept: Final[dict[tuple[str, str, str | None], _Call]] = {}


def makes_text(operation: Operation, model: str | None) -> bool:
    """Whether it asks for text, and is bound by `maxOutputTokens`, unless its body says otherwise."""
    return _call(operation, model).makes_text


def read_fields(operation: Operation, model: str | None, body: dict[str, Any]) -> Asked:
    call = _call(operation, model)
    said = SAID.said(body)
    return _read(call, said) if said else call.asked


def read_name(operation: Operation, model: str | None) -> Asked:
    """What is asked for as far as it is known where the body could not be read.

    Only its body says what a video costs: unread, it is the dearest that a call can ask for.
    """
    call = _call(operation, model)
    asked = call.asked
    if not call.is_video:
        return asked
    return Asked(
        wants_images=asked.wants_images,
        image_count=asked.image_count,
        video_seconds=_VIDEO_DEFAULT_SECONDS * _MOST_VIDEOS,
        video_resolution=_RESOLUTIONS[-1],
    )


def dearest_size(sizes: list[str]) -> str | None:
    return max(sizes, key=lambda size: _SIZES.index(size) if size in _SIZES else len(_SIZES), default=None)


def _call(operation: Operation, model: str | None) -> _Call:
    """Found once: nearly all calls are of few models."""
    name, api = operation.name, operation.api
    key = (name, api, model)
    call = _kept.get(key)
    if call is None:
        call = _Call(name, api, model)
        if model is None or len(model) <= _LONGEST_KEPT:
            if len(_kept) >= _MOST_KEPT:
                _kept.clear()
            _kept[key] = call
    return call


def _read(call: _Call, said: dict[str, list[Any]]) -> Asked:
    candidates = _largest(said.get("candidates"))
    wants_images = call.asked.wants_images
    if call.body_decides:
        wants_images = _wants_images(said, unsaid=wants_images)
    images = (candidates or call.most_images) if wants_images else 0
    pixels = said.get("pixels")
    video_seconds, video_resolution = 0, None
    if call.is_video:
        each = max((len(value) for value in said.get("instances", ()) if isinstance(value, list)), default=1)
        seconds = _largest(said.get("video_seconds")) or _VIDEO_DEFAULT_SECONDS
        video_seconds = seconds * (candidates or 1) * max(each, 1)
        video_resolution = _resolution(said.get("video_resolution"), pixels)
    bound = 0
    for output in call.outputs:
        bound = max(bound, _largest(said.get(output)) or 0)
    said_tiers = said.get("tier") or said.get("config_tier") or ()
    tiers = [word.lower() for word in said_tiers if isinstance(word, str)]
    tier = None
    if tiers:
        tier = "priority" if "priority" in tiers else tiers[-1]
    return Asked(
        max_output_tokens=bound or None,  # 0 bounds nothing
        candidate_count=candidates or 1,
        # -1, as much as it likes, is no bound: unsaid
        thinking_budget=_largest(said.get("thinking")),
        wants_images=wants_images,
        image_size=_image_size(said.get("image_size"), pixels),
        image_count=images,
        video_seconds=video_seconds,
        video_resolution=video_resolution,
        service_tier=tier,
    )


def _wants_images(said: dict[str, list[Any]], *, unsaid: bool) -> bool:
    formats = said.get("formats")
    if formats is not None and any(isinstance(kind, dict) and kind.get("type") == "image" for kind in formats):
        return True
    modalities = said.get("modalities")
    if modalities is not None:
        lists = [value for value in modalities if isinstance(value, list) and value]
        if lists:
            return any(_is_image(modality) for value in lists for modality in value)
    formats = said.get("config_formats")
    if formats is not None and any(isinstance(kind, dict) and "image" in kind for kind in formats):
        return True
    return unsaid or "image_config" in said


def _is_image(modality: Any) -> bool:
    return modality == 2 or (isinstance(modality, str) and modality.upper() == "IMAGE")


def _largest(values: list[Any] | None) -> int | None:
    if values is None:
        return None
    largest: int | None = None
    for value in values:
        said = count(value, MOST_ASKED)
        if said is not None and (largest is None or said > largest):
            largest = said
    return largest


def _image_size(sizes: list[Any] | None, pixels: list[Any] | None) -> str | None:
    said = [word for size in sizes if (word := _size_word(size)) is not None] if sizes else None
    if said:
        return dearest_size(said)
    sides = _sides(pixels)
    if sides is None:
        return None
    area = sides[0] * sides[1]
    return next((name for most, name in _SIZE_BY_PIXELS if area <= most), "4K")


def _size_word(size: Any) -> str | None:
    if size == 512:
        return "512"
    if not isinstance(size, str) or not size:
        return None
    word = size.upper().removeprefix("IMAGE_SIZE_")
    return _SIZE_WORDS.get(word, word) if word != "UNSPECIFIED" and len(word) < 16 else None


def _resolution(said: list[Any] | None, pixels: list[Any] | None) -> str | None:
    words = [value.lower() for value in said or () if isinstance(value, str) and 0 < len(value) < 16]
    if words:
        return max(words, key=lambda word: _RESOLUTIONS.index(word) if word in _RESOLUTIONS else len(_RESOLUTIONS))
    sides = _sides(pixels)
    if sides is None:
        return None
    shorter = min(sides)
    return next((name for most, name in _LINES if shorter <= most), "4k")


def _sides(pixels: list[Any] | None) -> tuple[int, int] | None:
    """Of an OpenAI call's `size`, such as "1024x1536"."""
    found = _PIXELS.fullmatch(pixels[0]) if pixels and isinstance(pixels[0], str) else None
    return None if found is None else (int(found[1]), int(found[2]))
