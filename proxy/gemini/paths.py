"""What a method and a target mean to Gemini: the operation's name, its model, and what follows from both.

The wire calls `parse_operation` once a request. To change how a model is read from a path, see
`_MODEL_COLLECTIONS` and `_on_model`; to teach a new verb or resource, add it to a table. Names come from these
tables only, never from the caller, so they are safe as metric labels. Nothing here rewrites a path: what is not
recognised passes as `unknown`.
"""

import re
from typing import NamedTuple

from proxy.gemini.known_operations import keep_operation, known_operation
from proxy.gemini.segments import path_segments
from proxy.operation import UNKNOWN, Operation


class _Verb(NamedTuple):
    generates: bool = True
    streams: bool = False
    account_bound: bool = False  # makes or names something that is polled later, at the account that made it


_RUN = _Verb()
_STREAM = _Verb(streams=True)
_JOB = _Verb(account_bound=True)
_FREE = _Verb(generates=False)

# Colon verbs on a model. The HTTP method is not looked at: what Google would refuse costs nothing, and a
# method override header must not make a call look like another.
_MODEL_VERBS = {
    "generateContent": _RUN,
    "streamGenerateContent": _STREAM,
    "countTokens": _FREE,
    "computeTokens": _FREE,
    "embedContent": _RUN,
    "batchEmbedContents": _RUN,
    "batchGenerateContent": _JOB,
    "asyncBatchEmbedContent": _JOB,
    "predict": _RUN,
    "directPredict": _RUN,
    "rawPredict": _RUN,
    "streamRawPredict": _STREAM,
    "serverStreamingPredict": _STREAM,
    "predictLongRunning": _JOB,
    "fetchPredictOperation": _Verb(generates=False, account_bound=True),
    # the surface before Gemini
    "generateAnswer": _RUN,
    "generateMessage": _RUN,
    "generateText": _RUN,
    "embedText": _RUN,
    "batchEmbedText": _RUN,
    "countMessageTokens": _FREE,
    "countTextTokens": _FREE,
}

# A verb that Google may add tomorrow is taken to run the model: metered, and counted against quotas.
_NEW_VERB = _RUN

# Collections whose items are models -> what stands before the bare id in `Operation.model`.
_MODEL_COLLECTIONS = {
    "models": "",
    "tunedModels": "tunedModels/",
    "dynamic": "dynamic/",
    "endpoints": "endpoints/",
}
# Everybody is shown the same `models`; tuned models and endpoints are one account's own.
_SHARED = frozenset({"models", "dynamic"})

# The rest of the collections; the value is the name in the record. But for `_SHARED`, an item belongs to
# the account that made it.
_COLLECTIONS = {
    name: name
    for name in (
        *("agents", "auth_tokens", "batches", "batchPredictionJobs", "cachedContents", "chunks", "corpora"),
        *("credentials", "decisions", "documents", "environments", "files", "fileSearchStores", "generatedFiles"),
        *("interactions", "media", "operations", "permissions", "ragStores", "triggers", "tuningJobs", "voices"),
        "webhooks",
    )
} | {"interactionsHttp": "interactions"}
_COLLECTIONS |= {name: name for name in _MODEL_COLLECTIONS}
_PATH_IDS = frozenset({"files", "media"})  # an id may be a path of its own: `environments/{e}/files/{path}`

# Colon verbs on anything but a model; the name in the record is `resource.verb`.
_RESOURCE_VERBS = frozenset(
    {
        *("batchCreate", "batchDelete", "batchUpdate", "cancel", "create", "createStream", "download", "importFile"),
        *("poll", "query", "rebaseTunedModel", "register", "stream", "transferOwnership", "updateEmbedContentBatch"),
        *("updateGenerateContentBatch", "uploadToFileSearchStore", "wait"),
    }
)
_ON_COLLECTION = {"GET": "list", "POST": "create"}
_ON_ITEM = {"GET": "get", "PATCH": "patch", "PUT": "patch", "DELETE": "delete"}

# Verbs whose answer does not say what it costs: the video that one begins is as long as its request wanted it.
_BILLED_AS_ASKED = frozenset({"predictLongRunning"})

