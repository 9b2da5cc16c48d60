"""Errors of our own in Google's shape.

The wire renders each `Refusal` with it, so that SDKs raise the same exception types for us as for Google
(Gemini fact 3). It decides no status and no wording of its own: both are the Refusal's. It reads no error of
an upstream's: those are relayed untouched.
"""

import json
import math
from typing import Any

from proxy.operation import Operation
from proxy.refusal import Refusal

DOMAIN = "gemini-weir"
_TYPE = "type.googleapis.com/google.rpc."

# google.rpc.Code for an HTTP status. 413 is the one HTTP knows and google.rpc does not: Google answers an
# oversized payload with 400 INVALID_ARGUMENT, so a caller who looks at the word sees the one he knows.
_STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    405: "UNIMPLEMENTED",
    408: "DEADLINE_EXCEEDED",
    409: "ABORTED",
    412: "FAILED_PRECONDITION",
    413: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}

# Said to a caller at most: a per-day quota may ask for hours, more than a day is a mistake.
_MAX_DELAY_SECONDS = 86_400.0


def render(refusal: Refusal, operation: Operation) -> bytes:
    """The body of an answer of our own. The compatible surface wraps it in an array, as Google does."""
    details: list[Any] = [{"@type": _TYPE + "ErrorInfo", "reason": refusal.reason, "domain": DOMAIN}]
    if refusal.retry_after is not None:
        details.append({"@type": _TYPE + "RetryInfo", "retryDelay": _duration(refusal.retry_after)})
    details += refusal.details
    error = {"error": {"code": refusal.code, "message": refusal.message, "status": status(refusal.code)}}
    error["error"]["details"] = details
    # ASCII only: a message may quote a header's undecodable bytes, which UTF-8 has no place for.
    return json.dumps([error] if operation.api == "openai" else error, indent=2).encode() + b"\n"


def status(code: int) -> str:
    """The canonical word for an HTTP status."""
    return _STATUS.get(code, "INTERNAL" if code >= 500 else "INVALID_ARGUMENT")


def _duration(seconds: float) -> str:
    """Rounded up to the millisecond: a caller who waits exactly that long must not come too early."""
    bounded = min(max(seconds, 0.0), _MAX_DELAY_SECONDS)
    return f"{math.ceil(bounded * 1000) / 1000:.3f}".rstrip("0").rstrip(".") + "s"
