"""What in a request would keep the usage of its answer from the meter, by asking Google for another answer.

The wire refuses a request that `hidden_usage` names something in: a partial answer without `usageMetadata`, or a
format that is not read (Gemini fact 1.8). It looks at what may run a model, or shows what one used, and at no body.
"""

from urllib.parse import unquote_plus

from proxy.head import Headers
from proxy.operation import Operation

_READS = frozenset({"GET", "HEAD"})
# A part of the answer; JSONP; headers (a field mask among them) and a method, as Closure's HttpCors puts them there.
_PARAMETERS = frozenset({"fields", "$fields", "callback", "$callback", "$httpheaders", "$httpmethod"})
_FIELD_MASK = b"x-goog-fieldmask"
_FORMATS = frozenset({"json", "sse"})
# Reading these runs no model, but shows what one has used since: the meter reads their counts.
_SHOW_USAGE = frozenset(
    {"batches.get", "operations.get", "interactions.get", "interactions.poll", "interactions.stream"}
)


def hidden_usage(operation: Operation, method: str, target: str, headers: Headers) -> str | None:
    """What hides the usage, in words for the caller; None where nothing does."""
    runs = operation.generates or (operation.name == "unknown" and method.upper() not in _READS)
    if not runs and operation.name not in _SHOW_USAGE:
        return None
    if _FIELD_MASK in headers.first:
        return "the header X-Goog-FieldMask"
    if "?" not in target:
        return None
    for parameter in target.partition("?")[2].split("&"):
        raw, _, value = parameter.partition("=")
        name = unquote_plus(raw).strip().lower()
        if name in _PARAMETERS:
            return f"the query parameter {name}"
        # `$alt=json;enum-encoding=int` is JSON still.
        if name in {"alt", "$alt"} and unquote_plus(value).partition(";")[0].strip().lower() not in _FORMATS:
            return f"the query parameter {name}, whose value is neither json nor sse"
    return None
