"""How large a prompt is, in tokens and images, from the body's skeleton: for reservations only.

`intent.py` asks once a request. A guess in round numbers: nobody but the model's own tokenizer knows better, and
what the answer counts replaces it. It validates nothing.
"""

from typing import Any, Final, final

from proxy.gemini.skeleton import original_bytes

# The most that Google documents for an image in a prompt: measured were 258 for 768 pixels, documented are
# 560 and 1120 by model (Gemini fact 4.3). A reservation should err upwards.
_IMAGE_TOKENS: Final = 1120
_BYTES_PER_TEXT_TOKEN: Final = 4
# Sound at 32 tokens a second and 16 KB, film at 300 a second and 250 KB, a page at 258 and 100 KB: between
# 400 and 900 bytes a token. Coarse, and the lower end of it.
_BYTES_PER_MEDIA_TOKEN: Final = 400

_SAYS_IMAGE: Final = frozenset({"image_url", "bytesBase64Encoded", "bytes_base64_encoded"})
_OF_A_BLOB: Final = _SAYS_IMAGE | {"data", "fileUri", "file_uri", "uri"}
# Opaque to the model.
_NOT_TEXT: Final = frozenset({"thoughtSignature", "thought_signature", "continuationToken", "previous_interaction_id"})
_SPECIAL: Final = _OF_A_BLOB | _NOT_TEXT
_DEEPEST: Final = 50  # levels; a prompt has eight


def tokens_of_text(size_bytes: int) -> int:
    return size_bytes // _BYTES_PER_TEXT_TOKEN


def prompt_size(body: dict[str, Any]) -> tuple[int, int]:
    """Tokens that go in, and images among it."""
    prompt = _Prompt()
    left = prompt.left
    left.append(body)
    while left:
        prompt.read(left.pop(), 0)
    images = prompt.images
    return tokens_of_text(prompt.text) + prompt.media // _BYTES_PER_MEDIA_TOKEN + images * _IMAGE_TOKENS, images


@final
class _Prompt:
    """What was found so far.

    Attributes:
        text, media: bytes.
        left: what lies too deep to be read in one go: depth is the sender's choice.
    """

    __slots__ = ("images", "left", "media", "text")

    def __init__(self) -> None:
        self.text = 0
        self.media = 0
        self.images = 0
        self.left: list[Any] = []

    def read(self, value: Any, depth: int) -> None:
        if isinstance(value, str):
            self.text += original_bytes(value)
        elif isinstance(value, list):
            self._read_items(value, depth + 1)
        elif isinstance(value, dict):
            self._read_fields(value, depth + 1)

    def _read_items(self, items: list[Any], depth: int) -> None:
        if depth > _DEEPEST:
            self.left += items
            return
        for item in items:
            self.read(item, depth)

    def _read_fields(self, fields: dict[str, Any], depth: int) -> None:
        if depth > _DEEPEST:
            self.left.append(fields)
            return
        before = self.text, self.media, self.images, len(self.left)
        looked = False
        for name, value in fields.items():
            if name in _SPECIAL:
                if name in _NOT_TEXT:
                    continue
                if not looked:
                    looked = True
                    kind, data = _blob(fields)
                    if kind is not None:  # and nothing else: what was read of it, by its names' order, is undone
                        self.text, self.media, self.images, left = before
                        del self.left[left:]
                        self._add_blob(kind, data)
                        return
            self.read(value, depth)

    def _add_blob(self, kind: str, data: str | None) -> None:
        if kind == "image":
            self.images += 1
        elif data is None:
            self.media += _IMAGE_TOKENS * _BYTES_PER_MEDIA_TOKEN  # of a stored file only the name is known
        elif kind == "text":
            self.text += original_bytes(data) * 3 // 4  # base64
        else:
            self.media += original_bytes(data) * 3 // 4


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
