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
_FORMATS = frozenset({"json", "sse"})
# Reading these runs no model, but shows what one has used since: the meter reads their counts.
_SHOW_USAGE = frozenset(
    {"batches.get", "operations.get", "interactions.get", "interactions.poll", "interactions.stream"}
)


def hidden_usage(operation: Operation, method: str, target: str, headers: Headers) -> str | None:
    """What hides the usage, in words for the caller; None where nothing does."""
    reads_nothing = operation.name != "unknown" or method.upper() in _READS
    if not operation.generates and operation.name not in _SHOW_USAGE and reads_nothing:
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
