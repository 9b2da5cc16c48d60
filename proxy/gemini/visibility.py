"""What in a request would keep the usage of its answer from the meter, by asking Google for another answer.

The wire refuses a request that `hidden_usage` names something in: a partial answer without `usageMetadata`, or a
format that is not read (Gemini fact 1.8). It looks at what may run a model only, and at no body.
"""

from urllib.parse import unquote_plus

from proxy.head import Headers
from proxy.operation import Operation

_READS = frozenset({"GET", "HEAD"})
_PARAMETERS = frozenset({"fields", "$fields", "callback", "$callback"})  # a part of the answer; JSONP
_FORMATS = frozenset({"json", "sse"})


def hidden_usage(operation: Operation, method: str, target: str, headers: Headers) -> str | None:
    """What hides the usage, in words for the caller; None where nothing does."""
    if not operation.generates and (operation.name != "unknown" or method.upper() in _READS):
        return None
    if headers.get("x-goog-fieldmask") is not None:
        return "the header X-Goog-FieldMask"
    query = target.partition("?")[2]
    for field in query.split("&") if query else ():
        raw, _, value = field.partition("=")
        name = unquote_plus(raw).strip().lower()
        if name in _PARAMETERS:
            return f"the query parameter {name}"
        # `$alt=json;enum-encoding=int` is JSON still.
        if name in {"alt", "$alt"} and unquote_plus(value).partition(";")[0].strip().lower() not in _FORMATS:
            return f"the query parameter {name}, whose value is neither json nor sse"
    return None
