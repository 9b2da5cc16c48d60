"""What a request asks for, read from its path and its body's skeleton.

The wire calls `read_intent` when a plugin wants to know. Every spelling that Google takes is read (Gemini
fact 4.3); the tables at the top say which. The token count is an estimate for a reservation that the
answer's own counts replace. It changes nothing and forbids nothing: what it does not know it leaves unsaid.
"""

import re
from functools import cache
from typing import Any

import msgspec

from proxy.exchange import Intent, Operation
from proxy.gemini.paths import bare_model
from proxy.gemini.skeleton import original_bytes

# Operations whose body need not be JSON: multipart forms, a partner model's own format, verbs yet unknown.
_ANY_BODY = frozenset({"audio.transcriptions", "images.edits", "invoke", "rawPredict", "streamRawPredict", "unknown"})
_ALSO_READ = frozenset({"countTokens", "computeTokens"})  # free, but worth knowing the size of

# Where a fact is said: the first path that is there wins. Each name is looked up in camelCase and snake_case.
_CONFIG = "generationConfig"
_MAX_OUTPUT = (
    (_CONFIG, "maxOutputTokens"),
    ("maxOutputTokens",),  # OpenAI's responses
    ("maxCompletionTokens",),
    ("maxTokens",),
)
_CANDIDATES = ((_CONFIG, "candidateCount"), ("n",), ("parameters", "sampleCount"))
_THINKING = (
    (_CONFIG, "thinkingConfig", "thinkingBudget"),
    ("extraBody", "google", "thinkingConfig", "thinkingBudget"),
    ("google", "thinkingConfig", "thinkingBudget"),
)
_IMAGE_SIZE = (
    (_CONFIG, "imageConfig", "imageSize"),
    (_CONFIG, "responseFormat", "image", "imageSize"),
    ("responseFormat", "imageSize"),  # Interactions
    (_CONFIG, "imageSize"),
    ("parameters", "sampleImageSize"),  # Imagen
    ("extraBody", "google", "imageConfig", "imageSize"),
    ("google", "imageConfig", "imageSize"),
)
_MODALITIES = ((_CONFIG, "responseModalities"), ("responseModalities",))
_SERVICE_TIER = (("serviceTier",), (_CONFIG, "serviceTier"))

_SIZE_WORDS = {"FIVE_TWELVE": "512", "ONE_K": "1K", "TWO_K": "2K", "FOUR_K": "4K", "0.5K": "512"}
_PIXELS = re.compile(r"(\d{2,5})x(\d{2,5})")
# Upper bounds in pixels, with room for wide formats: 2K at 16:9 is 2752 x 1536 (Gemini fact 7).
_SIZE_BY_PIXELS = ((600_000, "512"), (2_100_000, "1K"), (8_500_000, "2K"))

# Models that answer with an image unless told not to.
_IMAGE_MODEL = re.compile(r"-image\b|nano-banana|^imagen")
_IMAGEN_DEFAULT_COUNT = 4

# The most that Google documents for an image in a prompt: measured were 258 for 768 pixels, documented are
# 560 and 1120 by model (Gemini fact 4.3). A reservation should err upwards.
_IMAGE_TOKENS = 1120
_BYTES_PER_TEXT_TOKEN = 4
# Sound at 32 tokens a second and 16 KB, film at 300 a second and 250 KB, a page at 258 and 100 KB: between
# 400 and 900 bytes a token. Coarse, and the lower end of it.
_BYTES_PER_MEDIA_TOKEN = 400
_MAX_COUNT = 1 << 31  # counts are int32 at Google

# Opaque to the model.
_NOT_TEXT = frozenset({"thoughtSignature", "thought_signature", "continuationToken", "previous_interaction_id"})


