"""Which field of a body asks for what: every spelling that Google takes (Gemini fact 4.3), read into `Asked`.

`intent.py` calls `read_fields` with a decoded skeleton. To teach a new spelling, add it to a table. Where a body
says a thing in several spellings, which one Google takes is not known: the dearest counts. What it does not know
stays unsaid.
"""

import re
from functools import cache
from typing import Any

import msgspec

from proxy.gemini.scalars import count
from proxy.operation import Operation

Path = tuple[str, ...]

# Where a fact is said. Each name is looked up in camelCase and in snake_case.
_CONFIG = "generationConfig"
_NATIVE_OUTPUT: tuple[Path, ...] = ((_CONFIG, "maxOutputTokens"),)
_CHAT_OUTPUT: tuple[Path, ...] = (("maxCompletionTokens",), ("maxTokens",))
_COMPATIBLE_OUTPUT: tuple[Path, ...] = (*_CHAT_OUTPUT, ("maxOutputTokens",))
_PREDICT_OUTPUT: tuple[Path, ...] = (("parameters", "maxOutputTokens"),)
# Only where the surface reads it: a native call takes no notice of an OpenAI field, nor of a bound said in one.
_OUTPUT_BY_NAME = {
    **dict.fromkeys(("rawPredict", "streamRawPredict", "invoke"), _COMPATIBLE_OUTPUT),  # partners' own formats
    **dict.fromkeys(("chat.completions", "completions"), _CHAT_OUTPUT),
    **dict.fromkeys(("predict", "directPredict", "serverStreamingPredict"), _PREDICT_OUTPUT),
    "generateText": (("maxOutputTokens",),),
    "unknown": (*_NATIVE_OUTPUT, *_COMPATIBLE_OUTPUT, *_PREDICT_OUTPUT),
}
_CANDIDATES: tuple[Path, ...] = (
    *((_CONFIG, "candidateCount"), ("n",)),
    *(("parameters", "sampleCount"), ("parameters", "numberOfVideos")),
)
_THINKING: tuple[Path, ...] = (
    (_CONFIG, "thinkingConfig", "thinkingBudget"),
    ("extraBody", "google", "thinkingConfig", "thinkingBudget"),
    ("google", "thinkingConfig", "thinkingBudget"),
)
_IMAGE_SIZE: tuple[Path, ...] = (
    (_CONFIG, "imageConfig", "imageSize"),
    (_CONFIG, "responseFormat", "image", "imageSize"),
    ("responseFormat", "imageSize"),  # Interactions
    (_CONFIG, "imageSize"),
    ("parameters", "sampleImageSize"),  # Imagen
    ("extraBody", "google", "imageConfig", "imageSize"),
    ("google", "imageConfig", "imageSize"),
)
_MODALITIES: tuple[Path, ...] = ((_CONFIG, "responseModalities"), ("responseModalities",))
_FORMATS: tuple[Path, ...] = (("responseFormat",),)
_CONFIG_FORMATS: tuple[Path, ...] = ((_CONFIG, "responseFormat"),)
_IMAGE_CONFIG: tuple[Path, ...] = ((_CONFIG, "imageConfig"),)
_SERVICE_TIER: tuple[Path, ...] = (("serviceTier",), (_CONFIG, "serviceTier"))

_VIDEO_SECONDS: tuple[Path, ...] = (("parameters", "durationSeconds"), ("seconds",))
_VIDEO_RESOLUTION: tuple[Path, ...] = (("parameters", "resolution"),)

_SIZE_WORDS = {"FIVE_TWELVE": "512", "ONE_K": "1K", "TWO_K": "2K", "FOUR_K": "4K", "0.5K": "512"}
_PIXELS = re.compile(r"(\d{2,5})x(\d{2,5})")
# Upper bounds in pixels, with room for wide formats: 2K at 16:9 is 2752 x 1536 (Gemini fact 7).
_SIZE_BY_PIXELS = ((600_000, "512"), (2_100_000, "1K"), (8_500_000, "2K"))

_SIZES = ("512", "1K", "2K", "4K")  # by price; what is none of them is taken to be dearer

# Models that answer with an image unless told not to.
_IMAGE_MODEL = re.compile(r"-image\b|nano-banana|^imagen")
_IMAGEN_DEFAULT_COUNT = 4
VIDEO_CALLS = frozenset({"predictLongRunning", "videos"})
_VIDEO_DEFAULT_SECONDS = 8  # Veo's own, and the longest that one call makes
_MOST_VIDEOS = 4  # that one call makes
_RESOLUTIONS = ("720p", "1080p", "4k")  # by price
_LINES = ((720, "720p"), (1080, "1080p"))  # of the shorter side; beyond it is 4k
_MAX_COUNT = 1 << 31  # counts are int32 at Google


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What one body asks for; the fields are `Intent`'s."""

    max_output_tokens: int | None
    candidate_count: int
    thinking_budget: int | None
    wants_images: bool
    image_size: str | None
    image_count: int
    video_seconds: int
    video_resolution: str | None
    service_tier: str | None


