"""A path taken apart, as Google takes it apart, and the name of the resource that it is about.

`paths.py` reads operations from the segments; `meter.py` asks for the name under which results are charged once. It
knows no collection's meaning.
"""

import re
from urllib.parse import unquote_to_bytes

_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


def path_segments(target: str) -> list[str]:
    """The path's segments percent-decoded, as Google decodes them before it looks; [] for a malformed path."""
    path = target.partition("?")[0]
    if "%" in path:
        if _BAD_ESCAPE.search(path):
            return []
        try:
            path = unquote_to_bytes(path).decode()
        except UnicodeDecodeError:
            return []
    if not path.startswith("/") or not path.isprintable() or "\\" in path or "#" in path:
        return []
    segments = path[2 if path.startswith("//") else 1 :].split("/")
    return [] if "" in segments or "." in segments or ".." in segments else segments


def resource_name(target: str) -> str | None:
    """What a path of a resource is about, whatever is done with it: `batches/b`, `files/f`.

    A batch has one name, whether it is read itself or as an operation of its own.
    """
    segments = path_segments(target)
    if segments[:1] in (["upload"], ["download"]):
        segments = segments[1:]
    segments = segments[1:]
    if segments[:1] == ["openai"]:
        segments = [segment for segment in segments[1:] if segment != "content"]
    if segments[:1] == ["batches"]:
        segments = segments[:2]
    name = "/".join(segments).partition(":")[0]
    return name or None
