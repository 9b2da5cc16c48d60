"""Operations found before, so that a path is taken apart once.

`paths.py` asks here first. What calls a model comes again and again by the same few paths; a file or a batch has one of
its own, and is not kept. Nothing is kept either that a caller may have pasted a credential into, nor more than a bound.
"""

from typing import Final

from proxy.operation import Operation
from proxy.scrub import hide_credentials

_MOST = 1024
_LONGEST = 256  # characters of a path; Google's longest have some 200
_NOT_GOOGLES = frozenset("%&=")  # where a query begins by mistake, or an escape hides anything

_known: Final[dict[tuple[str, str], Operation]] = {}


def known_operation(method: str, path: str) -> Operation | None:
    return _known.get((method, path))


def keep_operation(method: str, path: str, operation: Operation) -> None:
    if not operation.generates or operation.name == "unknown" or len(path) > _LONGEST:
        return
    if not _NOT_GOOGLES.isdisjoint(path) or hide_credentials(path) != path:
        return
    if len(_known) >= _MOST:
        _known.clear()
    _known[method, path] = operation