def read_fields(operation: Operation, model: str | None, body: dict[str, Any]) -> Asked:
    said = _largest(body, _CANDIDATES)
    wants_images = _wants_images(operation, model, body)
    images = 0
    if wants_images:
        images = said or (_IMAGEN_DEFAULT_COUNT if operation.name == "predict" else 1)
    video_seconds = 0
    if operation.name in VIDEO_CALLS:
        each = max((len(value) for value in values_at(body, ("instances",)) if isinstance(value, list)), default=1)
        video_seconds = (_largest(body, _VIDEO_SECONDS) or _VIDEO_DEFAULT_SECONDS) * (said or 1) * max(each, 1)
    tier = next(iter(_values(body, _SERVICE_TIER)), None)
    return Asked(
        max_output_tokens=_largest(body, _max_output(operation)) or None,  # 0 bounds nothing
        candidate_count=said or 1,
        # -1, as much as it likes, is no bound: unsaid
        thinking_budget=_largest(body, _THINKING),
        wants_images=wants_images,
        image_size=_image_size(_values(body, _IMAGE_SIZE), body.get("size")),
        image_count=images,
        video_seconds=video_seconds,
        video_resolution=_resolution(_values(body, _VIDEO_RESOLUTION), body.get("size")) if video_seconds else None,
        service_tier=tier.lower() if isinstance(tier, str) else None,
    )


def read_name(operation: Operation, model: str | None) -> Asked:
    """What is asked for as far as it is known where the body could not be read.

    Only its body says what a video costs: unread, it is the dearest that a call can ask for.
    """
    asked = read_fields(operation, model, {})
    if not asked.video_seconds:
        return asked
    seconds = _VIDEO_DEFAULT_SECONDS * _MOST_VIDEOS
    return msgspec.structs.replace(asked, video_seconds=seconds, video_resolution=_RESOLUTIONS[-1])


def dearest_size(sizes: list[str]) -> str | None:
    return max(sizes, key=lambda size: _SIZES.index(size) if size in _SIZES else len(_SIZES), default=None)


def values_at(body: dict[str, Any], path: Path) -> list[Any]:
    """All that stands there, in either spelling of each name."""
    found: list[Any] = [body]
    for name in path:
        spellings = _spellings(name)
        found = [
            value[spelling] for value in found if isinstance(value, dict) for spelling in spellings if spelling in value
        ]
        if not found:
            break
        if name == "responseFormat":  # one, or a list of them
            found = [item for value in found for item in as_list(value)]
    return found


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _values(body: dict[str, Any], paths: tuple[Path, ...]) -> list[Any]:
    if _entrances(paths).isdisjoint(body):  # nearly always: most calls say nothing but what they ask the model
        return []
    return [value for path in paths for value in values_at(body, path) if value is not None]


@cache  # of the tables above and no others
def _entrances(paths: tuple[Path, ...]) -> frozenset[str]:
    """The names at a body's top that these paths begin with."""
    return frozenset(spelling for path in paths for spelling in _spellings(path[0]))


def _max_output(operation: Operation) -> tuple[Path, ...]:
    by_api = _COMPATIBLE_OUTPUT if operation.api == "openai" else _NATIVE_OUTPUT
    return _OUTPUT_BY_NAME.get(operation.name, by_api)


def _wants_images(operation: Operation, model: str | None, body: dict[str, Any]) -> bool:
    if operation.name in {"images.generations", "images.edits"}:
        return True
    if operation.name == "predict":
        return bool(model and model.startswith("imagen"))
    if operation.name.lower().startswith(("embed", "batchembed", "asyncbatchembed", "count", "compute")):
        return False
    formats = _values(body, _FORMATS)
    if any(isinstance(kind, dict) and kind.get("type") == "image" for kind in formats):
        return True
    modalities = [value for value in _values(body, _MODALITIES) if isinstance(value, list) and value]
    if modalities:
        return any(_is_image(modality) for value in modalities for modality in value)
    formats = _values(body, _CONFIG_FORMATS)
    asked = bool(_values(body, _IMAGE_CONFIG))
    asked = asked or any(isinstance(kind, dict) and "image" in kind for kind in formats)
    return asked or bool(model and _IMAGE_MODEL.search(model))


def _is_image(modality: Any) -> bool:
    return modality == 2 or (isinstance(modality, str) and modality.upper() == "IMAGE")


@cache  # of the names in the tables above and no others
def _spellings(name: str) -> tuple[str, ...]:
    snake = re.sub("[A-Z]", lambda letter: "_" + letter[0].lower(), name)
    return (name,) if snake == name else (name, snake)


def _largest(body: dict[str, Any], paths: tuple[Path, ...]) -> int | None:
    counts = [count(value, _MAX_COUNT) for value in _values(body, paths)]
    return max((said for said in counts if said is not None), default=None)


def _image_size(sizes: list[Any], pixels: Any) -> str | None:
    said = [word for size in sizes if (word := _size_word(size)) is not None]
    if said:
        return dearest_size(said)
    found = _PIXELS.fullmatch(pixels) if isinstance(pixels, str) else None
    if found is None:
        return None
    area = int(found[1]) * int(found[2])
    return next((name for most, name in _SIZE_BY_PIXELS if area <= most), "4K")


def _size_word(size: Any) -> str | None:
    if size == 512:
        return "512"
    if not isinstance(size, str) or not size:
        return None
    word = size.upper().removeprefix("IMAGE_SIZE_")
    return _SIZE_WORDS.get(word, word) if word != "UNSPECIFIED" and len(word) < 16 else None


def _resolution(said: list[Any], pixels: Any) -> str | None:
    words = [value.lower() for value in said if isinstance(value, str) and 0 < len(value) < 16]
    if words:
        return max(words, key=lambda word: _RESOLUTIONS.index(word) if word in _RESOLUTIONS else len(_RESOLUTIONS))
    found = _PIXELS.fullmatch(pixels) if isinstance(pixels, str) else None
    if found is None:
        return None
    shorter = min(int(found[1]), int(found[2]))
    return next((name for most, name in _LINES if shorter <= most), "4k")
