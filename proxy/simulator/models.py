"""The models the simulator knows, and what differs between them: methods, thinking, tokens of an image.

`generate.py` and `usage.py` read a Model; `catalogue.py` answers the list and get calls with them.
Refuses to guess: a name outside the list is Google's 404, unless the simulator was told to accept its pattern.
"""

from collections.abc import Collection, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Literal

import msgspec

Kind = Literal["text", "image", "embedding", "imagen", "other"]

_METHODS: dict[Kind, tuple[str, ...]] = {
    "text": ("generateContent", "streamGenerateContent", "countTokens", "batchGenerateContent"),
    "image": ("generateContent", "streamGenerateContent", "countTokens", "batchGenerateContent"),
    "embedding": ("embedContent", "batchEmbedContents", "countTokens", "countTextTokens"),
    "imagen": ("predict",),
    "other": (),
}
# Tokens of one output image by the size asked (Gemini fact 4.3).
_PRO_IMAGE = {"1K": 1120, "2K": 1120, "4K": 2000}
_FLASH_IMAGE = {"512": 747, "1K": 1120, "2K": 1680, "4K": 2520}


class Model(msgspec.Struct, frozen=True):
    """
    Attributes:
        thoughts: thinking tokens of one answer; 0 where none are reported.
        hidden_thoughts: thinking that Google folds into candidatesTokenCount, as flash-image does (Gemini fact 4.1).
        image_tokens: by size; empty for a model that draws nothing.
        input_image_tokens: for each image in the prompt.
        signed: answers carry a thoughtSignature.
    """

    name: str
    kind: Kind = "text"
    thoughts: int = 0
    hidden_thoughts: int = 0
    image_tokens: Mapping[str, int] = {}
    input_image_tokens: int = 258
    signed: bool = False

    @property
    def methods(self) -> tuple[str, ...]:
        return _METHODS[self.kind]


_KNOWN = (
    Model("gemini-3-pro-image", "image", 174, 0, _PRO_IMAGE, 560, signed=True),
    Model("gemini-3-pro-image-preview", "image", 174, 0, _PRO_IMAGE, 560, signed=True),
    Model("gemini-nano-banana-2.1", "image", 483, 0, {"1K": 1120, "2K": 1680, "4K": 3767}, 1120, signed=True),
    Model("gemini-3.1-flash-image", "image", 0, 330, _FLASH_IMAGE, 1120, signed=True),
    Model("gemini-3.1-flash-image-preview", "image", 0, 330, _FLASH_IMAGE, 1120, signed=True),
    Model("gemini-3.1-flash-lite-image", "image", 0, 330, {"1K": 1120}, 1120, signed=True),
    Model("gemini-2.5-flash-image", "image", 0, 0, {"1K": 1290}),
    Model("gemini-4-argon", thoughts=128, signed=True),
    Model("gemini-3.8-flash", thoughts=64, signed=True),
    Model("gemini-3.7-flash", thoughts=64, signed=True),
    Model("gemini-3.6-flash", thoughts=64, signed=True),
    Model("gemini-3.5-flash", thoughts=64, signed=True),
    Model("gemini-3.5-flash-lite"),
    Model("gemini-3.1-pro-preview", thoughts=128, signed=True),
    Model("gemini-3.1-flash-lite"),
    Model("gemini-3-flash-preview", thoughts=64, signed=True),
    Model("gemini-2.5-pro", thoughts=128),
    Model("gemini-2.5-flash", thoughts=64),
    Model("gemini-2.5-flash-lite"),
    Model("gemini-embedding-2", "embedding"),
    Model("gemini-embedding-001", "embedding"),
    Model("imagen-4.0-fast-generate-001", "imagen"),
    Model("imagen-4.0-generate-001", "imagen"),
    Model("imagen-4.0-ultra-generate-001", "imagen"),
    *(
        Model(name, "other")
        for name in (
            "gemini-omni-1.1-flash",
            "gemini-3.8-live",
            "gemini-3.8-flash-tts",
            "gemini-2.5-flash-preview-tts",
            "veo-3.1-generate-preview",
            "veo-3.1-fast-generate-preview",
        )
    ),
)


class Models:
    """The known models and, for tests with names of their own, patterns that are accepted as well."""

    def __init__(self, patterns: Collection[str] = ()) -> None:
        self._known = {model.name: model for model in _KNOWN}
        self._patterns = tuple(patterns)

    def __iter__(self) -> Iterator[Model]:
        return iter(self._known.values())

    def find(self, name: str) -> Model | None:
        """A name that only a pattern accepts is treated by what it says: an image model, an embedding, or text."""
        if name in self._known:
            return self._known[name]
        if not any(fnmatchcase(name, pattern) for pattern in self._patterns):
            return None
        if "image" in name:
            return Model(name, "image", image_tokens=_FLASH_IMAGE)
        return Model(name, "embedding" if "embedding" in name else "imagen" if name.startswith("imagen") else "text")