# Operations on resources that name their model in the body (True: and run it).
_MODEL_IN_BODY = {
    "batchPredictionJobs.create": True,
    "cachedContents.create": False,
    "interactions.create": True,
    "interactions.createStream": True,
}
# Operations on resources that run models, at once or later, and name them nowhere that we could read: in a file,
# in an agent, below the body's top. Without a model, so that a team with a list of models is refused.
_RUNS_UNNAMED = frozenset(
    {
        *("agents.create", "batches.create", "batches.updateEmbedContentBatch", "batches.updateGenerateContentBatch"),
        *("triggers.create", "triggers.patch", "tunedModels.create", "tuningJobs.create"),
        "tuningJobs.rebaseTunedModel",
    }
)
# A model call of the Interactions API makes a thing that one account owns, but names none: it may fail over.
_NOT_BOUND = frozenset({"interactions.create", "interactions.createStream"})

# OpenAI's paths that run a model, under `{version}/openai/` or a Vertex endpoint.
_OPENAI_CALLS = frozenset(
    {
        *("audio/speech", "audio/transcriptions", "chat/completions", "completions", "embeddings"),
        *("images/edits", "images/generations", "responses", "videos"),
    }
)
_OPENAI_RESOURCES = frozenset({"batches", "files", "models", "videos"})

# The whole path after `/ws/`. Python's client joins a base URL that ends in "/" to "//ws/" (Gemini fact 1.4).
_LIVE = re.compile(
    r"google\.(?:ai\.generativelanguage|cloud\.aiplatform)\.v\w+\."
    r"(?:GenerativeService|LlmBidiService)[./]Bidi(?:GenerateContent(?:Constrained)?|(GenerateMusic))"
)
_VERSION = re.compile(r"v[0-9][0-9a-z]*")  # opaque: v1, v1beta, v1alpha, v1beta1, whatever comes next
_CHAT_WITHOUT_SLASH = ":chatCompletions"  # `/v1beta:chatCompletions`, as Google's reference spells it


def parse_operation(method: str, target: str) -> Operation:
    """What `method` on the raw `target` (path and query, as on the wire) means. Never raises."""
    path = target.partition("?")[0] if "?" in target else target
    operation = known_operation(method, path)
    if operation is None:
        operation = _parse(method, path)
        keep_operation(method, path, operation)
    return operation


def _parse(method: str, path: str) -> Operation:
    segments = path_segments(path)
    if segments[:1] == ["ws"]:
        return _live("/".join(segments[1:]))
    if segments[:2] == ["resumable", "upload"]:
        segments = segments[1:]
    uploads = segments[:1] == ["upload"]
    if uploads or segments[:1] == ["download"]:
        segments = segments[1:]
    if len(segments) == 1 and segments[0].endswith(_CHAT_WITHOUT_SLASH):
        segments = [segments[0].removesuffix(_CHAT_WITHOUT_SLASH), "openai", "chat", "completions"]
    if len(segments) < 2 or not _VERSION.fullmatch(segments[0]):
        return UNKNOWN
    if segments[1] == "openai":
        return _openai(method, segments[2:])
    return _rest(method, segments[1:], uploads=uploads)


def bare_model(name: str) -> str:
    """The id that prices, limits and logs use, from any full resource name of a model.

    `models/m`, `publishers/google/models/m`, `projects/p/locations/l/publishers/google/models/m` and the
    compatible surface's `google/m` are all `m`; a tuned model or an endpoint keeps its last collection.
    """
    collection, _, model = name.rpartition("/")
    collection = collection.rpartition("/")[2]
    if collection == "google":
        return model
    return _MODEL_COLLECTIONS[collection] + model if collection in _MODEL_COLLECTIONS else name


def makes_images(model: str) -> bool:
    """By its name, which is all that anybody knows of a model of tomorrow."""
    return "image" in model or "nano-banana" in model


def _live(service: str) -> Operation:
    found = _LIVE.fullmatch(service)
    if found is None:
        return Operation("unknown", api="live")
    return Operation("live.music" if found[1] else "live", api="live", model_in_body=True, generates=True)


def _rest(method: str, resource: list[str], *, uploads: bool) -> Operation:
    """A path of Google's own after its version: `collection/id` pairs, the last one perhaps with a verb."""
    api, location = "gemini", None
    if resource[0] == "projects":
        api = "vertex"
        location, resource = (
            (resource[3], resource[4:]) if resource[2:3] == ["locations"] and resource[3:] else (None, [])
        )
    if resource[:1] == ["publishers"]:
        api, resource = "vertex", resource[2:]
    if not resource:
        return Operation("unknown", api=api, location=location)
    if resource[0] == "endpoints":
        api = "vertex"
    if resource[0] in _MODEL_COLLECTIONS and len(resource) > 1:
        return _on_model(method, api, location, resource)
    return _on_resource(method, api, location, resource, uploads=uploads)


