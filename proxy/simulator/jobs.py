"""What is begun by one call and read by another: batches of generateContent, and Veo's videos (Gemini fact 4.4).

A job is worked out when it is begun, and done at the first look; `x-sim-pending` on that look says that it is not.
Results come as they were asked for: inlined, or as a file of lines. Each belongs to the account that began it.
Refuses a batch without requests, and another account's job.
"""

import secrets
from typing import Any

import msgspec
from multidict import CIMultiDict

from proxy.simulator.answer import Answer, unary
from proxy.simulator.call import Call
from proxy.simulator.errors import GoogleError, invalid_argument, unknown_method
from proxy.simulator.generate import generate
from proxy.simulator.models import Model
from proxy.simulator.storage import Resource, Storage

_TYPE = "type.googleapis.com/google.ai.generativelanguage.v1main."
_GOOGLE = "https://generativelanguage.googleapis.com/v1beta/"


def begin_batch(call: Call, model: Model, storage: Storage) -> Answer:
    config = call.document.get("batch", {}).get("inputConfig", {})
    name = f"batches/{secrets.token_hex(8)}"
    if "fileName" in config:
        file = storage.file(call.account, config["fileName"])
        lines = [msgspec.json.decode(line) for line in (file.content or b"").splitlines() if line.strip()]
        results = [{"key": line.get("key"), **_run(call, model, storage, line["request"])} for line in lines]
        output: dict[str, Any] = {"responsesFile": _results_file(call.account, storage, name, results)}
    else:
        lines = config.get("requests", {}).get("requests", [])
        results = [_run(call, model, storage, line["request"]) for line in lines]
        output = {"inlinedResponses": {"inlinedResponses": results}}
    if not lines:
        raise invalid_argument("* BatchGenerateContentRequest.batch.input_config: no requests\n")
    metadata = {
        "@type": _TYPE + "GenerateContentBatch",
        "model": f"models/{model.name}",
        "name": name,
        "state": "BATCH_STATE_SUCCEEDED",
        "output": output,
    }
    response = {"@type": _TYPE + "GenerateContentBatchOutput", **output}
    storage.jobs[name] = Resource(call.account, _operation(name, metadata, response))
    return unary(_pending(storage.jobs[name].document))


def begin_video(call: Call, model: Model, storage: Storage) -> Answer:
    instances = call.document.get("instances")
    if not instances or not instances[0].get("prompt"):
        raise invalid_argument("Invalid instances: a prompt is required.")
    name = f"models/{model.name}/operations/{secrets.token_hex(8)}"
    count = int(call.document.get("parameters", {}).get("sampleCount", 1))
    samples = [{"video": {"uri": f"{_GOOGLE}files/{secrets.token_hex(6)}:download?alt=media"}} for _ in range(count)]
    response = {"@type": _TYPE + "PredictLongRunningResponse", "generateVideoResponse": {"generatedSamples": samples}}
    storage.jobs[name] = Resource(call.account, _operation(name, {}, response))
    return unary({"name": name})


def read_job(call: Call, storage: Storage) -> Answer:
    if call.method != "GET":
        raise unknown_method()
    document = storage.job(call.account, call.path.resource).document
    return unary(_pending(document) if call.switch("pending") is not None else document)


def _run(call: Call, model: Model, storage: Storage, request: dict[str, Any]) -> dict[str, Any]:
    """One request of the batch, under the caller's switches."""
    switches = CIMultiDict((name, value) for name, value in call.headers.items() if name.lower().startswith("x-sim-"))
    target = f"/{call.path.version}/models/{model.name}:generateContent"
    one = Call("POST", target, switches, msgspec.json.encode(request), call.base_url)
    one.account = call.account
    try:
        (event,) = generate(one, model, storage).events
    except GoogleError as error:
        return error.document()
    return {"response": msgspec.json.decode(b"".join(event.pieces))}


def _results_file(account: str | None, storage: Storage, batch: str, results: list[dict[str, Any]]) -> str:
    name = f"files/batch-{batch.rpartition('/')[2]}"
    content = b"".join(msgspec.json.encode(result) + b"\n" for result in results)
    document = {"name": name, "mimeType": "application/jsonl", "sizeBytes": str(len(content)), "source": "GENERATED"}
    storage.files[name] = Resource(account, document, content=content)
    return name


def _operation(name: str, metadata: dict[str, Any], response: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "metadata": metadata, "done": True, "response": response}


def _pending(document: dict[str, Any]) -> dict[str, Any]:
    metadata = {name: value for name, value in document["metadata"].items() if name != "output"}
    return {"name": document["name"], "metadata": metadata | ({"state": "BATCH_STATE_PENDING"} if metadata else {})}