def read_intent(operation: Operation, target: str, skeleton: bytes, *, truncated_from: int | None = None) -> Intent:
    """The intent of a request. `skeleton` is its body, or the skeleton of its body.

    `truncated_from`: the skeleton is a beginning only, of a body of so many bytes; what is left is the path
    and an estimate. Raises ValueError, in Google's words, when the operation needs a JSON object and the
    body is not one, or when only the body names the model and it cannot be read.
    """
    known = Intent(model=operation.model, stream=operation.streams)
    if operation.api == "live" or not (operation.generates or operation.model_in_body or operation.name in _ALSO_READ):
        return known
    if truncated_from is not None:
        if operation.model_in_body:
            raise ValueError("Request payload has too many parts to find its model.")
        return msgspec.structs.replace(known, input_tokens=truncated_from // _BYTES_PER_TEXT_TOKEN)
    try:
        body = _decode(skeleton)
    except ValueError:
        if operation.name in _ANY_BODY:
            return msgspec.structs.replace(known, input_tokens=len(skeleton) // _BYTES_PER_TEXT_TOKEN)
        raise
    return _read(operation, body)


def _decode(skeleton: bytes) -> dict[str, Any]:
    try:
        body = msgspec.json.decode(skeleton)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        what = str(error).partition(" (byte")[0].removeprefix("JSON is malformed: ").rstrip(".")
        raise ValueError(f"Invalid JSON payload received. {what[:1].upper()}{what[1:]}.") from None
    except RecursionError:
        raise ValueError("Invalid JSON payload received. Message too deep.") from None
    if not isinstance(body, dict):
        raise ValueError('Invalid JSON payload received. Unknown name "": Root element must be a message.')  # noqa: TRY004
    return body


def _read(operation: Operation, body: dict[str, Any]) -> Intent:
    model = operation.model
    if operation.model_in_body:
        named = body.get("model") or body.get("agent")
        model = bare_model(named) if isinstance(named, str) else None
    size = _image_size(_first(body, _IMAGE_SIZE), body.get("size"))
    candidates = _count(_first(body, _CANDIDATES)) or 1
    wants_images = _wants_images(operation, model, body)
    images = 0
    if wants_images:
        unsaid = operation.name == "predict" and _first(body, _CANDIDATES) is None
        images = _IMAGEN_DEFAULT_COUNT if unsaid else candidates
    tokens, input_images = _estimate(body)
    tier = _first(body, _SERVICE_TIER)
    return Intent(
        model=model,
        stream=operation.streams or body.get("stream") is True,
        input_tokens=tokens,
        input_images=input_images,
        max_output_tokens=_count(_first(body, _MAX_OUTPUT)),
        candidate_count=candidates,
        thinking_budget=_count(_first(body, _THINKING)),  # -1, as much as it likes, is no bound: unsaid
        wants_images=wants_images,
        image_size=size,
        image_count=images,
        service_tier=tier.lower() if isinstance(tier, str) else None,
    )


def _wants_images(operation: Operation, model: str | None, body: dict[str, Any]) -> bool:
    if operation.name in {"images.generations", "images.edits"}:
        return True
    if operation.name == "predict":
        return bool(model and model.startswith("imagen"))
    formats = _get(body, "responseFormat")
    for kind in formats if isinstance(formats, list) else [formats]:
        if isinstance(kind, dict) and kind.get("type") == "image":
            return True
    modalities = _first(body, _MODALITIES)
    if isinstance(modalities, list) and modalities:
        return any(
            modality == 2 or (isinstance(modality, str) and modality.upper() == "IMAGE") for modality in modalities
        )
    config = _get(body, _CONFIG)
    asked = isinstance(config, dict) and _get(config, "imageConfig") is not None
    formats = _get(config, "responseFormat") if isinstance(config, dict) else None
    asked = asked or any(isinstance(kind, dict) and "image" in kind for kind in _as_list(formats))
    generates_content = not operation.name.lower().startswith(("embed", "batchembed", "asyncbatchembed", "count"))
    return generates_content and (asked or bool(model and _IMAGE_MODEL.search(model)))


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _get(holder: dict[str, Any], name: str) -> Any:
    """A field in either of the spellings that Google's JSON takes: camelCase, else snake_case."""
    value = holder.get(name)
    return holder.get(_snake(name)) if value is None else value


@cache  # of the names in the tables above and no others
def _snake(name: str) -> str:
    return re.sub("[A-Z]", lambda letter: "_" + letter[0].lower(), name)


def _first(body: dict[str, Any], paths: tuple[tuple[str, ...], ...]) -> Any:
    """The value at the first of the paths that leads to one. A list on the way is searched (Gemini fact 4.3)."""
    for path in paths:
        holders: list[Any] = [body]
        for name in path:
            holders = [_get(holder, name) for holder in holders if isinstance(holder, dict)]
            if name == "responseFormat":
                holders = [item for holder in holders for item in _as_list(holder)]
        for value in holders:
            if value is not None:
                return value
    return None


def _count(value: Any) -> int | None:
    """A count as proto's JSON may hold it: a number, a whole float or a text of digits."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 12:
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MAX_COUNT else None


def _image_size(size: Any, pixels: Any) -> str | None:
    if size == 512:
        return "512"
    if isinstance(size, str) and size:
        word = size.upper().removeprefix("IMAGE_SIZE_")
        return _SIZE_WORDS.get(word, word) if word != "UNSPECIFIED" and len(word) < 16 else None
    found = _PIXELS.fullmatch(pixels) if isinstance(pixels, str) else None
    if found is None:
        return None
    area = int(found[1]) * int(found[2])
    return next((name for most, name in _SIZE_BY_PIXELS if area <= most), "4K")


def _estimate(body: dict[str, Any]) -> tuple[int, int]:
    """Tokens that go in, and images among it. A stack, not recursion: depth is the sender's choice."""
    text = media = images = 0
    stack: list[Any] = [body]
    while stack:
        value = stack.pop()
        if isinstance(value, str):
            text += original_bytes(value)
        elif isinstance(value, list):
            stack += value
        elif isinstance(value, dict):
            kind, data = _blob(value)
            if kind is None:
                stack += [item for name, item in value.items() if name not in _NOT_TEXT]
            elif kind == "image":
                images += 1
            elif data is None:
                media += _IMAGE_TOKENS * _BYTES_PER_MEDIA_TOKEN  # of a stored file only the name is known
            elif kind == "text":
                text += original_bytes(data) * 3 // 4  # base64
            else:
                media += original_bytes(data) * 3 // 4
    return text // _BYTES_PER_TEXT_TOKEN + media // _BYTES_PER_MEDIA_TOKEN + images * _IMAGE_TOKENS, images


def _blob(value: dict[str, Any]) -> tuple[str | None, str | None]:
    """The kind of a blob and its data if they are inline; (None, None) for what is no blob.

    Native parts and Interactions give a MIME type, OpenAI an `image_url` or a `format`.
    """
    if "image_url" in value or "bytesBase64Encoded" in value or "bytes_base64_encoded" in value:
        return "image", None
    data = value.get("data")
    stored = value.get("fileUri") or value.get("file_uri") or value.get("uri")
    mime = value.get("mimeType") or value.get("mime_type")
    kind = mime.lower().partition("/")[0] if isinstance(mime, str) else value.get("type") or value.get("format")
    if not isinstance(kind, str) or not isinstance(data or stored, str):
        return None, None
    return kind, data if isinstance(data, str) else None
