"""One request as the simulator reads it: a path of Google's taken apart, a body decoded, a caller's credential.

The server builds a Call for every request that is not a control call; every room that answers reads it.
Field names are turned into camelCase once, here, because Google takes both spellings (Gemini fact 4.3).
Refuses a body that is not a JSON object; judges nothing else.
"""

import gzip
import re
import zlib
from collections.abc import Mapping
from functools import cached_property
from typing import Any, TypeVar, cast
from urllib.parse import parse_qsl, unquote

import msgspec
from multidict import CIMultiDict, CIMultiDictProxy

from proxy.simulator.errors import invalid_argument

Asked = TypeVar("Asked")
_VERSION = re.compile(r"v\d+(?:(?:alpha|beta)\d*)?")
_WORD_START = re.compile(r"_([a-z0-9])")
_MODEL_FOLDERS = ("models", "tunedModels", "dynamic", "endpoints")
# Keys below these belong to the caller and are not field names of Google's.
_FREE_FORM = frozenset({"args", "response", "labels", "properties", "responseJsonSchema", "parametersJsonSchema"})


class Path(msgspec.Struct, frozen=True):
    """`/upload/v1beta/models/m:verb` in parts. `segments` start after the version, the verb cut off."""

    version: str
    upload: bool
    segments: tuple[str, ...]
    verb: str

    @property
    def resource(self) -> str:
        return "/".join(self.segments)

    @property
    def vertex(self) -> bool:
        return bool(self.segments) and self.segments[0] in {"projects", "publishers", "endpoints"}

    @property
    def tail(self) -> tuple[str, ...]:
        """The segments after `projects/{p}/locations/{l}`, which only say whose and where."""
        return self.segments[4:] if self.segments[:1] == ("projects",) else self.segments

    @property
    def model(self) -> str:
        for folder, name in zip(self.segments, self.segments[1:], strict=False):
            if folder in _MODEL_FOLDERS:
                return name
        return ""


def read_path(target: str) -> Path:
    """The last segment is split at its last colon; doubled slashes are one (Gemini facts 1.1 and 1.4)."""
    raw_path = target.partition("?")[0]
    if "://" in raw_path:
        raw_path = "/" + raw_path.split("://", 1)[1].partition("/")[2]
    segments = [unquote(segment) for segment in raw_path.split("/") if segment]
    upload = segments[:1] in (["upload"], ["download"])
    if upload:
        segments = segments[1:]
    version = segments.pop(0) if segments and _VERSION.fullmatch(segments[0]) else ""
    verb = ""
    if segments and ":" in segments[-1]:
        segments[-1], _, verb = segments[-1].rpartition(":")
    return Path(version, upload, tuple(segments), verb)


class Call:
    """What the caller asks: method, path, query, headers, body and, once known, whose account it is."""

    def __init__(
        self, method: str, target: str, headers: CIMultiDictProxy[str] | CIMultiDict[str], body: bytes, base_url: str
    ) -> None:
        self.method = method
        self.target = target
        self.headers = headers
        self.body = body
        self.base_url = base_url
        self.path = read_path(target)
        self.query: Mapping[str, str] = dict(parse_qsl(target.partition("?")[2], keep_blank_values=True))
        self.account: str | None = None

    @property
    def openai(self) -> bool:
        return "openai" in self.path.segments[:1] or self.path.segments[4:6] == ("endpoints", "openapi")

    def switch(self, name: str) -> str | None:
        """The value of a header `x-sim-<name>`, with which a caller picks what the simulator does."""
        return self.headers.get(f"x-sim-{name}")

    def number(self, name: str, default: int) -> int:
        """A switch that must be a whole number, zero or more."""
        text = self.switch(name)
        if text is None:
            return default
        if not (text.isascii() and text.isdigit()):
            raise invalid_argument(f'x-sim-{name} takes a whole number, found "{text}"')
        return int(text)

    @cached_property
    def document(self) -> dict[str, Any]:
        """The body as a JSON object, its field names in camelCase."""
        try:
            packed = self.headers.get("Content-Encoding", "").lower() == "gzip"
            document = msgspec.json.decode((gzip.decompress(self.body) if packed else self.body) or b"{}")
        except (msgspec.DecodeError, UnicodeDecodeError, OSError, EOFError, zlib.error) as error:
            raise invalid_argument(f"Invalid JSON payload received. {error}") from error
        if not isinstance(document, dict):
            raise invalid_argument("Invalid JSON payload received. Root element must be a message.")
        return document if self.openai else cast("dict[str, Any]", camel(document))

    def read(self, kind: type[Asked]) -> Asked:
        """The body as one of `asked`'s facts. A number may stand as text, as in any JSON of protocol buffers."""
        try:
            return msgspec.convert(self.document, kind, strict=False)
        except msgspec.ValidationError as error:
            raise invalid_argument(f"Invalid JSON payload received. Invalid value: {error}") from error


def camel(value: object) -> object:
    if isinstance(value, list):
        return [camel(item) for item in value]
    if not isinstance(value, dict):
        return value
    renamed: dict[str, object] = {}
    for name, item in value.items():
        field = _WORD_START.sub(lambda match: match[1].upper(), name)
        renamed[field] = item if field in _FREE_FORM else camel(item)
    return renamed
