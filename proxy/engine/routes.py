"""Which route takes a request: the first in the file whose pattern fits its path.

Called once an exchange. It decides on the raw path, the very bytes that go upstream, and also on what that
path means once decoded and with its dot segments resolved: a path that would slip out of its route at the
upstream does not match it here (oauth2-proxy CVE-2025-54576, LiteLLM CVE-2026-49468).
"""

import re
from collections.abc import Callable
from posixpath import normpath
from urllib.parse import unquote

_WILD = re.compile(r"(\*\*|\*)")


def path_matcher(pattern: str) -> Callable[[str], bool]:
    """A test for raw paths. `*` is anything within a segment, `**` anything at all, also nothing.

    A final `/**` also fits the path without it: `/v1/**` takes `/v1`.
    """
    if pattern == "/**":
        return lambda path: True
    stem = pattern.removesuffix("/**")
    source = "".join({"**": ".*", "*": "[^/]*"}.get(part, re.escape(part)) for part in _WILD.split(stem))
    fits = re.compile(source + ("(?:/.*)?" if stem != pattern else ""), re.DOTALL).fullmatch

    def matches(path: str) -> bool:
        return fits(path) is not None and fits(resolved(path)) is not None

    return matches


def resolved(path: str) -> str:
    """What a path means: percent-decoded, repeated slashes and dot segments folded (RFC 3986 section 5.2.4)."""
    plain = unquote(path)
    folded = normpath("/" + plain.lstrip("/"))
    return folded + "/" if plain.endswith("/") and folded != "/" else folded
