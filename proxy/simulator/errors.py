"""Google's errors, word for word where they were recorded (Gemini facts, section 3).

Every room raises a GoogleError; the server turns it into an answer in the shape of the surface that was called.
Refuses nothing and sends no Retry-After: Google tells the delay in RetryInfo alone.
"""

from typing import Any

_STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    412: "FAILED_PRECONDITION",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_RPC = "type.googleapis.com/google.rpc."
_RATE_LIMITS = "https://ai.google.dev/gemini-api/docs/rate-limits"
_VERTEX_429 = "https://cloud.google.com/vertex-ai/generative-ai/docs/error-code-429"


class GoogleError(Exception):
    """An answer that is an error: HTTP code, message and details."""

    def __init__(self, code: int, message: str, *details: dict[str, Any], status: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status or _STATUS.get(code, "UNKNOWN")
        self.details = details

    def document(self) -> dict[str, Any]:
        error: dict[str, Any] = {"code": self.code, "message": self.message, "status": self.status}
        if self.details:
            error["details"] = list(self.details)
        return {"error": error}


def invalid_argument(message: str = "Request contains an invalid argument.") -> GoogleError:
    return GoogleError(400, message)


def unknown_field(name: str, where: str = "") -> GoogleError:
    place = f" at '{where}'" if where else ""
    description = f'Invalid JSON payload received. Unknown name "{name}"{place}: Cannot find field.'
    violation = {"description": description} | ({"field": where} if where else {})
    return GoogleError(400, description, {"@type": f"{_RPC}BadRequest", "fieldViolations": [violation]})


def bad_key(host: str) -> GoogleError:
    """An unknown key is a 400, not a 401: SDKs and users know it by this message."""
    message = "API key not valid. Please pass a valid API key."
    return GoogleError(
        400,
        message,
        {
            "@type": f"{_RPC}ErrorInfo",
            "reason": "API_KEY_INVALID",
            "domain": "googleapis.com",
            "metadata": {"service": host},
        },
        {"@type": f"{_RPC}LocalizedMessage", "locale": "en-US", "message": message},
    )


def no_credential() -> GoogleError:
    return GoogleError(
        403,
        "Method doesn't allow unregistered callers (callers without established identity). "
        "Please use API Key or other form of API consumer identity to call this API.",
    )


def bad_token() -> GoogleError:
    return GoogleError(
        401,
        "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid "
        "authentication credential. See https://developers.google.com/identity/sign-in/web/devconsole-project.",
        {"@type": f"{_RPC}ErrorInfo", "reason": "ACCESS_TOKEN_TYPE_UNSUPPORTED", "domain": "googleapis.com"},
    )


def key_not_supported(method: str, host: str) -> GoogleError:
    """Vertex with a project in the path takes a bearer token, never a key."""
    return GoogleError(
        401,
        "API keys are not supported by this API. Expected OAuth2 access token or other authentication credentials "
        "that assert a principal. See https://cloud.google.com/docs/authentication",
        {
            "@type": f"{_RPC}ErrorInfo",
            "reason": "CREDENTIALS_MISSING",
            "domain": "googleapis.com",
            "metadata": {"method": method, "service": host},
        },
    )


def unknown_model(model: str, version: str, verb: str) -> GoogleError:
    return GoogleError(
        404,
        f"models/{model} is not found for API version {version or 'v1'}, or is not supported for {verb}. "
        "Call ListModels to see the list of available models and their supported methods.",
    )


def unknown_method() -> GoogleError:
    return GoogleError(404, "Method not found.")


def not_yours(kind: str, name: str) -> GoogleError:
    """Google does not tell another's resource from one that does not exist."""
    if kind == "File":
        return GoogleError(403, f"You do not have permission to access the File {name} or it may not exist.")
    return GoogleError(403, f"{kind} not found (or permission denied)")


def deadline_too_short(seconds: str) -> GoogleError:
    return GoogleError(400, f"Manually set deadline {seconds}s is too short. Minimum allowed deadline is 10s.")


def quota_exceeded(model: str, retry_seconds: float, per: str) -> GoogleError:
    period = {"day": "PerDay", "minute": "PerMinute"}[per]
    delay = f"{retry_seconds:g}s"
    return GoogleError(
        429,
        "You exceeded your current quota, please check your plan and billing details. For more information on this "
        f"error, head to: {_RATE_LIMITS}.\nPlease retry in {delay}.",
        {
            "@type": f"{_RPC}QuotaFailure",
            "violations": [
                {
                    "quotaMetric": "generativelanguage.googleapis.com/generate_content_free_tier_requests",
                    "quotaId": f"GenerateRequests{period}PerProjectPerModel-FreeTier",
                    "quotaDimensions": {"location": "global", "model": model},
                    "quotaValue": "10",
                }
            ],
        },
        {
            "@type": f"{_RPC}Help",
            "links": [{"description": "Learn more about Gemini API quotas", "url": _RATE_LIMITS}],
        },
        {"@type": f"{_RPC}RetryInfo", "retryDelay": delay},
    )


def resource_exhausted(*, vertex: bool, dedicated: bool = False) -> GoogleError:
    """A 429 without details: Vertex's two, and the old style of the Gemini API."""
    if not vertex:
        return GoogleError(429, "Resource has been exhausted (e.g. check quota).")
    if dedicated:
        return GoogleError(429, "Too many requests. Exceeded the Provisioned Throughput.")
    return GoogleError(429, f"Resource exhausted, please try again later. Please refer to {_VERTEX_429} for details.")


_OVERLOADED = {
    "demand": "This model is currently experiencing high demand. Spikes in demand are usually temporary. "
    "Please try again later.",
    "overloaded": "The model is overloaded. Please try again later.",
    "deadline": "Deadline expired before operation could complete.",
}


def unavailable(kind: str = "demand") -> GoogleError:
    return GoogleError(503, _OVERLOADED[kind])


_PLAIN = {
    403: "The caller does not have permission",
    404: "Requested entity was not found.",
    500: "An internal error has occurred. Please retry or report in "
    "https://developers.generativeai.google/guide/troubleshooting",
    504: "The request timed out. Please try again.",
}


def plain(code: int) -> GoogleError:
    """The catalogue's entry for a status, where nothing more is asked."""
    match code:
        case 400:
            return invalid_argument()
        case 401:
            return bad_token()
        case 503:
            return unavailable()
        case _:
            return GoogleError(code, _PLAIN.get(code, "The simulator was asked for this status."))