def _on_model(method: str, api: str, location: str | None, resource: list[str]) -> Operation:
    """`models/{id}`, `models/{id}:verb` and what lies below a model."""
    collection, item, *below = resource
    owned = collection not in _SHARED
    name, colon, verb_name = item.rpartition(":")
    if below or not colon or verb_name in _RESOURCE_VERBS:
        model = _MODEL_COLLECTIONS[collection] + (item if below or not colon else name)
        if below[:1] == ["invoke"]:
            return Operation("invoke", api=api, model=model, generates=True, account_bound=owned, location=location)
        if collection == "endpoints" and "/".join(below) in _OPENAI_CALLS:
            return _openai(method, below, endpoint=item, location=location)
        found = _on_resource(method, api, location, resource, uploads=False)  # e.g. a Veo operation being polled
        # `models/this/models/that:verb`: which of them would run is for Google to say, and not to be guessed.
        understood = found.name != "unknown" and not found.generates
        return found.on(model, generates=False) if understood else found
    if not name:
        return Operation("unknown", api=api, location=location)
    verb = _MODEL_VERBS.get(verb_name, _NEW_VERB)
    return Operation(
        verb_name if verb_name in _MODEL_VERBS else "unknown",
        api=api,
        model=_MODEL_COLLECTIONS[collection] + name,
        streams=verb.streams,
        generates=verb.generates,
        account_bound=verb.account_bound or owned,
        location=location,
        billed_by_body=verb.generates and (makes_images(name) or verb_name in _BILLED_AS_ASKED),
    )


def _on_resource(method: str, api: str, location: str | None, resource: list[str], *, uploads: bool) -> Operation:
    """Anything but a model call: `collection.method`, after the last collection of the path."""
    first = resource[0].partition(":")[0]
    for at in range(0, len(resource) - 2, 2):
        if resource[at] in _PATH_IDS:
            resource = [*resource[: at + 1], "path"]
            break
    *parents, last = resource
    last, colon, verb = last.rpartition(":") if ":" in last else (last, "", "")
    if not colon and last == "cancel" and len(parents) >= 2 and len(parents) % 2 == 0:
        *parents, last, verb = *parents, "cancel"  # `interactions/{id}/cancel` has a slash for its colon
    collection = parents[-1] if len(parents) % 2 else last
    if uploads and not verb:
        verb = "upload"
    elif not verb:
        verb = (_ON_ITEM if len(parents) % 2 else _ON_COLLECTION).get(method, "")
    elif verb not in _RESOURCE_VERBS:
        verb = ""
    collection = _COLLECTIONS.get(collection, "")
    name = f"{collection}.{verb}" if collection and verb and last else "unknown"
    if first.startswith("interactions"):
        api = "interactions"
    in_body = name in _MODEL_IN_BODY
    return Operation(
        name,
        api=api,
        model_in_body=in_body,
        streams=name == "interactions.createStream",
        generates=_MODEL_IN_BODY.get(name, name in _RUNS_UNNAMED),
        account_bound=name not in _NOT_BOUND and first in _COLLECTIONS and collection not in _SHARED,
        location=location,
        billed_by_body=in_body,
    )


def _openai(method: str, resource: list[str], *, endpoint: str = "openapi", location: str | None = None) -> Operation:
    """The compatible surface. On Vertex the endpoint `openapi` takes any model, from the body (Gemini fact 1.6)."""
    path = "/".join(resource)
    if path in _OPENAI_CALLS and not (method == "GET" and path in _OPENAI_RESOURCES):
        model = None if endpoint == "openapi" else f"endpoints/{endpoint}"
        return Operation(
            path.replace("/", "."),
            api="openai",
            model=model,
            model_in_body=model is None,
            generates=True,
            account_bound=model is not None,
            location=location,
            billed_by_body=model is None or path.startswith("images/"),
        )
    if not resource or resource[0] not in _OPENAI_RESOURCES or len(resource) > 3:
        return Operation("unknown", api="openai")
    verb = (_ON_COLLECTION if len(resource) == 1 else _ON_ITEM).get(method)
    if len(resource) == 3:
        verb = resource[2] if resource[2] in {"cancel", "content"} else None
    name = f"{resource[0]}.{verb}" if verb else "unknown"
    return Operation(
        name,
        api="openai",
        model=bare_model("/".join(resource)) if resource[0] == "models" and len(resource) > 1 else None,
        generates=name in _RUNS_UNNAMED,
        account_bound=resource[0] != "models",
    )
