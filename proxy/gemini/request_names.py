"""Where a body says what it asks for: every name that Google takes it by (Gemini fact 4.3), and a walk that finds them.

`request_fields.py` asks `SAID` for the values of each fact, and decides what they mean. To teach a new spelling, add a
path to a fact; each name is found in camelCase and in snake_case. Here nothing is read: values are handed out as they
are, but for null, which says nothing.
"""

import re
from typing import Any, Final, final

Path = tuple[str, ...]

_CONFIG = "generationConfig"
_GOOGLE = ("google",), ("extraBody", "google")  # Google's own fields in an OpenAI call
_FORMAT = "responseFormat"  # one, or a list of them

_FACTS: dict[str, tuple[Path, ...]] = {
    # Bounds of the output are apart by the surface that reads them.
    "output": ((_CONFIG, "maxOutputTokens"),),
    "chat_output": (("maxCompletionTokens",), ("maxTokens",)),
    "bare_output": (("maxOutputTokens",),),
    "predict_output": (("parameters", "maxOutputTokens"),),
    "candidates": (
        *((_CONFIG, "candidateCount"), ("n",)),
        *(("parameters", "sampleCount"), ("parameters", "numberOfVideos")),
    ),
    "thinking": (
        (_CONFIG, "thinkingConfig", "thinkingBudget"),
        *((*google, "thinkingConfig", "thinkingBudget") for google in _GOOGLE),
    ),
    "image_size": (
        (_CONFIG, "imageConfig", "imageSize"),
        (_CONFIG, _FORMAT, "image", "imageSize"),
        (_FORMAT, "imageSize"),  # Interactions
        (_CONFIG, "imageSize"),
        ("parameters", "sampleImageSize"),  # Imagen
        *((*google, "imageConfig", "imageSize") for google in _GOOGLE),
    ),
    "pixels": (("size",),),
    "modalities": ((_CONFIG, "responseModalities"), ("responseModalities",)),
    "formats": ((_FORMAT,),),
    "config_formats": ((_CONFIG, _FORMAT),),
    "image_config": ((_CONFIG, "imageConfig"),),
    "tier": (("serviceTier",),),
    "config_tier": ((_CONFIG, "serviceTier"),),
    "instances": (("instances",),),
    "video_seconds": (("parameters", "durationSeconds"), ("seconds",)),
    "video_resolution": (("parameters", "resolution"),),
}


@final
class _Name:
    """What a name means where it stands."""

    __slots__ = ("below", "facts", "is_list")

    def __init__(self, *, is_list: bool) -> None:
        self.facts: list[str] = []  # that its value says
        self.below: dict[str, _Name] = {}
        self.is_list = is_list  # each item says it


@final
class Names:
    """Facts and the paths by which they are said, as a tree: a body is gone through once for all of them."""

    __slots__ = ("_top",)

    def __init__(self, facts: dict[str, tuple[Path, ...]]) -> None:
        self._top: dict[str, _Name] = {}
        for fact, paths in facts.items():
            for path in paths:
                _at(self._top, path).facts.append(fact)

    def said(self, body: dict[str, Any]) -> dict[str, list[Any]]:
        """The values of each fact that the body says; mostly none."""
        said: dict[str, list[Any]] = {}
        _gather(body, self._top, said)
        return said


def _at(names: dict[str, _Name], path: Path) -> _Name:
    """The name at a path's end, made where there is none."""
    name, *below = path
    known = names.get(name)
    if known is None:
        known = names[name] = names[_snake(name)] = _Name(is_list=name == _FORMAT)
    return _at(known.below, tuple(below)) if below else known


def _snake(name: str) -> str:
    return re.sub("[A-Z]", lambda letter: "_" + letter[0].lower(), name)


def _gather(value: dict[str, Any], names: dict[str, _Name], said: dict[str, list[Any]]) -> None:
    """No deeper than the paths are long."""
    for name, inner in value.items():
        known = names.get(name)
        if known is None:
            continue
        if known.is_list and isinstance(inner, list):
            for item in inner:
                _take(item, known, said)
        else:
            _take(inner, known, said)


def _take(value: Any, known: _Name, said: dict[str, list[Any]]) -> None:
    if value is None:
        return
    for fact in known.facts:
        values = said.get(fact)
        if values is None:
            said[fact] = [value]
        else:
            values.append(value)
    if isinstance(value, dict):
        _gather(value, known.below, said)


SAID: Final = Names(_FACTS)
