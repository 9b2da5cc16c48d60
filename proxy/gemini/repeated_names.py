"""What a body says more than once: of a repeated key a decoder keeps one, and Google may take another.

Parsers disagree about such a body (RFC 8259, section 4): a limit on models that reads the one while Google reads the
other is none. `intent.py` asks where the body names the model, and where it says what a video costs. It is not
compiled: msgspec takes none of its own for a class that mypyc has made.
"""

from typing import Any

import msgspec

from proxy.gemini.paths import bare_model


class _Name:
    """Stands for a value, so that msgspec asks `dec_hook` about each: of a repeated key it would keep the last."""


class _Names(msgspec.Struct):
    model: _Name | None = None
    agent: _Name | None = None


class _Video(msgspec.Struct):
    """What a video costs is said in these."""

    instances: _Name | None = None
    parameters: _Name | None = None
    seconds: _Name | None = None
    size: _Name | None = None
    n: _Name | None = None


def says_twice(skeleton: bytes, body: dict[str, Any]) -> bool:
    """Whether what a video costs is said more than once: Google may take the first, or merge the two."""
    return len(_values(skeleton, _Video)) > sum(body.get(name) is not None for name in _Video.__struct_fields__)


def named_model(skeleton: bytes) -> str | None:
    """The model, or the agent, that a body names. Raises ValueError when it names two: an interaction may have both."""
    named = _values(skeleton, _Names)
    if any(value != named[0] for value in named[1:]):
        raise ValueError("The request names its model more than once.")
    return bare_model(named[0]) if named and isinstance(named[0], str) and named[0] else None


def _values(skeleton: bytes, names: type[_Names | _Video]) -> list[Any]:
    """All that stands at these names, as often as it does, but for null."""
    said: list[Any] = []

    def note(_: type, value: Any) -> _Name:
        said.append(value)
        return _Name()

    msgspec.json.decode(skeleton, type=names, dec_hook=note)
    return said
