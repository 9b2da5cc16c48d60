"""How large a prompt is, in tokens and images, from the body's skeleton: for reservations only.

`intent.py` asks once a request. A guess in round numbers: nobody but the model's own tokenizer knows better, and
what the answer counts replaces it. It validates nothing.
"""

from typing import Any

from proxy.gemini.skeleton import original_bytes

# The most that Google documents for an image in a prompt: measured were 258 for 768 pixels, documented are
# 560 and 1120 by model (Gemini fact 4.3). A reservation should err upwards.
_IMAGE_TOKENS = 1120
_BYTES_PER_TEXT_TOKEN = 4
# Sound at 32 tokens a second and 16 KB, film at 300 a second and 250 KB, a page at 258 and 100 KB: between
# 400 and 900 bytes a token. Coarse, and the lower end of it.
_BYTES_PER_MEDIA_TOKEN = 400

_SAYS_IMAGE = frozenset({"image_url", "bytesBase64Encoded", "bytes_base64_encoded"})
_HOLDS = frozenset({"data", "fileUri", "file_uri", "uri"})
_OF_A_BLOB = _SAYS_IMAGE | _HOLDS

# Opaque to the model.
_NOT_TEXT = frozenset({"thoughtSignature", "thought_signature", "continuationToken", "previous_interaction_id"})


def tokens_of_text(size_bytes: int) -> int:
    return size_bytes // _BYTES_PER_TEXT_TOKEN


def prompt_size(body: dict[str, Any]) -> tuple[int, int]:
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
            kind, data = (None, None) if _OF_A_BLOB.isdisjoint(value) else _blob(value)
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
    return tokens_of_text(text) + media // _BYTES_PER_MEDIA_TOKEN + images * _IMAGE_TOKENS, images


def _blob(value: dict[str, Any]) -> tuple[str | None, str | None]:
    """The kind of a blob and its data if they are inline; (None, None) for what is no blob.

    Native parts and Interactions give a MIME type, OpenAI an `image_url` or a `format`.
    """
    if not _SAYS_IMAGE.isdisjoint(value):
        return "image", None
    data = value.get("data")
    stored = value.get("fileUri") or value.get("file_uri") or value.get("uri")
    mime = value.get("mimeType") or value.get("mime_type")
    kind = mime.lower().partition("/")[0] if isinstance(mime, str) else value.get("type") or value.get("format")
    if not isinstance(kind, str) or not isinstance(data or stored, str):
        return None, None
    return kind, data if isinstance(data, str) else None
