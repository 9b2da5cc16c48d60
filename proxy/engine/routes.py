"""Which route takes a request: the first in the file whose pattern fits its path.

Called once an exchange. It looks at the raw path, the very bytes that go upstream, and at what that path means once
decoded and with its dot segments resolved. Where a pattern fits only one of the two, nobody may decide by it: such a
path is refused, lest it slip into a laxer route (oauth2-proxy CVE-2025-54576, LiteLLM CVE-2026-49468).
"""

import re
from collections.abc import Callable
from posixpath import normpath
from urllib.parse import unquote

_WILD = re.compile(r"(\*\*|\*)")


class AmbiguousPath(Exception):
    """A path that fits a pattern as it is spelt and not as it is meant, or the other way round."""


def path_matcher(pattern: str) -> Callable[[str], bool]:
    """A test for raw paths. `*` is anything within a segment, `**` anything at all, also nothing.

    A final `/**` also fits the path without it: `/v1/**` takes `/v1`. Slashes at the start count as one, because
    SDKs double them (Gemini fact 1.4). The test raises AmbiguousPath.
    """
    if pattern == "/**":
        return lambda path: True
    stem = pattern.removesuffix("/**")
    source = "".join({"**": ".*", "*": "[^/]*"}.get(part, re.escape(part)) for part in _WILD.split(stem))
    fits = re.compile(source + ("(?:/.*)?" if stem != pattern else ""), re.DOTALL).fullmatch

    def matches(path: str) -> bool:
        as_spelt = fits("/" + path.lstrip("/")) is not None
        as_meant = fits(resolved(path)) is not None
        if as_spelt != as_meant:
            raise AmbiguousPath
        return as_spelt

    return matches


def resolved(path: str) -> str:
    """What a path means: percent-decoded, repeated slashes and dot segments folded (RFC 3986 section 5.2.4)."""
    plain = unquote(path)
    folded = normpath("/" + plain.lstrip("/"))
    return folded + "/" if plain.endswith("/") and folded != "/" else folded
