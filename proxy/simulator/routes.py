"""From a call to its answer: which room answers which path (Gemini facts 1.1, 1.6, 1.7).

The server calls `route` once the account is known. Everything a room refuses comes back as a GoogleError.
Refuses a path or method it does not know with Google's 404.
"""

from collections.abc import Callable
from typing import Any

from proxy.simulator import embed, errors, generate, jobs, predict
from proxy.simulator.answer import Answer, unary
from proxy.simulator.caches import caches
from proxy.simulator.call import Call
from proxy.simulator.files import Files
from proxy.simulator.interactions import interactions
from proxy.simulator.models import Model, Models
from proxy.simulator.openai import openai
from proxy.simulator.storage import Storage

_LEAST_DEADLINE_SECONDS = 10
_VERBS: dict[str, Callable[[Call, Model, Storage], Answer]] = {
    "generateContent": generate.generate,
    "streamGenerateContent": generate.stream,
    "batchGenerateContent": jobs.begin_batch,
    "countTokens": lambda call, model, _: embed.count(call, model),
    "embedContent": lambda call, model, _: embed.embed(call, model),
    "batchEmbedContents": lambda call, model, _: embed.embed_batch(call, model),
    "predict": lambda call, *_: predict.predict(call),
    "predictLongRunning": jobs.begin_video,
}
_ANY_MODEL_FOLDERS = ("tunedModels", "dynamic", "endpoints")  # names only their owner knows


def route(call: Call, models: Models, storage: Storage, files: Files) -> Answer:
    _check_deadline(call)
    path = call.path
    if call.openai:
        return openai(call, models)
    match path.tail:
        case ("files", *_):
            answer = files.answer(call)
        case ("cachedContents", *_):
            answer = caches(call, models, storage)
        case ("interactions", *_):
            answer = interactions(call, models, storage)
        case ("batches", *_) | ("models", _, "operations", *_):
            answer = jobs.read_job(call, storage)
        case _ if path.model and path.verb and call.method == "POST":
            answer = _verb(call, models, storage)
        case _ if call.method == "GET" and not path.verb:
            answer = _catalogue(call, models)
        case _:
            raise errors.unknown_method()
    return answer


def _check_deadline(call: Call) -> None:
    """Google refuses a deadline under ten seconds (Gemini fact 7)."""
    text = call.headers.get("X-Server-Timeout", "")
    if text.isdigit() and int(text) < _LEAST_DEADLINE_SECONDS:
        raise errors.deadline_too_short(text)


def _verb(call: Call, models: Models, storage: Storage) -> Answer:
    model = _model(call, models)
    run = _VERBS.get(call.path.verb)
    if run is None:
        raise errors.unknown_method()
    return run(call, model, storage)


def _model(call: Call, models: Models) -> Model:
    name, verb = call.path.model, call.path.verb
    model = models.find(name)
    folder = call.path.segments[-2] if len(call.path.segments) > 1 else ""
    if model is None and folder in _ANY_MODEL_FOLDERS:
        return Model(name)
    if model is None or (verb not in model.methods and verb in _every_method(models)):
        raise errors.unknown_model(name, call.path.version, verb)
    return model


def _every_method(models: Models) -> set[str]:
    return {method for model in models for method in model.methods}


def _catalogue(call: Call, models: Models) -> Answer:
    """models list and get; on Vertex `publishers/{p}/models[/{m}]`."""
    segments = call.path.tail
    prefix = ""
    if segments[:1] == ("publishers",):
        prefix = "/".join(segments[:2]) + "/"
        segments = segments[2:]
    match segments:
        case ("models",):
            key = "publisherModels" if prefix else "models"
            return unary({key: [_card(model, prefix) for model in models]})
        case ("models", name):
            model = models.find(name)
            if model is None:
                raise errors.unknown_model(name, call.path.version, "getModel")
            return unary(_card(model, prefix))
        case _:
            raise errors.unknown_method()


def _card(model: Model, prefix: str) -> dict[str, Any]:
    return {
        "name": f"{prefix}models/{model.name}",
        "version": "001",
        "displayName": model.name,
        "description": "A model that the simulator stands in for.",
        "inputTokenLimit": 1_048_576,
        "outputTokenLimit": 65_536,
        "supportedGenerationMethods": list(model.methods),
    }
